"""Which image an anchor is compared with: never itself, and as the definitions say."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from ssl_registry_exemplar.exemplar import Exemplar2d, ExemplarModel
from ssl_registry_exemplar.negatives import (
    Embedded,
    Negatives,
    choose,
    embedded_of,
    triplet_loss,
    triplet_metrics,
)
from torch import Tensor

from ssl_registry import registry
from ssl_registry.errors import ImageShapeError
from ssl_registry.heads import NOBODY, Queue

ALL: list[Negatives] = ["random", "semi-hard", "hard"]
POOL = torch.rand((6, 1, 8, 8), generator=torch.Generator().manual_seed(7))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model_of(**fields: Any) -> ExemplarModel:
    task = Exemplar2d(embedding=8, hidden=8, **fields)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        encoder = registry.create("unet2d", base_filters=2, levels=2).build(1)
        return task.build_model(encoder, (8, 8))


def points(count: int, seed: int, width: int = 4) -> Tensor:
    drawn = torch.randn((count, width), generator=seeded(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def queue_of(embeddings: Tensor, who: list[int]) -> Queue:
    """Return a queue that holds these embeddings, of these images."""
    queue = Queue(len(who), embeddings.shape[1])
    queue.kept.copy_(embeddings)
    queue.owners.copy_(torch.tensor(who, dtype=torch.int64))
    return queue


def embedded(who: list[int], memory: list[int], seed: int) -> Embedded:
    """Return random points of the images called `who`, beside a memory of others."""
    queue = queue_of(points(len(memory), seed + 1), memory)
    pairs = points(2 * len(who), seed).unflatten(0, (2, -1))
    return embedded_of(pairs, queue, torch.tensor(who))


names = st.integers(1, 4) | st.sampled_from([-1, 2**63 - 1, -(2**63)])


@settings(max_examples=100)
@given(
    st.sampled_from(ALL),
    st.lists(names, min_size=1, max_size=7),
    st.lists(names | st.just(NOBODY), max_size=6),
    st.integers(0, 2**20),
)
def test_an_image_is_never_its_own_negative_and_brute_force_agrees(
    negatives: Negatives, who: list[int], memory: list[int], seed: int
) -> None:
    found = embedded(who, memory, seed)
    lots = torch.randint(2**62, (len(who),), generator=seeded(seed))
    everybody = [*who, *who, *memory]
    assert found.identities.tolist() == everybody
    eligible = found.eligible()
    own, distances = found.own_distances(), found.distances()
    chosen = choose(negatives, own, distances, eligible, lots)
    hinges = []
    for row, name in enumerate(who):
        anchor = found.anchors[row]
        others = [i for i, other in enumerate(everybody) if other not in {name, NOBODY}]
        assert [i for i, yes in enumerate(eligible[row].tolist()) if yes] == others
        if not others:
            continue
        taken = int(chosen[row])
        assert taken in others
        far = {i: math.dist(anchor.tolist(), found.candidates[i].tolist()) for i in others}
        near = math.dist(anchor.tolist(), found.copies[row].tolist())
        assert near == pytest.approx(float(own[row]), abs=1e-5)
        if negatives == "hard":
            assert far[taken] == pytest.approx(min(far.values()), abs=1e-5)
        if negatives == "semi-hard":
            farther = [value for value in far.values() if value > near]
            wanted = min(farther) if farther else max(far.values())
            assert far[taken] == pytest.approx(wanted, abs=1e-5)
        hinges.append(max(0.0, near - far[taken] + 0.7))
    loss = float(triplet_loss(found, lots, negatives, 0.7))
    wanted_loss = sum(hinges) / len(hinges) if hinges else 0.0
    assert loss == pytest.approx(wanted_loss, abs=1e-5)


def test_semi_hard_passes_over_the_nearer_ones() -> None:
    own, distances = torch.tensor([0.5]), torch.tensor([[0.1, 0.4, 0.6, 0.9, 0.55]])
    lot = torch.zeros(1, dtype=torch.int64)
    eligible = torch.tensor([[True, True, True, True, False]])
    assert choose("semi-hard", own, distances, eligible, lot).tolist() == [2]
    assert choose("hard", own, distances, eligible, lot).tolist() == [0]
    nearer = torch.tensor([[True, True, False, False, False]])
    assert choose("semi-hard", own, distances, nearer, lot).tolist() == [1]
    assert choose("semi-hard", torch.tensor([0.4]), distances, nearer, lot).tolist() == [1]


def test_random_takes_all_negatives_equally_often() -> None:
    task = Exemplar2d()
    draws = 400
    images = POOL[:5].repeat(draws // 5, 1, 1, 1)
    lot = task.make_batch(images, seeded()).drawn["lot"]
    eligible = torch.tensor([True, False, True, True, False, True, True]).expand(draws, -1)
    chosen = choose("random", torch.zeros(draws), torch.zeros(draws, 7), eligible, lot)
    counts = torch.bincount(chosen, minlength=7)
    assert counts[[1, 4]].tolist() == [0, 0]
    assert chisquare(counts[[0, 2, 3, 5, 6]].numpy()).pvalue > 0.01


@settings(max_examples=25)
@given(
    st.sampled_from(ALL),
    st.integers(1, 7),
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=5),
)
def test_no_batch_after_another_meets_its_own_older_self(
    negatives: Negatives, memory: int, batches: list[list[int]]
) -> None:
    model = model_of(negatives=negatives, memory=memory)
    generator = seeded()
    for who in batches:
        batch = model.task.make_batch(POOL[who], generator)
        own = batch.target["identity"]
        found = embedded_of(model.answer(batch.views), model.head.memory, own)
        for row, eligible in enumerate(found.eligible()):
            identities = found.identities[eligible]
            assert not (identities == own[row]).any()
            assert not (identities == NOBODY).any()
        loss, metrics = model(POOL[who], generator)
        loss.backward()
        assert loss.isfinite()
        assert all(value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("negatives", ALL)
def test_without_a_negative_the_loss_is_0_and_can_be_differentiated(negatives: Negatives) -> None:
    model = model_of(negatives=negatives, memory=3)
    loss, metrics = model(POOL[:1], seeded())
    loss.backward()
    assert loss.item() == 0
    assert metrics["accuracy"] == metrics["spread"] == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.head.parameters())
    loss, _ = model(POOL[1:2], seeded())
    assert loss.item() > 0


@pytest.mark.parametrize(
    ("who", "words"), [([0], "a batch of one image"), ([2, 2, 2], "3 times the same image")]
)
def test_a_batch_without_another_image_and_without_memory_is_refused(
    who: list[int], words: str
) -> None:
    with pytest.raises(ImageShapeError, match=f"{words}.*raise `batch_size`.*memory=32"):
        Exemplar2d(memory=0).make_batch(POOL[who], seeded())
    assert len(Exemplar2d(memory=1).make_batch(POOL[who], seeded()).views) == len(who)
    assert len(Exemplar2d(memory=0).make_batch(POOL[[0, 0, 1]], seeded()).views) == 3


def test_a_device_is_not_asked_whether_images_are_the_same_one() -> None:
    """Torch's meta device, which raises where it is, stands for a GPU."""
    task = Exemplar2d(memory=0)
    with pytest.raises(ImageShapeError, match="a batch of one image"):
        task.make_batch(POOL[:1].to("meta"), seeded())
    assert len(task.make_batch(POOL[[2, 2]].to("meta"), seeded()).views) == 2


