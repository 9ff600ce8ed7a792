"""prepare_image: an image file as training saw it, bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ssl_registry import (
    export_encoder,
    load_encoder,
    open_images,
    prepare_image,
    registry,
    save_encoder,
)
from ssl_registry.data.sources.phantoms import phantom, phantom_slice
from ssl_registry.errors import ConfigError, DataError, EncoderFileError
from ssl_registry.training.files.encoder_summary import read_encoder_summary

SMALL: dict[str, Any] = {"base_filters": 2, "levels": 2}


def write_pictures(folder: Path) -> list[Path]:
    """Write grey and coloured pictures together; the grey ones are read like the others."""
    folder.mkdir(parents=True)
    files = []
    for index in range(4):
        grey = phantom_slice(index, 40).image[0, ..., 0].numpy()
        bright = (255 * (grey - grey.min()) / np.ptp(grey)).astype(np.uint8)
        picture = Image.fromarray(bright)
        files.append(folder / f"p{index}.png")
        (picture.convert("RGB") if index % 2 else picture).save(files[-1])
    return files


def write_volumes(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    files = []
    for index in range(3):
        affine = np.diag([-1.0, 1.0, 1.5, 1.0])  # not RAS+, and no cubes
        files.append(folder / f"v{index}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(phantom(index, 20).image[0].numpy(), affine), files[-1])
    return files


def write_channels(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    for index in range(3):
        for channel in range(2):
            voxels = phantom(index, 20).image[0].numpy() * (1 + channel)
            name = f"v{index}_000{channel}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / name)
    return sorted(folder.iterdir())


def saved(folder: Path, data: Path, dims: int, **settings: Any) -> tuple[Path, Any]:
    """Return the folder of an encoder for images, and these as a run would open them."""
    images = open_images(data=data, part="all", **settings)
    backbone = registry.backbone(f"unet{dims}d", **SMALL)
    encoder = backbone.build(images.channels)
    return save_encoder(folder, encoder, backbone=backbone, images=images, size=16), images


@pytest.mark.parametrize(
    ("write", "dims", "settings"),
    [
        (write_pictures, 2, {"size": 16}),
        (write_pictures, 2, {"size": 16, "preprocessing": {"preset": "fundus", "crop": False}}),
        (write_volumes, 3, {"size": 16}),
        (write_volumes, 3, {"size": 16, "preprocessing": {"spacing": 1.2, "dtype": "float16"}}),
        (write_volumes, 3, {"size": 16, "preprocessing": {"fit": "pad", "window": (-0.5, 0.9)}}),
    ],
)
def test_it_is_what_training_saw(
    tmp_path: Path, write: Callable[[Path], list[Path]], dims: int, settings: dict[str, Any]
) -> None:
    files = write(tmp_path / "data")
    folder, images = saved(tmp_path / "mine", tmp_path / "data", dims, **settings)
    for index, file in enumerate(files):
        found = prepare_image(file, folder)
        assert found.dtype == torch.float32
        assert torch.equal(found, images[index])
    loaded = load_encoder(folder)
    assert torch.equal(prepare_image(files[0], loaded), images[0])
    export_encoder(folder, tmp_path / "out.safetensors")
    assert torch.equal(prepare_image(files[0], tmp_path / "out.safetensors"), images[0])


def test_channels_in_files_of_their_own_are_stacked(tmp_path: Path) -> None:
    files = write_channels(tmp_path / "data")
    pattern = "{case}_0000.nii.gz,{case}_0001.nii.gz"
    folder, images = saved(tmp_path / "mine", tmp_path / "data", 3, channels=pattern, size=16)
    assert torch.equal(prepare_image(files[:2], folder), images[0])
    with pytest.raises(DataError, match="has 1 channels; the images .* had 2"):
        prepare_image(files[0], folder)


def test_an_encoder_of_slices_gets_the_slices_of_a_volume(tmp_path: Path) -> None:
    files = write_volumes(tmp_path / "data")
    folder, images = saved(tmp_path / "mine", tmp_path / "data", 2, slices="thick", size=16)
    found = prepare_image(files[0], folder)
    of_first = [i for i, case in enumerate(images.cases) if case.name.startswith("v0")]
    assert torch.equal(found, torch.stack([images[i] for i in of_first]))
    steps = read_encoder_summary(folder).image_recipe.steps()
    (place,) = (number for number, step in enumerate(steps) if "slices across" in step)
    (crop,) = (number for number, step in enumerate(steps) if step.startswith("crop"))
    assert crop < place  # the volume is cropped before it is cut into slices


def test_an_encoder_of_patches_gets_the_whole_image(tmp_path: Path) -> None:
    pytest.importorskip("ssl_registry_rotation")
    from ssl_registry import pretrain

    files = write_volumes(tmp_path / "data")
    run = pretrain(
        task="rotation3d", backbone={"name": "unet3d", **SMALL}, data=tmp_path / "data", size=16,
        patches=2, epochs=1, batch_size=2, out=tmp_path / "run", quiet=True,
    ).folder  # fmt: skip
    wanted = open_images(data=tmp_path / "data", part="all")[1]
    assert torch.equal(prepare_image(files[1], run), wanted)


def test_what_cannot_be_prepared_is_refused_by_name(tmp_path: Path) -> None:
    (picture, *_), (volume, *_) = (
        write_pictures(tmp_path / "pictures"),
        write_volumes(tmp_path / "volumes"),
    )
    folder, _ = saved(tmp_path / "mine", tmp_path / "volumes", 3, size=16)
    with pytest.raises(DataError, match=r"p0\.png is a picture; the encoder learned from volumes"):
        prepare_image(picture, folder)
    with pytest.raises(DataError, match=r"nowhere\.nii\.gz: there is no such file"):
        prepare_image(tmp_path / "nowhere.nii.gz", folder)
    with pytest.raises(ConfigError, match=r"file=\[\]"):
        prepare_image([], folder)
    with pytest.raises(EncoderFileError, match="no such folder"):
        prepare_image(volume, tmp_path / "nowhere")
    with pytest.raises(EncoderFileError, match="does not say how images are prepared"):
        prepare_image(volume, bare(tmp_path / "bare.safetensors"))
    fresh = registry.backbone("unet3d", **SMALL).build(1)
    with pytest.raises(ConfigError, match="was not loaded from files"):
        prepare_image(volume, fresh)


def bare(file: Path) -> Path:
    """Write weights that say nothing of images."""
    save_file({"weight": torch.ones(1)}, file)
    return file
