"""Masked autoencoding as a pretext task."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_registry import Encoder, PretextBatch, PretextTask, Question, QuestionModel, heads
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry_masked.cubes import cells_of, draw_hidden, normalise_cubes, spread
from ssl_registry_masked.sparse import VisibleAlone
from ssl_registry_masked.tokens import patch_embedding, projection_of, tokens_in_place

Width: TypeAlias = Annotated[int, Field(ge=1, le=512)]

SPREAD = 0.02
"""Standard deviation of learned tokens at the beginning."""


class _Masked(PretextTask):
    """What the plane and space have in common."""

    ratio: float = Field(0.6, gt=0, lt=1, description="share of the cubes that are hidden")
    cube: Width | tuple[Width, ...] = Field(
        8, description="side of a cube in voxels, or one for each axis"
    )
    fill: Literal["zero", "mean", "token"] = Field(
        "zero",
        description="what stands in hidden cubes: zero, the mean of what is visible, or what is "
        "learned: a token for each patch, where the network makes tokens of them, else a value",
    )
    normalise: bool = Field(
        False,
        description="normalise what is asked for in each cube to mean 0 and deviation 1, so that "
        "texture counts as much as brightness",
    )
    sparse: bool = Field(
        False,
        description="let convolutions and normalisations see only visible voxels (SparK); for "
        "convolutional encoders, with cubes of a multiple of the coarsest stride",
    )

    def judged_by(self) -> Literal["loss"]:
        """Return `loss`: an answer is as good as it is near."""
        return "loss"

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the image's shape.

        Raises:
            ImageShapeError: a cube is larger than the image, or there is only one.
        """
        cube = self._widths()
        shape = " x ".join(map(str, image_shape))
        if any(width > side for width, side in zip(cube, image_shape, strict=True)):
            raise ImageShapeError(
                f"cubes of {' x '.join(map(str, cube))} voxels are larger than images of {shape}: "
                "lower `cube` (it may be one number for each axis) or raise `size`"
            )
        if torch.Size(cells_of(image_shape, cube)).numel() == 1:
            raise ImageShapeError(
                f"an image of {shape} voxels is one cube, of which nothing else would tell: lower "
                "`cube` or raise `size`"
            )
        return image_shape

    def _widths(self) -> tuple[int, ...]:
        """Return the sides of a cube along each axis.

        Raises:
            ConfigError: there are more or fewer numbers than axes.
        """
        dims = self.spatial_dims
        if isinstance(self.cube, int):
            return (self.cube,) * dims
        if len(self.cube) != dims:
            raise ConfigError(
                f"cube={list(self.cube)}: images in {dims}D have {dims} axes; say one number, or "
                f"{dims}"
            )
        return self.cube

    def hidden_count(self, image_shape: tuple[int, ...]) -> int:
        """Return how many cubes of an image are hidden: at least one, and never all."""
        number = torch.Size(cells_of(image_shape, self._widths())).numel()
        return min(max(1, round(self.ratio * number)), number - 1)

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Hide cubes of each of `images`.

        Args:
            images: `[B, C, *S]`.
            generator: draws which.

        Returns:
            Views `[B, 1, C, *S]`. Target: `image` `[B, C, *S]`, and `hidden` `[B, 1, *S]` bool,
            which voxels are. Drawn: `hidden_cubes` `[B, *cells]` bool, on the images' device.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes, or the cubes do not fit.
        """
        self.check_images(images)
        shape, cube = self.view_shape(tuple(images.shape[2:])), self._widths()
        cells = draw_hidden(
            len(images), cells_of(shape, cube), self.hidden_count(shape), generator
        ).to(images.device)
        hidden = spread(cells, cube, shape)
        views = images.masked_fill(hidden, 0)
        if self.fill == "mean":
            axes = tuple(range(2, images.ndim))
            shown = (~hidden).sum(axes, keepdim=True)
            views = torch.where(hidden, views.sum(axes, keepdim=True) / shown, views)
        return PretextBatch(
            views[:, None], {"image": images, "hidden": hidden}, {"hidden_cubes": cells}
        )

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a decoder back to the channels of the image, `[B, 1, C, *S]`."""
        return heads.DenseHead(encoder, encoder.in_channels, self.spatial_dims)

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> "MaskedModel":
        """Return the model that learns this task.

        Raises:
            ConfigError: `sparse`, and the encoder attends to tokens, or is too coarse for the
                cubes; or tokens are learned, and a cube would hide a part of a patch.
            ImageShapeError: the cubes do not fit the images, or, with `sparse`, do not end where
                the images do.
        """
        return MaskedModel(self, encoder, image_shape)

    def loss(self, outputs: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Return the squared error, averaged over hidden voxels and channels.

        Args:
            outputs: `[B, 1, C, *S]`.
            target: as `make_batch` returns it.

        Raises:
            ImageShapeError: the decoder's grid is not that of the views.
        """
        wrong, _ = self._errors(outputs, target)
        return wrong

    def metrics(self, outputs: Tensor, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the share of the hidden voxels' variance that the answers explain.

        It is 1 for the image itself, and 0 for the mean of all that is hidden, which needs no look.
        """
        wrong, variance = self._errors(outputs, target)
        return {"explained": 1 - wrong / variance.clamp(min=1e-12)}

    def _errors(self, outputs: Tensor, target: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the mean squared error on hidden voxels, and the variance of what was there."""
        answers = outputs[:, 0].float()
        heads.check_dense(answers, target["image"].shape[2:])
        wanted = target["image"].float()
        if self.normalise:
            wanted = normalise_cubes(wanted, self._widths())
        hidden = target["hidden"]
        count = hidden.sum() * wanted.shape[1]
        error = ((answers - wanted).square() * hidden).sum() / count
        mean = (wanted * hidden).sum() / count
        return error, ((wanted - mean).square() * hidden).sum() / count

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return how many of the cubes are hidden."""
        cells = batch.drawn["hidden_cubes"][index]
        asked = (type(self).__doc__ or "").partition("?")[0]
        text = f"{asked}? Here: {int(cells.sum())} of {cells.numel()} are."
        return Question(text, ["masked image"])


class MaskedModel(QuestionModel):
    """Masked autoencoding: with `sparse` the encoder sees visible voxels alone.

    Attributes:
        token: `[C]`, what stands in hidden voxels, where it is learned; of a network that makes
            tokens of patches, `[D]`, what stands for hidden ones.
        tokens: `[C_l]` for each level: what the decoder finds in hidden places, with `sparse`.
    """

    task: _Masked

    def __init__(self, task: _Masked, encoder: Encoder, image_shape: tuple[int, ...]) -> None:
        super().__init__(task, encoder, image_shape)
        if task.sparse:
            _check_sparse(task, encoder, self.image_shape)
            levels = encoder.channels[: self.coarsest]
            self.tokens = nn.ParameterList(nn.Parameter(_draw_token(n)) for n in levels)
        elif task.fill == "token":
            self.token = nn.Parameter(_draw_token(_token_width(task, encoder)))

    def encode(self, batch: PretextBatch) -> list[Tensor]:
        """Return the levels `[B, 1, C_l, *S_l]` of masked views."""
        target: Any = batch.target
        if self.task.sparse:
            return self._encode_visible(batch)
        if self.task.fill == "token":
            if embedding := patch_embedding(self.encoder):
                cells, cube = batch.drawn["hidden_cubes"], self.task._widths()
                with tokens_in_place(embedding, self.token, cells, cube, self.image_shape):
                    return super().encode(batch)
            views = torch.where(
                target["hidden"], _channels(self.token, batch.views[:, 0]), batch.views[:, 0]
            )
            batch = batch._replace(views=views[:, None])
        return super().encode(batch)

    def _encode_visible(self, batch: PretextBatch) -> list[Tensor]:
        """Encode visible voxels alone, and put tokens into the hidden places of every level."""
        views = torch.where(batch.target["hidden"], 0, batch.views[:, 0])  # type: ignore[index,call-overload]
        visible = VisibleAlone(
            batch.drawn["hidden_cubes"], self.task.hidden_count(self.image_shape)
        )
        with visible:
            pyramid = super().encode(batch._replace(views=views[:, None]))
        filled = []
        for level, token in zip(pyramid, self.tokens, strict=False):
            mask = visible.mask_for(level.shape[3:])
            features = level[:, 0]
            filled.append(torch.where(mask, features, _channels(token, features))[:, None])
        return filled + pyramid[len(filled) :]


def _draw_token(channels: int) -> Tensor:
    return SPREAD * torch.randn(channels)


def _token_width(task: _Masked, encoder: Encoder) -> int:
    """Return how many numbers a token has: those of a patch's, or the image's channels.

    Raises:
        ConfigError: a cube would hide a part of a patch.
    """
    embedding = patch_embedding(encoder)
    if embedding is None:
        return encoder.in_channels
    cube, conv = task._widths(), projection_of(embedding)
    if any(width % side for width, side in zip(cube, conv.stride, strict=True)):
        raise ConfigError(
            f"fill=token: cubes of {list(cube)} voxels are no multiple of the patches of "
            f"{list(conv.stride)} that the network makes tokens of: set "
            f"task.cube={_least_multiple(cube, conv.stride)}, or task.fill=zero"
        )
    return conv.out_channels


def _channels(token: Tensor, features: Tensor) -> Tensor:
    """Return a token `[C]` so that it goes with features `[B, C, *S]`, in their dtype."""
    return token.to(features.dtype).view(1, -1, *[1] * (features.ndim - 2))


def _check_sparse(task: _Masked, encoder: Encoder, image_shape: tuple[int, ...]) -> None:
    cube, coarsest = task._widths(), encoder.strides[-1]
    if any(width % stride for width, stride in zip(cube, coarsest, strict=True)):
        raise ConfigError(
            f"sparse=true: cubes of {list(cube)} voxels are no multiple of the encoder's coarsest "
            f"stride, {list(coarsest)}, where a mask would cut through features: set "
            f"task.cube={_least_multiple(cube, coarsest)}, or use a backbone with fewer levels"
        )
    if any(side % width for side, width in zip(image_shape, cube, strict=True)):
        raise ImageShapeError(
            f"sparse=true: images of {list(image_shape)} voxels are no multiple of the cubes' "
            f"{list(cube)}: change `size`"
        )
    attending = {type(part).__name__ for part in encoder.modules()}
    if found := sorted(name for name in attending if name.endswith("Attention")):
        raise ConfigError(
            f"sparse=true is for convolutional encoders, and this one has {found[0]} layers: set "
            "task.sparse=false (with task.fill=token a learned token stands for hidden patches)"
        )


def _least_multiple(cube: tuple[int, ...], strides: tuple[int, ...]) -> int | list[int]:
    """Return sides of a cube that would do, as one number where they are equal."""
    sides = [-(-width // stride) * stride for width, stride in zip(cube, strides, strict=True)]
    return sides[0] if len(set(sides)) == 1 else sides


class Masked2d(_Masked):
    """What was in the hidden squares?

    Reference: He et al. 2022 (arXiv:2111.06377); with `sparse` Tian et al. 2023
    (arXiv:2301.03580).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    cube: Width | tuple[Width, ...] = Field(
        16, description="side of a square in pixels, or one for each axis"
    )


class Masked3d(_Masked):
    """What was in the hidden cubes?

    Reference: He et al. 2022 (arXiv:2111.06377), in space; with `sparse` Tian et al. 2023
    (arXiv:2301.03580).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3