@pytest.mark.parametrize("negatives", ALL)
def test_equal_embeddings_have_no_gradient_that_is_not_a_number(negatives: Negatives) -> None:
    still = dict.fromkeys(
        ["flip_probability", "rotation_probability", "intensity_probability", "zoom_probability"],
        0,
    )
    model = model_of(negatives=negatives, memory=4, **still)
    loss, _ = model(POOL[:3], seeded())
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.head.parameters())


def test_collapse_and_success_show_in_the_metrics() -> None:
    def metrics(anchors: Tensor, copies: Tensor) -> dict[str, float]:
        pairs = torch.stack([anchors, copies])
        found = triplet_metrics(embedded_of(pairs, Queue(0, 5), torch.arange(1, 6)))
        return {name: float(value) for name, value in found.items()}

    apart = torch.eye(5)
    collapsed = metrics(apart[:1].expand(5, 5), apart[:1].expand(5, 5))
    assert collapsed == {"accuracy": 0, "spread": 0}
    assert metrics(apart, apart) == pytest.approx({"accuracy": 1, "spread": 2**0.5})
    assert metrics(apart, apart.roll(1, 0))["accuracy"] == 0


def test_a_batch_that_wanders_about_as_one_point_has_no_spread() -> None:
    """To run away from the memory is no way to look healthy."""
    here, there = torch.eye(4)[:1], torch.eye(4)[1:2]
    queue = queue_of(there.expand(5, 4), [11, 12, 13, 14, 15])
    pairs = here.expand(2, 3, 4)
    assert triplet_metrics(embedded_of(pairs, queue, torch.arange(1, 4)))["spread"] == 0
    spread = triplet_metrics(embedded_of(pairs[:, :1], queue, torch.ones(1).long()))["spread"]
    assert spread == pytest.approx(2**0.5)


