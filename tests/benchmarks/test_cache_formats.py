"""The cache's float32 memory map, beside compressed arrays of blosc2 and of zarr.

pytest tests/benchmarks/test_cache_formats.py --benchmark-enable --benchmark-only

Whole images and random patches, an epoch each, on files that the system holds in memory (warm) and
on files that it has dropped (cold). By the clock, on one thread; bytes, as a share of those
of the float32 arrays, are in the name. blosc2 and zarr hold chunks of 64 voxels a side,
byte-shuffled, by LZ4 and by Zstandard.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from ssl_registry.data.cache.cache_file import open_cache_file, write_cache_file
from ssl_registry.data.sources.opening import open_source

blosc2 = pytest.importorskip("blosc2")
zarr = pytest.importorskip("zarr")

SHARED = Path(__file__).parents[3] / "shared" / "data"
SIDE, PATCH, IMAGES = (128, 16), (64, 8), (8, 2)
"""Where it is measured, and where it only runs."""

Array = Any
FORMATS: Final = ("float32 map", "blosc2 lz4", "blosc2 zstd", "zarr lz4", "zarr zstd")


def images_of(name: str, enabled: bool) -> list[Array]:
    """Return prepared images `[C, X, Y, Z]` float32 of one side."""
    if name == "hearts":
        files = sorted((SHARED / "Dataset027_ACDC" / "imagesTr").glob("*.nii.gz"))
        if not files:
            pytest.skip("the scans of ACDC are not part of the repository")
        scans = [nib.load(file).get_fdata(dtype=np.float32) for file in files[: IMAGES[0]]]
    else:
        source = open_source(f"phantoms:{IMAGES[0 if enabled else 1]}")
        scans = [case.read()["image"].data[0].numpy() for case in source.cases]
    side = SIDE[0] if enabled else SIDE[1]
    made = []
    for scan in scans:
        large = ndimage.zoom(scan, [side / old for old in scan.shape], order=1)
        made.append(((large - large.mean()) / large.std())[None].astype(np.float32))
    return made


def write(path: Path, image: Array, kind: str) -> None:
    library, _, codec = kind.partition(" ")
    chunk = (1, *(min(PATCH[0], side) for side in image.shape[1:]))
    if kind == "float32 map":
        write_cache_file(path, {"image": image}, {})
    elif library == "blosc2":
        cparams = {"codec": blosc2.Codec[codec.upper()], "clevel": 5, "nthreads": 1}
        blosc2.asarray(image, urlpath=str(path), mode="w", chunks=chunk, cparams=cparams)
    else:
        compressor = zarr.codecs.BloscCodec(cname=codec, clevel=5, shuffle="shuffle")
        zarr.create_array(path, data=image, chunks=chunk, compressors=compressor)


def open_image(path: Path, kind: str) -> Array:
    if kind == "float32 map":
        found = open_cache_file(path)
        assert found is not None
        return found.map("image")
    if kind.startswith("blosc2"):
        return blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
    return zarr.open_array(path, mode="r")


def files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def drop(paths: list[Path]) -> None:
    """Have the system forget what files hold, once it is on the disk."""
    for path in paths:
        for file in files_of(path):
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def whole(paths: list[Path], kind: str, patch: int) -> float:
    return sum(float(np.array(open_image(path, kind)[:])[0, 0, 0, 0]) for path in paths)


def patches(paths: list[Path], kind: str, patch: int) -> float:
    """Read four random patches of each image, the same at every call."""
    chance, total = np.random.default_rng(0), 0.0
    for path in paths:
        image = open_image(path, kind)
        for _ in range(4):
            first = [int(chance.integers(side - patch + 1)) for side in image.shape[1:]]
            place = (slice(None), *(slice(at, at + patch) for at in first))
            total += float(np.array(image[place])[0, 0, 0, 0])
    return total


@pytest.fixture(scope="module", params=["hearts", "phantoms"])
def images(request: pytest.FixtureRequest) -> tuple[str, list[Array]]:
    enabled = bool(request.config.getoption("benchmark_enable"))
    if request.param == "hearts" and not enabled:
        pytest.skip("phantoms do where nothing is measured")
    return request.param, images_of(request.param, enabled)


@pytest.mark.parametrize("temperature", ["warm", "cold"])
@pytest.mark.parametrize("epoch", [whole, patches], ids=["whole images", "patches"])
@pytest.mark.parametrize("kind", FORMATS)
def test_an_epoch(
    benchmark: Any,
    images: tuple[str, list[Array]],
    tmp_path: Path,
    kind: str,
    epoch: Callable[..., float],
    temperature: str,
) -> None:
    name, arrays = images
    paths = [tmp_path / f"{number}" for number in range(len(arrays))]
    for path, image in zip(paths, arrays, strict=True):
        write(path, image, kind)
    patch = PATCH[0] if benchmark.enabled else PATCH[1]
    benchmark.group = f"{name}, {epoch.__name__}, {temperature}"
    stored = sum(file.stat().st_size for path in paths for file in files_of(path))
    share = stored / sum(image.nbytes for image in arrays)
    benchmark.extra_info["share of float32"] = share
    benchmark.name = f"{kind}: {100 * share:.0f} % of the bytes of float32"
    drop(paths)  # also where they stay warm: so all have been written
    read = benchmark.pedantic(
        epoch,
        args=(paths, kind, patch),
        setup=(lambda: drop(paths)) if temperature == "cold" else None,
        rounds=5,
        warmup_rounds=1,
    )
    assert read == epoch_of_arrays(arrays, epoch, patch)


def epoch_of_arrays(arrays: list[Array], epoch: Callable[..., float], patch: int) -> float:
    """Return what an epoch reads of the images in memory."""
    if epoch is whole:
        return sum(float(image[0, 0, 0, 0]) for image in arrays)
    chance, total = np.random.default_rng(0), 0.0
    for image in arrays:
        for _ in range(4):
            first = [int(chance.integers(side - patch + 1)) for side in image.shape[1:]]
            total += float(image[(0, *first)])
    return total
