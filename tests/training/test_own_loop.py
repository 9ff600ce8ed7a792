"""From a training loop of one's own and back: open_images and save_encoder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader

from ssl_registry import export_encoder, finetune, load_encoder, open_images, registry, save_encoder
from ssl_registry.errors import ConfigError, DataError, EncoderFileError, SslRegistryError
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from tests.commands import run_command
from tests.cubes import write_scans

SMALL = {"name": "unet3d", "base_filters": 2, "levels": 2}
DATA: dict[str, Any] = {"data": "phantoms:10", "size": 16}


def encoder_of(spec: dict[str, Any] = SMALL) -> Any:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        return registry.create(spec).build(1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        ("unetdecoder", "a str is not an nn.Module"),
        (nn.Identity(), "Identity cannot be kept, for it has no weights"),
        (nn.ModuleList([encoder_of()]), "it holds weights of the encoder"),
    ],
)
def test_what_is_no_decoder_is_refused(decoder: Any, said: str, tmp_path: Path) -> None:
    encoder = decoder[0] if isinstance(decoder, nn.ModuleList) else encoder_of()
    with pytest.raises(ConfigError, match=said):
        save_encoder(
            tmp_path / "mine", encoder, backbone=SMALL, images=None, size=16, decoder=decoder
        )
    assert not (tmp_path / "mine").exists()


def test_images_are_prepared_one_at_a_time_with_what_is_known_of_them() -> None:
    images = open_images(**DATA)
    assert images[0].shape == (1, 16, 16, 16)
    assert 0 <= float(images[0].min()) <= float(images[0].max()) <= 1
    case = images.cases[0]
    assert case.name
    assert case.group
    assert len(case.spacing or ()) == 3
    assert all(torch.equal(one, one) for index, one in enumerate(images))
    assert images[:2].cases == images.cases[:2]
    batches = DataLoader(images, batch_size=2)  # type: ignore[arg-type]
    assert next(iter(batches)).shape == (2, 1, 16, 16, 16)


def test_the_parts_are_those_of_a_run_and_never_overlap() -> None:
    parts = {
        part: {case.name for case in open_images(**DATA, part=part).cases}
        for part in ("train", "validation", "test", "all")
    }
    assert parts["train"] | parts["validation"] | parts["test"] == parts["all"]
    assert sum(len(parts[p]) for p in ("train", "validation", "test")) == len(parts["all"]) == 10


def test_without_a_size_each_image_keeps_its_own() -> None:
    assert open_images(data="phantoms:4")[0].shape[1:] == (64, 64, 64)
    assert open_images(data="phantoms:4", dims=2, size=32)[0].shape == (1, 32, 32)


def test_labels_are_at_hand() -> None:
    assert open_images(**DATA).label(0).shape == (16, 16, 16)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"siez": 16}, "did you mean size"),
        ({"part": "tset"}, "part"),
        ({"test_fraction": 0, "part": "test"}, "part=test holds no image"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_opened_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        open_images(**{**DATA, **settings})


def test_an_encoder_goes_on_to_fine_tuning(tmp_path: Path) -> None:
    images, encoder = open_images(**DATA), encoder_of()
    folder = save_encoder(tmp_path / "mine", encoder, backbone=SMALL, images=images)
    loaded = load_encoder(folder).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in encoder.state_dict().items())
    tuned = finetune(
        encoder=folder, data="phantoms:10", epochs=1, freeze_epochs=0, out=tmp_path / "tuned",
        quiet=True,
    )  # fmt: skip
    assert 0 <= tuned.result["score"]["dice"] <= 1


def test_tied_weights_are_kept_under_both_names(tmp_path: Path) -> None:
    encoder = encoder_of()
    norm = next(layer for layer in encoder.modules() if isinstance(layer, torch.nn.BatchNorm3d))
    norm.bias = norm.weight
    folder = save_encoder(tmp_path / "mine", encoder, backbone=SMALL, images=open_images(**DATA))
    loaded = load_encoder(folder).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in encoder.state_dict().items())


def test_it_is_never_scored_on_what_it_learned_from(tmp_path: Path) -> None:
    images = open_images(**DATA, part="all")
    folder = save_encoder(tmp_path / "mine", encoder_of(), backbone=SMALL, images=images)
    with pytest.raises(ConfigError, match="of the test cases were used to pretrain"):
        finetune(encoder=folder, data="phantoms:10", epochs=1, out=tmp_path / "out", quiet=True)


def test_one_that_does_not_say_what_it_has_seen_needs_somebodys_word(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "mine", encoder_of(), backbone=SMALL, images=None, size=16)
    chosen: dict[str, Any] = {
        "encoder": folder, "data": "phantoms:10", "epochs": 1, "freeze_epochs": 0, "quiet": True,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="assume_unseen=true"):
        finetune(**chosen, out=tmp_path / "out")
    finetune(**chosen, assume_unseen=True, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        ({**SMALL, "levels": 3}, "is not what .*weights differ"),
        ("segmentation3d", "not a backbone"),
        ("unte3d", "unet3d"),
    ],
)
def test_another_backbone_is_refused(tmp_path: Path, backbone: Any, words: str) -> None:
    with pytest.raises(SslRegistryError, match=words):
        save_encoder(tmp_path / "mine", encoder_of(), backbone=backbone, images=None)
    assert not (tmp_path / "mine").exists()


def test_a_model_around_the_encoder_is_refused(tmp_path: Path) -> None:
    around: Any = nn.Sequential(encoder_of())
    with pytest.raises(ConfigError, match="a Sequential is not an Encoder"):
        save_encoder(tmp_path / "mine", around, backbone=SMALL, images=None)


def test_the_folder_of_a_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: rotation3d\n")
    with pytest.raises(ConfigError, match="the folder of a run"):
        save_encoder(tmp_path, encoder_of(), backbone=SMALL, images=None)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that has seen all ten phantoms, exported under the names of its library."""
    folder = tmp_path_factory.mktemp("exported")
    seen = open_images(**DATA, part="all")
    save_encoder(folder / "mine", encoder_of(), backbone=SMALL, images=seen)
    for name in ("weights.safetensors", "weights.pt"):
        export_encoder(folder / "mine", folder / name)
    return folder


