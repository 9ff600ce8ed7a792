"""What a preview asks, where it marks the tiles, and how it lays them out."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from matplotlib.image import imread
from torch import Tensor, nn

from ssl_registry import Encoder, PretextBatch, PretextTask, registry
from ssl_registry.errors import DataError, ImageShapeError
from ssl_registry.experiments import preview
from ssl_registry.experiments.figures.preview import draw_preview, lay_out_rows
from ssl_registry.experiments.planes import PLANES, Box, cut_plane, lay_out_mosaic, split_stacked
from ssl_registry.experiments.preview import Asked, ShownImage, ask, show_image
from tests.dense import Inverted3d
from tests.volumes import noise, write_series

TASKS = [entry.name for entry in registry.entries(kind="pretext") if entry.dims]
TILED = [name for name in TASKS if name.startswith(("rpl", "jigsaw"))]


def task_named(name: str, **fields: object) -> PretextTask:
    task = registry.create(name, **fields)
    assert isinstance(task, PretextTask)
    return task


def coordinates(side: int, dims: int) -> Tensor:
    """An image `[dims, *S]` whose voxels hold their own place."""
    axis = torch.arange(float(side))
    return torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fusion", ["late", "early"])
@pytest.mark.parametrize("name", TILED)
def test_a_box_encloses_exactly_the_voxels_of_its_tile(name: str, fusion: str, seed: int) -> None:
    task = task_named(name, fusion=fusion)
    asked = ask(task, coordinates(32, task.spatial_dims), seed)[0]
    assert len(asked.boxes) == len(asked.tiles) == len(asked.titles)
    for box, tile in zip(asked.boxes, asked.tiles, strict=True):
        for plane in PLANES[task.spatial_dims]:
            left, bottom, width, height = box.outline(plane)
            across = [i for i in range(32) if left < i < left + width]
            up = [i for i in range(32) if bottom < i < bottom + height]
            assert tile[plane.across].unique().tolist() == across
            assert tile[plane.up].unique().tolist() == up
            if plane.through is not None:
                inside = tile[plane.through].unique().tolist()
                assert [i for i in range(32) if box.cut_by(plane, i)] == inside
                assert box.middle(plane.through) in inside


@pytest.mark.parametrize("name", TILED)
def test_both_fusions_show_the_same_tiles(name: str) -> None:
    image = torch.rand(3, *[32] * task_named(name).spatial_dims)
    late, early = (
        ask(task_named(name, fusion=fusion), image, 5)[0] for fusion in ("late", "early")
    )
    assert torch.equal(late.tiles, early.tiles)
    assert late.boxes == early.boxes
    assert late.order == early.order


def test_several_questions_about_stacked_pairs_show_the_centre_once() -> None:
    image = torch.rand(1, 32, 32)
    late, early = (
        ask(task_named("rpl2d", questions=8, fusion=fusion), image, 1)[0]
        for fusion in ("late", "early")
    )
    assert len(early.tiles) == 9
    assert torch.equal(late.tiles, early.tiles)
    assert early.titles == late.titles == early.names


@pytest.mark.parametrize("name", [name for name in TILED if name.startswith("jigsaw")])
def test_shuffled_tiles_say_which_cell_they_came_from(name: str) -> None:
    dims = task_named(name).spatial_dims
    asked = ask(task_named(name), coordinates(32, dims), 0)[0]
    assert asked.order is not None
    for cell, box in zip(asked.order, asked.boxes, strict=True):
        row = torch.tensor([side // 10 for side in (first + 2 for first in box.first)])
        assert int((row * torch.tensor([3**power for power in range(dims)][::-1])).sum()) == cell


@pytest.mark.parametrize(("channels", "parts"), [(1, 2), (3, 9), (2, 1)])
def test_stacked_channels_are_taken_apart_in_order(channels: int, parts: int) -> None:
    tiles = torch.rand(2 * parts, channels, 4, 5)
    stacked = torch.stack([torch.cat(list(view)) for view in tiles.unflatten(0, (2, parts))])
    assert torch.equal(split_stacked(stacked, parts), tiles)


def test_channels_that_are_no_whole_tiles_are_refused() -> None:
    with pytest.raises(ValueError, match="3 channels are not 2 tiles"):
        split_stacked(torch.rand(1, 3, 4, 4), 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_cut_runs_along_the_axes_that_it_names(dims: int) -> None:
    for plane in PLANES[dims]:
        for axis, place in ((plane.up, 0), (plane.across, 1)):
            pixels = cut_plane(coordinates(5, dims)[axis : axis + 1], plane)
            assert np.array_equal(pixels, np.indices((5, 5))[place])
        if plane.through is not None:
            assert (cut_plane(coordinates(5, dims)[plane.through][None], plane, 3) == 3).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_tiles_put_back_into_place_give_the_image(dims: int) -> None:
    image = torch.rand(1, *[9] * dims)
    cells = image
    for axis in range(dims):
        cells = cells.unfold(axis + 1, 3, 3)
    tiles = cells.flatten(1, dims).transpose(0, 1)
    order = torch.randperm(3**dims).tolist()
    mosaics = lay_out_mosaic(tiles[order], order, order, (3,) * dims)
    assert len(mosaics) == {2: 1, 3: 3}[dims]
    assert sorted(number for mosaic in mosaics for number in mosaic.numbers) == list(range(3**dims))
    keep = [0, 1, 2, 4, 5, 6, 8, 9, 10]  # what is not a gap
    for layer, mosaic in enumerate(mosaics):
        whole = image if dims == 2 else image[:, :, 3 * layer + 1].transpose(1, 2)
        assert torch.equal(mosaic.image[:, keep][:, :, keep], whole)
        gaps = mosaic.image[:, [3, 7]]
        assert gaps.isnan().all()
        for number, box in zip(mosaic.numbers, mosaic.boxes, strict=True):
            (top, left), (height, width) = box.first, box.shape
            inside = mosaic.image[:, top : top + height, left : left + width]
            plain = tiles[number] if dims == 2 else tiles[number][:, :, 1].transpose(1, 2)
            assert torch.equal(inside, plain)


@pytest.mark.parametrize("name", TASKS)
def test_equal_seeds_ask_the_same(name: str) -> None:
    task = task_named(name)
    image = torch.rand(1, *[32] * task.spatial_dims)
    first, second, other = (ask(task, image, seed) for seed in (4, 4, 5))
    assert [one.text for one in first] == [one.text for one in second]
    assert all(torch.equal(a.tiles, b.tiles) for a, b in zip(first, second, strict=True))
    shown = [[one.tiles for one in some] for some in (first, other)]
    assert not all(torch.equal(a, b) for a, b in zip(*shown, strict=False))


@pytest.mark.parametrize("name", TASKS)
def test_a_symmetric_image_can_be_asked_about_too(name: str) -> None:
    task = task_named(name, **({"memory": 0} if name.startswith("exemplar") else {}))
    image = torch.zeros(1, *[24] * task.spatial_dims)
    image[(slice(None), *[slice(8, 16)] * task.spatial_dims)] = 1
    assert ask(task, image, 0)


def test_a_task_of_one_view_gives_several_examples_with_different_answers() -> None:
    texts = [one.text for one in ask(task_named("rotation3d"), torch.rand(1, 8, 8, 8), 0)]
    assert len(set(texts)) == len(texts) == 3


class Blur2d(PretextTask):
    """What was there before the middle was hidden?"""

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    views: int = 1

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        hidden = images.clone()
        hidden[..., 4:8, 4:8] = 0
        # Keys of other shapes than the conventions have are nobody's business.
        count = len(images)
        drawn = {"corners": torch.full((count, 2), 4), "permutation": torch.zeros(count)}
        return PretextBatch(hidden.unsqueeze(1).repeat_interleave(self.views, 1), images, drawn)

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        return nn.Identity()

    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        return outputs.mean()


@pytest.mark.parametrize(("views", "channels"), [(1, 3), (2, 2), (5, 1), (60, 1)])
def test_a_strangers_task_that_reconstructs_is_drawn(
    tmp_path: Path, views: int, channels: int
) -> None:
    image = torch.rand(channels, 16, 16)
    asked = ask(Blur2d(views=views), image, 0)
    assert asked[0].text == "What was there before the middle was hidden?"
    assert asked[0].answer is not None
    assert torch.equal(asked[0].answer, image)
    assert asked[0].boxes == []
    draw_preview(
        tmp_path / "new" / "figure.png", ShownImage(image, "noise"), {"": asked}, "caption"
    )
    assert_a_figure(tmp_path / "new" / "figure.png")


def assert_a_figure(path: Path) -> None:
    height, width = imread(path).shape[:2]
    assert 300 < height < 4000
    assert 700 < width < 2000
    assert imread(path)[..., :3].std() > 0.05


def write_volume(path: Path, shape: Sequence[int]) -> Path:
    voxels = np.random.default_rng(0).random(shape, dtype=np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path


def test_a_slice_of_a_volume_lies_as_radiologists_see_it(tmp_path: Path) -> None:
    """The patient's right at the left, the front at the top."""
    x, y, _ = np.indices((24, 24, 24), dtype=np.float32)
    nib.save(nib.Nifti1Image(100 + 2 * x + y, np.eye(4)), tmp_path / "scan.nii")
    (picture,) = show_image(tmp_path / "scan.nii", 2, 16).image
    assert (picture[4:12, 4:11] > picture[4:12, 5:12]).all()
    assert (picture[4:11, 4:12] > picture[5:12, 4:12]).all()
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])  # the same patient, stored from right to left
    nib.save(nib.Nifti1Image((100 + 2 * x + y)[::-1], turned), tmp_path / "turned.nii")
    assert torch.allclose(show_image(tmp_path / "turned.nii", 2, 16).image[0], picture, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_volume_of_several_channels_is_shown(tmp_path: Path, dims: int) -> None:
    shown = show_image(write_volume(tmp_path / "a.nii", (20, 22, 24, 2)), dims, 16)
    assert shown.image.shape == (2, *[16] * dims)
    assert "a.nii" in shown.source
    assert ("axial slice" in shown.source) == (dims == 2)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("size", [8, 40])
def test_a_phantom_has_the_size_asked_for(dims: int, size: int) -> None:
    image = show_image(None, dims, size).image
    assert image.shape == (1, *[size] * dims)
    assert image.min() == 0
    assert image.max() == 1


def test_a_slice_larger_than_volumes_are_prepared_is_enlarged(tmp_path: Path) -> None:
    assert show_image(write_volume(tmp_path / "a.nii", (9, 9, 9)), 2, 200).image.shape[1] == 200


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ""])
def test_a_volume_of_any_format_is_shown(suffix: str, tmp_path: Path) -> None:
    path, voxels = tmp_path / f"scan{suffix}", noise(12, 10, 9)
    if suffix:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), path)
    else:
        write_series(path, voxels)
    shown = show_image(path, 3, 16)
    assert shown.image.shape == (1, 16, 16, 16)
    assert shown.source == f"scan{suffix}"


