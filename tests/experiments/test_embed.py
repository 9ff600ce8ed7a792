"""Features of images as tables and pictures, and probes as a command."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_registry import embed, load_encoder, open_images, prepare_image, registry, save_encoder
from ssl_registry.cli.app import app
from ssl_registry.errors import ConfigError
from ssl_registry.experiments.probes.probing import probe
from tests.hospitals import write_graded

UNET: dict[str, Any] = {"name": "unet2d", "base_filters": 2, "levels": 3}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with pictures of seven patients and an encoder."""
    folder = tmp_path_factory.mktemp("embed")
    write_graded(folder / "data", range(14), {0: "0", 1: "1"})
    images = open_images(data=folder / "data", size=16)
    made = registry.backbone("unet2d", base_filters=2, levels=3).build(1)
    save_encoder(folder / "encoder", made, backbone=UNET, images=images)
    return folder


def test_a_case_is_a_row_of_the_levels_means(place: Path) -> None:
    found = embed(place / "encoder", place / "data", group_column="patient", quiet=True)
    assert found.names == tuple(f"i{index}" for index in range(14)) or len(found.names) == 14
    encoder = load_encoder(place / "encoder")
    image = prepare_image(place / "data" / "train_images" / "i3.png", encoder)
    with torch.inference_mode():
        pyramid = encoder(image[None])
    wanted = torch.cat([level.flatten(2).mean(2)[0] for level in pyramid]).numpy()
    row = [name.rpartition("/")[2] for name in found.names].index("i3")
    np.testing.assert_allclose(found.vectors[row], wanted, rtol=1e-5, atol=1e-6)
    assert found.patients[row] == "patient1"
    assert found.classes[row] == "1"


def test_levels_and_pooling_are_settings(place: Path) -> None:
    whole = embed(place / "encoder", place / "data", quiet=True).vectors
    widths = load_encoder(place / "encoder").channels
    coarsest = embed(place / "encoder", place / "data", level="coarsest", quiet=True).vectors
    np.testing.assert_array_equal(coarsest, whole[:, -widths[-1] :])
    first = embed(place / "encoder", place / "data", level=1, quiet=True).vectors
    np.testing.assert_array_equal(first, whole[:, : widths[0]])
    most = embed(place / "encoder", place / "data", pooling="max", quiet=True).vectors
    assert (most >= whole).all()
    with pytest.raises(ConfigError, match="level=4: the encoder has 3 levels"):
        embed(place / "encoder", place / "data", level=4, quiet=True)


def test_patches_are_averaged(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("ssl_registry_rotation")
    from ssl_registry import pretrain

    run = pretrain(
        task="rotation2d", backbone=UNET, data=place / "data", size=16, patches=1, epochs=1,
        out=tmp_path / "run", quiet=True,
    ).folder  # fmt: skip
    found = embed(run, place / "data", quiet=True)
    encoder, image = load_encoder(run), found.cases[0].image()
    assert min(image.shape[1:]) > 16
    from ssl_registry.data.preparing.sliding_window import windows_of

    with torch.inference_mode():
        vectors = [
            torch.cat([level[0].flatten(1).mean(1) for level in encoder(window[None])])
            for window in windows_of(image, 16)
        ]
    assert len(vectors) > 1
    np.testing.assert_allclose(found.vectors[0], torch.stack(vectors).mean(0).numpy(), atol=1e-5)


def test_every_format_holds_the_same(place: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "npz", "parquet"):
        if suffix == "parquet":
            pytest.importorskip("pyarrow")
        file = tmp_path / f"features.{suffix}"
        found = embed(place / "encoder", place / "data", file, group_column="patient", quiet=True)
    with (tmp_path / "features.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["case"] for row in rows] == list(found.names)
    assert [row["class"] for row in rows] == list(found.classes)
    numbers = [[float(row[f"f{i}"]) for i in range(found.vectors.shape[1])] for row in rows]
    np.testing.assert_allclose(numbers, found.vectors, rtol=1e-6)
    with np.load(tmp_path / "features.npz") as kept:
        np.testing.assert_array_equal(kept["vectors"], found.vectors)
        assert kept["patient"].tolist() == list(found.patients)
    from pyarrow import parquet

    there = parquet.read_table(tmp_path / "features.parquet")
    assert there.column("case").to_pylist() == list(found.names)
    np.testing.assert_allclose(there.column("vector").to_pylist(), found.vectors, rtol=1e-6)


def test_the_nearest_case_is_the_likeliest(place: Path) -> None:
    found = embed(place / "encoder", place / "data", quiet=True)
    nearest = found.nearest(found.names[0], 13)
    assert len(nearest) == 13
    assert [likeness for _, likeness in nearest] == sorted((x for _, x in nearest), reverse=True)
    assert found.names[0] not in dict(nearest)
    with pytest.raises(ConfigError, match="there is no case 'nobody'"):
        found.nearest("nobody")


def test_the_command_writes_table_and_pictures(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = embed(place / "encoder", place / "data", quiet=True).names[2]
    words = [
        "embed", str(place / "encoder"), "--images", str(place / "data"), "--out",
        str(tmp_path / "f.csv"), "--figure", str(tmp_path / "f.png"), "--projection", "pca",
        "--neighbours", name, "--neighbours-figure", str(tmp_path / "n.png"), "--group-column",
        "patient",
    ]  # fmt: skip
    app(words, standalone_mode=False)
    assert "14 cases of 7 patients" in capsys.readouterr().out
    assert {"f.csv", "f.png", "n.png"} == {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="exists"):
        app(words, standalone_mode=False)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"neighbours": "nobody", "neighbours_figure": "n.png"}, "there is no case 'nobody'"),
        ({"figure": "f.pdf"}, r"figure=.*: name a file that ends in \.png"),
        ({"figure": "f.png", "neighbours": "i1", "neighbours_figure": "f.png"}, "the same file"),
        ({"figure": "f.png", "projection": "tsne"}, "projection=tsne: choose auto, pca, umap"),
        ({"device": "tpu"}, "device=tpu: choose auto, cpu or gpu"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(
    place: Path, tmp_path: Path, asked: dict[str, str], words: str
) -> None:
    files = {name: tmp_path / value for name, value in asked.items() if "figure" in name}
    with pytest.raises(ConfigError, match=words):
        embed(
            place / "encoder", place / "data", tmp_path / "f.csv", quiet=True, **{**asked, **files}  # type: ignore[arg-type]
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_probe_is_a_command_and_a_function(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [
        f"encoder={place / 'encoder'}", f"data={place / 'data'}", "downstream=classification2d",
        "test_fraction=0.3",
    ]  # fmt: skip
    app(["probe", *said, f"out={tmp_path / 'probes.json'}"], standalone_mode=False)
    out = capsys.readouterr().out
    assert "linear probe" in out
    assert "a random encoder" in out
    kept = json.loads((tmp_path / "probes.json").read_text())
    scores = probe(
        encoder=place / "encoder", data=place / "data", downstream="classification2d",
        test_fraction=0.3,
    )  # fmt: skip
    assert kept["encoder"] == pytest.approx(scores, nan_ok=True)
    assert kept["random"].keys() == scores.keys()
    assert not Path("nothing is written").exists()