def refusal(encoder: Path, data: str = "phantoms:10") -> str:
    """Return why an encoder is not fine-tuned, whatever is vouched for."""
    with pytest.raises(ConfigError) as refused:
        finetune(
            encoder=encoder, data=data, epochs=1, out=encoder / "out", quiet=True,
            assume_unseen=True,
        )  # fmt: skip
    return str(refused.value)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "mine"])
def test_an_encoder_that_comes_back_has_seen_what_it_saw(
    exported: Path, tmp_path: Path, name: str
) -> None:
    encoder = encoder_of()
    if name == "weights.safetensors":
        encoder.load_state_dict(load_file(exported / name), strict=True)
    back = save_encoder(
        tmp_path / "back", encoder, backbone=SMALL, images=None, started_from=exported / name
    )
    assert "phantom_0" in refusal(back)
    assert "were used to pretrain" in refusal(back)
    # Nothing is unknown of one whose weights can be seen to be the same.
    complete = read_encoder_summary(back).data["complete"]
    assert complete is (name != "weights.pt")


def test_what_it_learns_then_counts_as_well(exported: Path, tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "scans", range(4))
    encoder = encoder_of()
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    start = exported / "weights.safetensors"
    on_others = open_images(data=scans, size=16)
    then = save_encoder(
        tmp_path / "then", encoder, backbone=SMALL, images=on_others, started_from=start
    )
    said = read_encoder_summary(then).data
    assert len([content for content in said["seen"] if "-" not in content]) == 14  # by voxels
    assert said["complete"]
    assert "were used to pretrain" in refusal(then)
    unknown = save_encoder(
        tmp_path / "unknown", encoder, backbone=SMALL, images=None, started_from=start
    )
    assert not read_encoder_summary(unknown).data["complete"]


def test_an_export_names_no_image_unless_it_is_asked_to(exported: Path, tmp_path: Path) -> None:
    raw = (exported / "weights.safetensors").read_bytes()
    assert b"phantom_0" not in raw
    assert b"phantom_0" not in (exported / "weights.pt.json").read_bytes()
    named = tmp_path / "named.safetensors"
    run_command("export", exported / "mine", "--out", named, "--names")
    assert b"phantom_0" in named.read_bytes()


def test_a_start_that_says_nothing_is_refused(tmp_path: Path) -> None:
    save_file(encoder_of().state_dict(), tmp_path / "bare.safetensors")
    for start in ("bare.safetensors", "nowhere.pt", "nowhere"):
        with pytest.raises(EncoderFileError, match=f"{start}"):
            save_encoder(
                tmp_path / "back", encoder_of(), backbone=SMALL, images=None,
                started_from=tmp_path / start,
            )  # fmt: skip
