"""Small data in the layouts that `docs/how-to/layouts.md` shows."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from ssl_registry.data.sources.phantoms import LABELS
from tests.pictures import write_picture
from tests.volumes import noise, write_series


def write_layouts(folder: Path, decathlon: Path) -> None:
    """Write one example of each layout into a folder, of a Decathlon's scans."""
    scans, labels = (sorted((decathlon / part).iterdir()) for part in ("imagesTr", "labelsTr"))
    _nnunet(folder / "Dataset001_Torso", scans, labels)
    (folder / "nnUNet_raw").mkdir()
    (folder / "nnUNet_raw" / "Dataset001_Torso").symlink_to(folder / "Dataset001_Torso")
    _plans(folder / "nnUNet_preprocessed" / "Dataset001_Torso" / "nnUNetPlans.json")
    _hearts(folder / "Dataset027_ACDC", scans, labels)
    _bids(folder / "brains", scans)
    _patterns(folder / "gliomas", scans, labels)
    _clinic(folder / "clinic", scans)
    _chest(folder / "chestxray")
    for number in range(6):
        name = "normal" if number < 3 else "pneumonia"
        write_picture(folder / "lungs" / name / f"{number}.png", seed=number)


def write_imagenet(file: Path) -> None:
    """Write drawn weights in the form of those of ImageNet that `docs/results.md` takes in."""
    import timm

    drawn = timm.create_model("tf_efficientnet_lite0").state_dict()
    kept = [weights for name, weights in drawn.items() if "num_batches" not in name]
    torch.save({f"tensor{place}": weights for place, weights in enumerate(kept)}, file)


def _chest(folder: Path) -> None:
    """Write graded pictures with a table that names their patients."""
    rows = ["id_code,diagnosis,patient"]
    for number in range(24):
        write_picture(folder / "train_images" / f"x{number}.png", seed=number)
        rows.append(f"x{number},{number % 3},p{number // 2}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")


def _copy(source: Path, *places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)


def _inverted(source: Path, place: Path) -> None:
    """Write a scan with dark and bright exchanged, as another sequence would show it."""
    image = nib.load(source)
    values = np.asarray(image.dataobj)
    place.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.max() - values, image.affine), place)


def _nnunet(folder: Path, scans: list[Path], labels: list[Path]) -> None:
    for number in range(5):
        part, name = ("Tr", f"torso_{number:03}") if number < 4 else ("Ts", "torso_100")
        images = folder / f"images{part}"
        _copy(scans[number], images / f"{name}_0000.nii.gz")
        _inverted(scans[number], images / f"{name}_0001.nii.gz")
        if part == "Tr":
            _copy(labels[number], folder / "labelsTr" / f"{name}.nii.gz")
    said = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {name: value for value, name in LABELS.items()},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(said))


def _hearts(folder: Path, scans: list[Path], labels: list[Path]) -> None:
    """Write scans of thick slices, whose names begin with the patient's number."""
    for number, pair in enumerate(zip(scans, labels, strict=True)):
        case = f"patient{number:03}_frame01"
        files = (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz")
        for source, name in zip(pair, files, strict=True):
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            voxels = np.asarray(nib.load(source).dataobj)[:, :, ::3]
            nib.save(nib.Nifti1Image(voxels, np.diag([3.5, 3.5, 10, 1])), place)
    said = {
        "channel_names": {"0": "MRI"},
        "labels": {name: value for value, name in LABELS.items()},
        "numTraining": len(scans),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(said))


def _plans(file: Path) -> None:
    """Write the plans of a tiny network."""
    numbers = {
        "n_stages": 3,
        "features_per_stage": [2, 4, 4],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "nonlin": "torch.nn.LeakyReLU",
    }
    network = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    architecture = {"network_class_name": network, "arch_kwargs": numbers}
    file.parent.mkdir(parents=True)
    said = {"configurations": {"3d_fullres": {"architecture": architecture}}}
    file.write_text(json.dumps(said))


def _bids(folder: Path, scans: list[Path]) -> None:
    for number, session in enumerate(("", "", "ses-1")):
        entities = "_".join(filter(None, (f"sub-{number + 1:02}", session)))
        anatomy = folder / f"sub-{number + 1:02}" / session / "anat"
        _copy(scans[number], anatomy / f"{entities}_T1w.nii.gz")
        _inverted(scans[number], anatomy / f"{entities}_FLAIR.nii.gz")
    (folder / "dataset_description.json").write_text('{"Name": "brains", "BIDSVersion": "1.8.0"}')


def _patterns(folder: Path, scans: list[Path], labels: list[Path]) -> None:
    rows = ["image,label,patient,part"]
    for number in range(4):
        name = f"case_{number:02}/case_{number:02}"
        _copy(scans[number], folder / f"{name}_t1.nii.gz")
        _inverted(scans[number], folder / f"{name}_t2.nii.gz")
        _copy(labels[number], folder / f"{name}_seg.nii.gz")
        part = "test" if number == 0 else "train"
        rows.append(f"{name}_t1.nii.gz,{name}_seg.nii.gz,P{number},{part}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")


def _clinic(folder: Path, scans: list[Path]) -> None:
    _copy(scans[0], folder / "P01" / "2019" / "scan.nii.gz")
    _copy(scans[1], folder / "P01" / "2021" / "scan.nii.gz", folder / "loose.nii.gz")
    write_series(folder / "P02" / "series", noise(12, 12, 9))
