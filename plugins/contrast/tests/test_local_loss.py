"""The dense contrast against sums written out, and its answer to shortcuts."""

import math

import pytest
import torch
from ssl_registry_contrast.local_loss import contrast_places
from ssl_registry_contrast.points import draw_points
from ssl_registry_contrast.relations import related_images
from torch import Tensor
from torch.nn import functional as F

from ssl_registry import CaseInfo, Moment, registry
from ssl_registry.errors import ConfigError

TEMPERATURE = 0.3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(batch: int, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return embeddings, what is shown, and places on a line."""
    points = F.normalize(torch.randn(2, batch, count, 5, generator=seeded(seed)), dim=-1)
    shown = torch.rand(2, batch, count, generator=seeded(seed + 1)) < 0.8
    return points, shown, torch.rand(batch, count, generator=seeded(seed + 2))


def far(place: float, other: float) -> bool:
    return abs(place - other) >= 0.1


def slow(
    points: Tensor,
    shown: Tensor,
    places: Tensor,
    related: Tensor,
    others: bool,
    told: Tensor | None = None,
) -> tuple[float, float]:
    """Return the loss, and how often the same place is the nearest, one pair at a time."""
    _, batch, count, _ = points.shape
    everything = [(v, i, k) for v in range(2) for i in range(batch) for k in range(count)]

    def alike(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
        return float(points[a] @ points[b]) / TEMPERATURE

    def with_told(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
        if told is None:
            return alike(a, b)
        if others:
            rows = [(v * batch + i) * count + k for v, i, k in (a, b)]
            return alike(a, b) + float(told[0, rows[0], rows[1]])
        return alike(a, b) + float(told[a[1], a[0] * count + a[2], b[0] * count + b[2]])

    losses, hits = [], []
    for image in range(batch):
        own, found = [], []
        for anchor in everything:
            if anchor[1] != image or not shown[anchor]:
                continue
            v, i, k = anchor
            negatives = [
                other
                for other in everything
                if shown[other]
                and (others or other[1] == i)
                and far(float(places[i, k]), float(places[other[1], other[2]]))
            ]
            if not negatives:
                continue
            positives = [
                (w, j, k)
                for w in range(2)
                for j in range(batch)
                if shown[w, j, k] and ((j == i and w != v) or bool(related[i, j]))
            ]
            pushed = sum(math.exp(with_told(anchor, other)) for other in negatives)
            pulled = [math.exp(with_told(anchor, p)) for p in positives]
            each = [-math.log(one / (one + pushed)) for one in pulled]
            own += [sum(each) / len(each)] if each else []
            if shown[1 - v, i, k]:
                right = alike(anchor, (1 - v, i, k))
                found.append(all(right > alike(anchor, other) for other in negatives))
        losses += [sum(own) / len(own)] if own else []
        hits += [sum(found) / len(found)] if found else []
    return sum(losses) / len(losses), sum(hits) / len(hits)


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("partners", [False, True])
def test_the_loss_is_the_sum_over_all_pairs(others: bool, partners: bool) -> None:
    points, shown, places = some(3, 6, 7)
    related = torch.zeros(3, 3, dtype=torch.bool)
    if partners:
        related[0, 2] = related[2, 0] = True
    place = places.flatten() if others else places
    apart = (place[..., None] - place[..., None, :]).abs() >= 0.1
    came = contrast_places(points, shown, apart, related, TEMPERATURE)
    loss, found = slow(points, shown, places, related, others)
    assert math.isclose(float(came.loss), loss, rel_tol=1e-4)
    assert math.isclose(float(came.found), found, rel_tol=1e-4)


@pytest.mark.parametrize("others", [False, True])
def test_what_is_told_counts_in_the_loss_and_not_in_what_was_found(others: bool) -> None:
    points, shown, places = some(3, 6, 7)
    nobody = torch.zeros(3, 3, dtype=torch.bool)
    place = places.flatten() if others else places
    apart = (place[..., None] - place[..., None, :]).abs() >= 0.1
    told = torch.randn((1, 36, 36) if others else (3, 12, 12), generator=seeded(4))
    told = told + told.mT
    came = contrast_places(points, shown, apart, nobody, TEMPERATURE, told)
    loss, found = slow(points, shown, places, nobody, others, told)
    assert math.isclose(float(came.loss), loss, rel_tol=1e-4)
    assert math.isclose(float(came.found), found, rel_tol=1e-4)
    assert came.loss != contrast_places(points, shown, apart, nobody, TEMPERATURE).loss


@pytest.mark.parametrize("name", ["local2d", "local3d"])
@pytest.mark.parametrize("negatives", ["image", "batch"])
def test_what_places_alone_give_away_is_told_to_the_loss(name: str, negatives: str) -> None:
    """Where nothing was embedded, places that the table never saw are found better by it."""
    task = registry.create(name, negatives=negatives, points=16)
    dims = task.spatial_dims
    shape, backbone = (32,) * dims, registry.create(f"unet{dims}d", base_filters=2, levels=2)
    model = task.build_model(backbone.build(1), shape)
    assert model.place_alone.state_dict() == {}, "it is the same whenever it is learnt"
    images = torch.zeros(1).expand(64, 1, *shape)
    windows, pair = task.draw_pair(images, seeded(5), margin=task.margin)
    points = draw_points(16, windows, pair, seeded(6), alike=False, margin=task.margin)
    blind, losses = torch.zeros(2, 64, 16, 1), []
    apart = ~torch.eye(16, dtype=torch.bool).expand(64, -1, -1)
    nobody = torch.zeros(64, 64, dtype=torch.bool)
    for told in (None, model.place_alone(points.places)):
        losses.append(contrast_places(blind, points.shown, apart, nobody, 1.0, told).loss)
    assert losses[0] - losses[1] > 0.1


def test_places_of_slices_as_high_are_what_is_meant_and_nothing_is_told() -> None:
    encoder = registry.create("unet2d", base_filters=2, levels=2).build(1)
    model = registry.create("local2d", positives="place").build_model(encoder, (16, 16))
    assert model.place_alone is None


def test_the_order_of_the_places_makes_no_difference() -> None:
    points, _, _ = some(2, 7, 3)
    shown, apart = torch.ones(2, 2, 7, dtype=torch.bool), ~torch.eye(7, dtype=torch.bool)
    order = torch.randperm(7, generator=seeded(1))
    nobody = torch.zeros(2, 2, dtype=torch.bool)
    first, other = (
        contrast_places(one, shown, apart.expand(2, -1, -1), nobody, TEMPERATURE)
        for one in (points, points[:, :, order])
    )
    assert all(torch.allclose(a, b) for a, b in zip(first, other, strict=True))


def test_points_that_are_all_one_are_no_better_than_guesses() -> None:
    points = F.normalize(torch.ones(2, 3, 8, 4), dim=-1)
    shown, apart = torch.ones(2, 3, 8, dtype=torch.bool), ~torch.eye(8, dtype=torch.bool)
    nobody = torch.zeros(3, 3, dtype=torch.bool)
    came = contrast_places(points, shown, apart.expand(3, -1, -1), nobody, TEMPERATURE)
    assert math.isclose(float(came.found), 1 / 15, rel_tol=1e-5)
    assert math.isclose(float(came.guessed), 1 / 15, rel_tol=1e-5)
    assert math.isclose(float(came.loss), math.log(15), rel_tol=1e-5)


def test_what_is_not_shown_gets_no_gradient() -> None:
    points, shown, places = some(2, 6, 5)
    points.requires_grad_()
    apart = (places[..., None] - places[..., None, :]).abs() >= 0.1
    nobody = torch.zeros(2, 2, dtype=torch.bool)
    contrast_places(points, shown, apart, nobody, TEMPERATURE).loss.backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert not points.grad[~shown].any()


def test_a_batch_that_shows_nothing_twice_costs_nothing() -> None:
    points, _, places = some(2, 4, 9)
    points.requires_grad_()
    shown = torch.zeros(2, 2, 4, dtype=torch.bool)
    apart = (places[..., None] - places[..., None, :]).abs() >= 0.1
    came = contrast_places(points, shown, apart, torch.zeros(2, 2, dtype=torch.bool), TEMPERATURE)
    came.loss.backward()
    assert came.loss.detach() == 0


def cases(*known: tuple[str, float | None]) -> Moment:
    infos = [CaseInfo(f"case {n}", g, None, p) for n, (g, p) in enumerate(known)]
    return Moment(0, 10, 0, infos)


def test_slices_are_related_by_their_place_and_images_by_their_patient() -> None:
    known = cases(("a", 0.1), ("b", 0.15), ("a", 0.9))
    by_place = related_images("place", 0.1, 3, known).tolist()
    assert by_place == [[False, True, False], [True, False, False], [False, False, False]]
    by_patient = related_images("patient", 0.1, 3, known).tolist()
    assert by_patient == [[False, False, True], [False, False, False], [True, False, False]]
    assert not related_images("view", 0.1, 3, None).any()


def test_what_has_to_be_known_of_the_images_is_asked_for_in_words() -> None:
    task = registry.create("local2d", positives="place")
    model = task.build_model(registry.create("unet2d", base_filters=2, levels=2).build(1), (16, 16))
    images = torch.rand(2, 1, 16, 16, generator=seeded())
    with pytest.raises(ConfigError, match=r"positives=place .* `cases`.*positives=view"):
        model(images, seeded())
    with pytest.raises(ConfigError, match=r"case 1 is not a slice.*positives=view"):
        model(images, seeded(), cases(("a", 0.1), ("b", None)))


def test_partners_change_the_loss_and_their_share_is_said() -> None:
    fields = {"points": 8, "augment": "none"}
    images = torch.rand(3, 1, 16, 16, generator=seeded())
    losses = {}
    for patients in ("aab", "abc"):
        torch.manual_seed(0)
        task = registry.create("local2d", positives="patient", **fields)
        encoder = registry.create("unet2d", base_filters=2, levels=2).build(1)
        model = task.build_model(encoder, (16, 16)).eval()
        known = cases(*((patient, None) for patient in patients))
        losses[patients], metrics = model(images, seeded(), known)
        assert math.isclose(
            float(metrics["with_partners"]), (3 - len(set(patients))) * 2 / 3, rel_tol=1e-5
        )
    assert losses["aab"] != losses["abc"]


def learn(images: Tensor, steps: int) -> tuple[float, float]:
    """Return how often the same place was found lately, and how often guesses are right."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = registry.create("local2d", points=32)
        encoder = registry.create("unet2d", base_filters=4, levels=3).build(1)
        model = task.build_model(encoder, tuple(images.shape[2:]))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator, lately = seeded(), []
    for _ in range(steps):
        loss, metrics = model(images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lately.append([float(metrics["found"]), float(metrics["guessed"])])
    found, guessed = torch.tensor(lately[-100:]).mean(0).tolist()
    return found, guessed


@pytest.mark.long
def test_places_are_found_by_what_they_show_and_not_by_the_padded_border() -> None:
    """A constant image shows nothing but where the network's padding and a turn's corners are.

    Were it not told to the loss, places would be found 1.9 times as often as by guessing.
    """
    textured = F.interpolate(torch.rand(4, 1, 12, 12, generator=seeded()), (32, 32), mode="bicubic")
    found, guessed = learn(textured, 100)
    assert found > 6 * guessed
    levels = torch.linspace(0.4, 1, 4).view(4, 1, 1, 1)
    found, guessed = learn(levels.expand(4, 1, 32, 32), 200)
    assert found < 1.3 * guessed