def test_a_folder_that_is_no_scan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file, nor a folder of DICOM slices"):
        show_image(tmp_path, 3, 16)


def test_a_file_of_no_known_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").write_bytes(b"DICM")
    with pytest.raises(DataError, match=r"scan\.dcm is neither a volume"):
        show_image(tmp_path / "scan.dcm", 3, 16)


def test_the_tasks_own_word_on_the_shape_comes_through() -> None:
    with pytest.raises(ImageShapeError, match="raise `size`"):
        ask(task_named("rpl3d"), torch.rand(1, 12, 12, 12), 0)


def test_an_outline_covers_half_a_voxel_on_either_side() -> None:
    box = Box((2, 3, 4), (5, 6, 7))
    assert box.outline(PLANES[3][0]) == (1.5, 2.5, 5.0, 6.0)
    assert box.outline(PLANES[2][0]) == (2.5, 1.5, 6.0, 5.0)
    assert math.prod(box.shape) == 210


@pytest.mark.parametrize("fields", [{}, {"fusion": "early"}, {"questions": 8}])
def test_the_centre_and_the_query_are_named(fields: dict[str, object]) -> None:
    asked: Asked = ask(task_named("rpl2d", **fields), torch.rand(3, 24, 24), 0)[0]
    assert asked.centred
    assert asked.names[0] == "centre tile"
    assert asked.names[1].startswith("query tile")


