"""The same images in every layout that is read, under other names and in other formats.

A writer takes a folder and the numbers of images, and returns the settings that name the data.
Image `n` holds the same voxels wherever it is written, volumes and pictures alike.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.cubes import cube, save
from tests.dicoms import write_slice

Array: TypeAlias = npt.NDArray[np.uint8]
Settings: TypeAlias = dict[str, Any]
Writer: TypeAlias = Callable[[Path, Iterable[int]], Settings]

PICTURE_SIDE: Final = 16


def volume(number: int) -> tuple[Array, Array]:
    """Return image `number`, whole numbers of one byte so that every format holds it, and map."""
    image, label = cube(number)
    return image.clip(0, 255).astype(np.uint8), label


def picture(number: int) -> tuple[Array, Array]:
    """Return picture `number`, `[H, W]`, and its mask."""
    rng = np.random.default_rng(number)
    mask = np.zeros((PICTURE_SIDE,) * 2, np.uint8)
    row, column = rng.integers(0, PICTURE_SIDE - 6, 2)
    mask[row : row + 6, column : column + 6] = 1
    return rng.integers(0, 100, mask.shape).astype(np.uint8) + 100 * mask, mask


def grade(number: int) -> int:
    """Return the class of image `number`."""
    return number // 2 % 2


def _written(folder: Path, array: Array, name: str) -> str:
    """Write an array in the format of its name; return the name."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if array.ndim == 2:
        Image.fromarray(array).save(path)
    else:
        save(array, path)
    return name


def decathlon(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write `imagesTr`, `labelsTr` and `dataset.json`."""
    rows = []
    for number in numbers:
        image, label = volume(number)
        name = f"hippocampus_{number:03}.nii.gz"
        rows.append(
            {
                "image": _written(folder, image, f"imagesTr/{name}"),
                "label": _written(folder, label, f"labelsTr/{name}"),
            }
        )
    said = {"labels": {"0": "background", "1": "cube"}, "training": rows, "test": []}
    (folder / "dataset.json").write_text(json.dumps(said))
    return {"data": str(folder)}


def nnunet(folder: Path, numbers: Iterable[int], suffix: str = ".nrrd") -> Settings:
    """Write nnU-Net's raw layout."""
    made = volume if suffix == ".nrrd" else picture
    count = 0
    for number in numbers:
        image, label = made(number)
        _written(folder, image, f"imagesTr/ACDC_{number:04}_0000{suffix}")
        _written(folder, label, f"labelsTr/ACDC_{number:04}{suffix}")
        count += 1
    said = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "cube": 1},
        "numTraining": count,
        "file_ending": suffix,
    }
    (folder / "dataset.json").write_text(json.dumps(said))
    return {"data": str(folder)}


