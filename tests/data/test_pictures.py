"""Pictures: read as they are, in grey or in colour, or refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssl_registry.data.formats.pictures import picture_header, read_mask, read_picture
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.errors import DataError
from tests.pictures import TURNS, write_turned


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def saved(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "TIFF"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_pixels_come_as_they_are_rows_first(
    tmp_path: Path, suffix: str, shape: tuple[int, ...]
) -> None:
    values = noise(*shape)
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(values))
    read = read_picture(path)["image"].data
    wanted = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    np.testing.assert_array_equal(read[..., 0].numpy(), wanted)
    assert read.dtype == torch.float32
    assert picture_header(path).channels == len(wanted)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    values = noise(6, 5, dtype=np.uint16)
    path = saved(tmp_path / "a.png", Image.fromarray(values))
    np.testing.assert_array_equal(read_picture(path)["image"].data[0, ..., 0].numpy(), values)
    coloured = read_picture(path, channels=3)["image"].data
    assert coloured.shape == (3, 6, 5, 1)
    assert torch.equal(coloured[0], coloured[2])


def test_grey_becomes_red_green_and_blue_alike(tmp_path: Path) -> None:
    values = noise(5, 7)
    path = saved(tmp_path / "a.png", Image.fromarray(values))
    read = read_picture(path, channels=3)["image"].data
    for channel in read:
        np.testing.assert_array_equal(channel[..., 0].numpy(), values)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "1"])
def test_every_mode_is_one_channel_or_three(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(noise(8, 9, 3)).convert(mode))
    read = read_picture(path)["image"].data
    assert read.shape == (picture_header(path).channels, 8, 9, 1)
    assert len(read) == (1 if mode in ("LA", "1") else 3)


TIFF = [("tif", {"compression": name}) for name in (None, "tiff_lzw", "tiff_deflate", "packbits")]
TURNED = [
    *[(suffix, how, mode) for suffix, how in TIFF for mode in ("L", "RGB", "I;16", "1", "P", "F")],
    *[("png", {}, mode) for mode in ("L", "RGB", "I;16", "1", "P")],
    *[("jpg", {"quality": 100, "subsampling": 0}, mode) for mode in ("L", "RGB")],
]


@pytest.mark.parametrize(("suffix", "how", "mode"), TURNED, ids=str)
def test_pictures_are_shown_upright(
    tmp_path: Path, suffix: str, how: dict[str, Any], mode: str
) -> None:
    shown, atol = _shown(mode), 4 if suffix == "jpg" else 0
    for turn in TURNS:
        path = tmp_path / f"{turn}.{suffix}"
        write_turned(path, shown, turn, mode, how)
        header = picture_header(path)
        read = read_picture(path)["image"].data[..., 0]
        assert header.size == shown.shape[:2]
        assert read.shape == (header.channels, *shown.shape[:2])
        # A palette's colours are its indices here.
        wanted = np.moveaxis(shown, -1, 0) if mode == "RGB" else shown[None].repeat(len(read), 0)
        np.testing.assert_allclose(read.numpy(), wanted, atol=atol)
        if mode in ("L", "P", "1") and suffix != "jpg":
            np.testing.assert_array_equal(read_mask(path)[0, ..., 0].numpy() > 0, shown > 0)


def _shown(mode: str) -> np.ndarray:
    rows, columns = np.mgrid[:12, :20]
    smooth = (rows * 9 + columns * 5).astype(np.uint8)
    if mode == "RGB":
        return np.stack([smooth, smooth + 20, smooth + 40], axis=-1)
    if mode == "1":
        return np.where(smooth > 90, 255, 0).astype(np.uint8)
    return smooth.astype({"I;16": np.uint16, "F": np.float32}.get(mode, np.uint8)) * (
        200 if mode == "I;16" else 1
    )


def test_a_picture_and_its_mask_are_turned_by_tags_of_their_own(tmp_path: Path) -> None:
    upright = noise(8, 12)
    marks = (upright > 128).astype(np.uint8)
    for turn in TURNS:
        write_turned(tmp_path / "a.tif", upright, turn, "L", {})
        for other in (turn, 1):
            write_turned(tmp_path / "mask.png", marks, other, "L", {})
            scan = read_picture(tmp_path / "a.tif", tmp_path / "mask.png", frozenset({0, 1}))
            np.testing.assert_array_equal(scan["image"].data[0, ..., 0].numpy(), upright)
            np.testing.assert_array_equal(scan["label"].data[0, ..., 0].numpy(), marks)


def test_a_mask_that_lies_on_its_side_is_refused(tmp_path: Path) -> None:
    write_turned(tmp_path / "a.tif", noise(8, 12), 6, "L", {})
    Image.fromarray(np.rot90(noise(8, 12) % 2)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png has 12x8 pixels, but its picture .* 8x12"):
        read_picture(tmp_path / "a.tif", tmp_path / "mask.png", frozenset({0, 1}))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_a_truncated_picture_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = saved(tmp_path / f"broken.{suffix}", Image.fromarray(noise(64, 64, 3)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"broken\.{suffix} cannot be read as a picture"):
        read_picture(path)


def test_text_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("patient went home")
    with pytest.raises(DataError, match=r"a\.png cannot be read as a picture"):
        picture_header(tmp_path / "a.png")


def test_a_blank_picture_shows_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (9, 9), 7))
    with pytest.raises(DataError, match="value 7 in every voxel"):
        read_picture(path)


def test_several_pages_are_not_one_picture(tmp_path: Path) -> None:
    pages = [Image.fromarray(noise(5, 5)) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="holds 3 pages"):
        read_picture(tmp_path / "a.tif")


def test_a_mask_lies_on_its_picture(tmp_path: Path) -> None:
    picture = saved(tmp_path / "a.png", Image.fromarray(noise(6, 8, 3)))
    marks = noise(6, 8) % 3
    mask = saved(tmp_path / "mask.png", Image.fromarray(marks))
    scan = read_picture(picture, mask, frozenset({0, 1, 2}))
    np.testing.assert_array_equal(scan["label"].data[0, ..., 0].numpy(), marks)
    with pytest.raises(DataError, match=r"mask\.png holds the label 2"):
        read_picture(picture, mask, frozenset({0, 1}))
    small = saved(tmp_path / "small.png", Image.fromarray(marks[1:]))
    with pytest.raises(DataError, match=r"small\.png has 5x8 pixels, but its picture .* has 6x8"):
        read_picture(picture, small, frozenset({0, 1, 2}))


def test_black_and_white_masks_have_the_white_of_the_data(tmp_path: Path) -> None:
    marks = 255 * (noise(6, 8) % 2)
    picture = saved(tmp_path / "a.png", Image.fromarray(noise(6, 8)))
    for mode in ("L", "1"):
        path = saved(tmp_path / f"{mode}.png", Image.fromarray(marks).convert(mode))
        for white in (1, 255):
            read = read_picture(picture, path, frozenset({0, white}))["label"].data[0, ..., 0]
            np.testing.assert_array_equal(read.numpy(), white * (marks > 0))


def test_a_coloured_mask_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "mask.png", Image.fromarray(noise(6, 8, 3)))
    with pytest.raises(DataError, match="mode RGB: a mask is a grey picture"):
        read_mask(path)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(5, 60),
    width=st.integers(5, 60),
    size=st.integers(8, 40),
    fit=st.sampled_from(["stretch", "pad"]),
    crop=st.booleans(),
    channels=st.sampled_from([1, 3]),
)
def test_pictures_are_prepared_like_volumes(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    size: int,
    fit: Any,
    crop: bool,
    channels: int,
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    picture = saved(folder / "a.png", Image.fromarray(noise(height, width, 3)))
    mask = saved(folder / "mask.png", Image.fromarray(noise(height, width) % 2))
    scan = read_picture(picture, mask, frozenset({0, 1}), channels)
    image, label = Preprocessing(fit=fit, crop=crop).prepare(scan, size, "a")
    assert image.shape == (channels, size, size)
    assert image.dtype == torch.float32
    assert float(image.min()) == 0
    assert float(image.max()) == 1
    assert label is not None
    assert label.shape == (size, size)
    assert set(label.unique().tolist()) <= {0, 1}


def test_the_black_round_a_fundus_is_cut_off(tmp_path: Path) -> None:
    values = np.zeros((60, 80, 3), np.uint8)
    values[10:50, 20:60] = 50 + noise(40, 40, 3) // 2
    path = saved(tmp_path / "a.png", Image.fromarray(values))
    image, _ = Preprocessing().prepare(read_picture(path), 40, "a")
    assert float(image[:, :2].mean()) > 0.2
    whole, _ = Preprocessing(crop=False).prepare(read_picture(path), 40, "a")
    assert float(whole[:, :2].mean()) == 0


def test_labels_stay_where_the_picture_shows_them(tmp_path: Path) -> None:
    values = np.full((32, 48), 30, np.uint8)
    values[8:16, 24:40] = 200
    picture = saved(tmp_path / "a.png", Image.fromarray(values))
    mask = saved(tmp_path / "mask.png", Image.fromarray((values > 100).astype(np.uint8)))
    scan = read_picture(picture, mask, frozenset({0, 1}))
    for fit in ("stretch", "pad"):
        image, label = Preprocessing(fit=fit, crop=False).prepare(scan, 96, "a")
        assert label is not None
        bright = (image[0] > 0.5) & (image[0] > 0)
        agree = (bright == (label > 0)).float().mean()
        assert float(agree) > 0.97


def test_a_reduced_mask_takes_the_pixel_in_the_middle(tmp_path: Path) -> None:
    """Not the first one: labels would lie aside of what the reduced picture shows."""
    middle = np.zeros((24, 24), np.uint8)
    middle[1::3, 1::3] = 1
    picture = saved(tmp_path / "a.png", Image.fromarray(noise(24, 24)))
    mask = saved(tmp_path / "mask.png", Image.fromarray(middle))
    scan = read_picture(picture, mask, frozenset({0, 1}))
    _, label = Preprocessing(crop=False).prepare(scan, 8, "a")
    assert label is not None
    assert label.eq(1).all()


def test_a_picture_has_no_spacing(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(noise(9, 9)))
    with pytest.raises(DataError, match=r"leave preprocessing\.spacing out"):
        Preprocessing(spacing=1.0).prepare(read_picture(path), 8, "a")


def test_what_float32_would_round_away_is_refused_in_pictures_too(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (16, 20), dtype=np.int32)
    Image.fromarray(values + 2**30).save(tmp_path / "deep.tif")
    with pytest.raises(DataError, match="rounds to multiples of 128"):
        read_picture(tmp_path / "deep.tif")
    Image.fromarray(values * 2**20).save(tmp_path / "wide.tif")
    assert read_picture(tmp_path / "wide.tif")["image"].data.max() > 2**26