@pytest.mark.parametrize("fusion", ["late", "early"])
@pytest.mark.parametrize("name", ["rpl2d", "rpl3d"])
def test_every_place_asked_for_is_marked_and_named_in_every_plane(name: str, fusion: str) -> None:
    task = task_named(name, fusion=fusion, questions=3)
    image = torch.rand(1, *[32] * task.spatial_dims)
    asked = ask(task, image, 0)
    whole, *_ = lay_out_rows(ShownImage(image, "noise"), asked, [""])
    panels = [panel for panel in whole.panels if panel.ruled]
    assert len(panels) == len(PLANES[task.spatial_dims])
    for panel in panels:
        assert [outline.label for outline in panel.outlines] == ["centre", "1", "2", "3"]


def test_the_image_within_a_tree_of_targets_is_the_answer() -> None:
    image = torch.rand(1, 16, 16, 16)
    (asked,) = ask(Inverted3d(), image, 0)
    assert asked.answer is not None
    assert torch.equal(asked.answer, 1 - image)


def test_a_map_of_classes_is_shown_in_grey_as_the_right_answer() -> None:
    images = torch.rand(2, 3, 4, 4)
    classes = torch.tensor([[0, 1, 2, 4]] * 4).expand(2, 4, 4)
    shown = preview._pictured({"map": classes}, images)
    assert shown is not None
    assert shown.shape == (2, 1, 4, 4)
    assert shown[0, 0, 0].tolist() == [0, 0.25, 0.5, 1]
    assert preview._pictured(torch.tensor([1, 0]), images) is None
    assert preview._pictured((classes, images), images) is images


def test_tiles_of_few_thick_slices_are_laid_out_in_their_plane() -> None:
    image = torch.rand(1, 6, 9, 4)
    tiles = image.unfold(1, 3, 3).unfold(2, 3, 3).permute(1, 2, 0, 4, 5, 3).flatten(0, 1)
    order = torch.randperm(6).tolist()
    (mosaic,) = lay_out_mosaic(tiles[order], order, order, (2, 3, 1))
    columns, rows = [0, 1, 2, 4, 5, 6], [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert torch.equal(mosaic.image[:, rows][:, :, columns], image[..., 2].transpose(1, 2))