def nnunet_of_pictures(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write nnU-Net's raw layout of pictures."""
    return nnunet(folder, numbers, ".png")


def masks(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write `images` and `labels` of volumes."""
    for number in numbers:
        image, label = volume(number)
        _written(folder, image, f"images/scan{number}.mha")
        _written(folder, label, f"labels/scan{number}.mha")
    return {"data": str(folder)}


def masks_of_pictures(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write `images` and `masks` of pictures."""
    for number in numbers:
        image, label = picture(number)
        _written(folder, image, f"images/eye{number}.tif")
        _written(folder, label * np.uint8(255), f"masks/eye{number}.png")
    return {"data": str(folder)}


def pattern(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write volumes and label maps that patterns find, each case in a folder of its own."""
    for number in numbers:
        image, label = volume(number)
        _written(folder, image, f"Case_{number}/Case_{number}_t1.nii")
        _written(folder, label, f"Case_{number}/Case_{number}_seg.nii")
    return {
        "data": str(folder),
        "channels": ["{case}_t1.nii"],
        "label_maps": "{case}_seg.nii",
    }


def pattern_of_pictures(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write pictures and masks that patterns find."""
    for number in numbers:
        image, label = picture(number)
        _written(folder, image, f"p{number}_image.png")
        _written(folder, label, f"p{number}_mask.png")
    return {
        "data": str(folder),
        "channels": ["{case}_image.png"],
        "label_maps": "{case}_mask.png",
    }


def table_of_maps(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write a table of volumes and label maps."""
    rows = ["image,label"]
    for number in numbers:
        image, label = volume(number)
        rows.append(
            f"{_written(folder, image, f'scans/v{number}.nii.gz')},"
            f"{_written(folder, label, f'maps/v{number}.nii.gz')}"
        )
    return _table(folder, rows)


def table_of_grades(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write a table of volumes and grades."""
    rows = ["image,grade,patient"]
    for number in numbers:
        name = _written(folder, volume(number)[0], f"w{number}.nii.gz")
        rows.append(f"{name},{grade(number)},P{number}")
    return _table(folder, rows)


def table_of_pictures(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write a table of pictures and masks."""
    rows = ["image,label"]
    for number in numbers:
        image, label = picture(number)
        rows.append(
            f"{_written(folder, image, f'shown/t{number}.tif')},"
            f"{_written(folder, label, f'marked/t{number}.png')}"
        )
    return _table(folder, rows)


def aptos(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write a folder in APTOS 2019's layout."""
    rows = ["id_code,diagnosis"]
    for number in numbers:
        _written(folder, picture(number)[0], f"train_images/id{number}.png")
        rows.append(f"id{number},{grade(number)}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return {"data": str(folder)}


def _table(folder: Path, rows: Iterable[str]) -> Settings:
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return {"data": str(folder / "cases.csv")}


def classes(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write class folders of volumes."""
    for number in numbers:
        kind = ("well", "ill")[grade(number)]
        _written(folder, volume(number)[0], f"{kind}/f{number}.nii.gz")
    return {"data": str(folder)}


def classes_of_pictures(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write class folders of coloured pictures that show no colour."""
    for number in numbers:
        kind = ("well", "ill")[grade(number)]
        grey = Image.fromarray(picture(number)[0])
        (folder / kind).mkdir(parents=True, exist_ok=True)
        grey.convert("RGB").save(folder / kind / f"q{number}.png")
    return {"data": str(folder)}


def medmnist(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write an archive of volumes."""
    return _archive(folder, [volume(number)[0] for number in numbers], list(numbers))


def medmnist_of_pictures(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write an archive of pictures."""
    return _archive(folder, [picture(number)[0] for number in numbers], list(numbers))


def _archive(folder: Path, images: list[Array], numbers: list[int]) -> Settings:
    """Divide the images: a third each for training, validation and test."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Array] = {}
    for start, part in enumerate(("train", "val", "test")):
        arrays[f"{part}_images"] = np.stack(images[start::3])
        arrays[f"{part}_labels"] = np.array([[grade(n)] for n in numbers[start::3]], np.uint8)
    np.savez_compressed(folder / "mnist.npz", **arrays)  # type: ignore[arg-type]
    return {"data": str(folder / "mnist.npz")}


def bids(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write volumes as BIDS has them."""
    for number in numbers:
        subject = f"sub-{number:02}"
        _written(folder, volume(number)[0], f"{subject}/ses-1/anat/{subject}_ses-1_T1w.nii.gz")
    return {"data": str(folder)}


def scans(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write volumes at several depths, without labels."""
    for number in numbers:
        place = "" if number % 2 else "more/of/them/"
        _written(folder, volume(number)[0], f"{place}s{number}.nii")
    return {"data": str(folder)}


def pictures(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write pictures without labels."""
    for number in numbers:
        _written(folder, picture(number)[0], f"x{number}.png")
    return {"data": str(folder)}


def series(folder: Path, numbers: Iterable[int]) -> Settings:
    """Write volumes as DICOM series."""
    for number in numbers:
        image, _ = volume(number)
        for place in range(image.shape[2]):
            # Rows and columns of DICOM run to the left and the back, axes of the cubes do not.
            pixels = image[::-1, ::-1, place].T.copy()
            path = folder / f"patient{number}" / f"{place:02}.dcm"
            write_slice(path, pixels, (0, 0, 1.1 * place), spacing=(0.8, 0.7))
    return {"data": str(folder)}


UNLABELLED: Final[Mapping[int, Mapping[str, Writer]]] = {
    3: {"bids": bids, "images": scans, "series": series},
    2: {"images": pictures},
}
"""Layouts without labels, by the dimensions of their images."""

SEGMENTED: Final[Mapping[int, Mapping[str, Writer]]] = {
    3: {
        "decathlon": decathlon,
        "nnunet": nnunet,
        "masks": masks,
        "pattern": pattern,
        "table of maps": table_of_maps,
    },
    2: {
        "nnunet": nnunet_of_pictures,
        "masks": masks_of_pictures,
        "pattern": pattern_of_pictures,
        "table of maps": table_of_pictures,
    },
}
"""Layouts with label maps."""

GRADED: Final[Mapping[int, Mapping[str, Writer]]] = {
    3: {"table of grades": table_of_grades, "classes": classes, "medmnist": medmnist},
    2: {"aptos": aptos, "classes": classes_of_pictures, "medmnist": medmnist_of_pictures},
}
"""Layouts with a class for each image."""