@pytest.mark.parametrize("memory", [4, 64])
def test_no_step_moves_the_whole_batch_away_from_the_memory(memory: int) -> None:
    """Embeddings stay centred, whatever the encoder's features have in common."""
    model = model_of(memory=memory)
    with torch.no_grad():
        model.head.embed.embed.classify[-1].bias += 100.0
    rows = model.answer(model.task.make_batch(POOL, seeded()).views)
    rows = rows.flatten(0, 1)
    assert torch.cdist(rows, rows).mean() > 0.5


@pytest.mark.parametrize("sizes", [[2, 2, 2, 2], [3, 1, 4], [9, 2], [1] * 11], ids=str)
def test_the_memory_holds_the_latest_anchors(sizes: list[int]) -> None:
    model = model_of(memory=5)
    seen: list[Tensor] = []
    named: list[Tensor] = []
    generator = seeded()
    for step, size in enumerate(sizes):
        images = torch.rand((size, 1, 8, 8), generator=seeded(step))
        peek = torch.Generator()
        peek.set_state(generator.get_state())
        batch = model.task.make_batch(images, peek)
        with torch.no_grad():
            seen += model.answer(batch.views)[0]
        named += batch.target["identity"]
        model(images, generator)
    memory = model.head.memory
    held = dict(zip(memory.identities().tolist(), memory.embeddings(), strict=True))
    held.pop(NOBODY, None)
    latest = dict(zip((int(name) for name in named[-5:]), seen[-5:], strict=True))
    assert held.keys() == latest.keys()
    for name, embedding in latest.items():
        assert torch.equal(held[name], embedding)


def test_only_training_is_remembered_and_a_checkpoint_keeps_it() -> None:
    model, generator = model_of(memory=5), seeded()
    model.eval()
    model(POOL[:3], generator)
    assert not model.head.memory.filled.any()
    model.train()
    model(POOL[:3], generator)
    assert model.head.memory.filled.sum() == 3
    assert not model.head.memory.embeddings().requires_grad
    other = model_of(memory=5)
    other.load_state_dict(model.state_dict())
    for images in (POOL[3:], POOL[1:4]):
        state = generator.get_state()
        loss, _ = model(images, generator)
        generator.set_state(state)
        again, _ = other(images, generator)
        assert torch.equal(loss, again)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
