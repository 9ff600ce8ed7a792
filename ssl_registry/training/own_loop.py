"""For a training loop of one's own: prepared images in, an encoder's files out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, overload

from pydantic import Field, model_validator
from torch import Tensor, nn

from ssl_registry.backbone import Backbone, Encoder, read_backbone, whole_encoder
from ssl_registry.data.cache.prepared import Prepared, SeenImage, VolumeSlice, seen_images
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sizes import Size, sides_of
from ssl_registry.data.sources.cases import Source
from ssl_registry.errors import ConfigError, DataError
from ssl_registry.pretext import PretextTask
from ssl_registry.pretext_model import CaseInfo, decoder_fault
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.files.encoder_file import write_encoder
from ssl_registry.training.files.encoder_summary import ReadAs
from ssl_registry.training.files.exported_provenance import has_weights_of, read_provenance
from ssl_registry.training.files.provenance import versions_of
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.seen_cases import provenance, seen_of
from ssl_registry.training.preparation.case_infos import case_infos, info_of
from ssl_registry.training.preparation.cases import open_split, prepare, quiet_or_loud
from ssl_registry.training.settings.data_settings import SplitSettings
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import DEFAULT_SIZES
from ssl_registry.training.settings.size_setting import SizeSetting
from ssl_registry.training.settings.stored import CONFIG

ImagesPart: TypeAlias = Literal["train", "validation", "test", "all"]
"""Which images of a data set are opened: one part of its split, or all of it."""


class ImageSettings(SplitSettings):
    """Which images are opened, and how they are prepared: the data settings of a run."""

    part: ImagesPart = Field("train", description="which part of the split, or all")
    dims: Literal[2, 3] | None = Field(
        None,
        description="of the images: 2 for pictures and slices, 3 for volumes; what the data are, "
        "where nothing is said",
    )
    size: SizeSetting | None = Field(
        None,
        description="side of the prepared image, or its sides along each axis; its own where "
        "nothing is said",
    )
    preprocessing: Preprocessing = Field(Preprocessing(), description="how images are prepared")

    @model_validator(mode="after")
    def _slices_lie_in_the_plane(self) -> Self:
        if self.across is not None and self.dims == 3:
            raise ConfigError(f"slices={self.slices} are images of 2 dimensions: leave dims=3 out")
        return self


class OpenedImages(Sequence[Tensor]):
    """Prepared images of a data set, read from the cache one at a time.

    `images[i]` is the image `[C, *S]` float32, `images.cases[i]` what is known of it. A
    `torch.utils.data.DataLoader` takes it as its data set. Of volumes that are seen by their
    slices each slice, `[C, H, W]`, is an image.

    Attributes:
        cases: name, group, spacing and place of each image.
        settings: by which they were opened.
        source: where they come from.
    """

    def __init__(self, seen: Sequence[SeenImage], source: Source, settings: ImageSettings) -> None:
        self.seen = list(seen)
        self.source, self.settings = source, settings
        infos = case_infos(self.prepared, source)
        self.cases: Sequence[CaseInfo] = [info_of(one, infos) for one in self.seen]

    @property
    def prepared(self) -> list[Prepared]:
        """The prepared cases that the images are, or are slices of, each once."""
        whole = (one.volume if isinstance(one, VolumeSlice) else one for one in self.seen)
        return list({id(one): one for one in whole}.values())

    def __len__(self) -> int:
        return len(self.seen)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> "OpenedImages": ...

    def __getitem__(self, index: int | slice) -> "Tensor | OpenedImages":
        if isinstance(index, slice):
            return OpenedImages(self.seen[index], self.source, self.settings)
        return self.seen[index].image()

    def __iter__(self) -> Iterator[Tensor]:
        return (one.image() for one in self.seen)

    def label(self, index: int) -> Tensor:
        """Return the classes of an image, int64: `[*S]`, or `[]` where it has one as a whole.

        Class k of a label map is the k-th smallest of the values that the data set's maps hold.

        Raises:
            DataError: it has none.
        """
        case = self.seen[index]
        if not case.case.labelled:
            raise DataError(f"{case.case.name} of {self.source.name} has no label")
        return case.label()

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.seen[0].channels


def open_images(
    data: str | Path = "phantoms", *, quiet: bool = True, **settings: Any
) -> OpenedImages:
    """Open images as a run would: checked, divided, prepared, kept in the cache.

        images = open_images(data="../scans", size=[96, 96, 16])
        images[0]  # [C, 96, 96, 16]

    Args:
        data: what `data=` of a run may name.
        quiet: print nothing.
        **settings: `part` (`train`, `validation`, `test` or `all`), `size`, `preprocessing`,
            `dims`, `workers`, and every data setting of a run by its name: `test_fraction`,
            `split`, `group_pattern`, `layout`, `slices`, ...

    Raises:
        ConfigError: a setting is unknown or out of bounds.
        DataError: the data cannot be used, or the part holds no image.
    """
    chosen = read_settings(ImageSettings, {"data": data, **settings}, "open_images")
    console = quiet_or_loud(quiet)
    source, split = open_split(chosen, chosen.dims, console)
    if chosen.size is not None:
        sides_of(chosen.size, 2 if chosen.across else source.dims)
    cases = source.cases if chosen.part == "all" else getattr(split, chosen.part)
    if not cases:
        raise DataError(
            f"data={data}: part={chosen.part} holds no image; `ssl-registry split` shows the parts"
        )
    prepared = prepare(
        cases, chosen.preprocessing, chosen.size, console, chosen.workers, slices=chosen.across
    )
    return OpenedImages(seen_images(prepared), source, chosen)


def save_encoder(
    folder: str | Path,
    encoder: Encoder,
    *,
    backbone: Backbone | str | Mapping[str, Any],
    images: OpenedImages | None,
    task: PretextTask | None = None,
    decoder: nn.Module | None = None,
    size: Size | None = None,
    preprocessing: Preprocessing | None = None,
    started_from: str | Path | None = None,
) -> Path:
    """Write an encoder from a loop of one's own so that `finetune` and `efficiency` take it.

        save_encoder("runs/mine", model.encoder, backbone="unet3d", images=images)

    Args:
        folder: takes `encoder.safetensors` and `encoder.json`.
        encoder: that the backbone has built; on any device.
        backbone: its structure: a component, a name, or a mapping with a name.
        images: what it learned from, so that it is never scored on them. None for images that were
            not opened by `open_images`: then fine-tuning asks the user of the encoder to vouch
            for it, with `assume_unseen=true`.
        task: what it learned, where that is a component.
        decoder: trained beside it, kept in `decoder.safetensors`.
        size: side in voxels, or sides along each axis, of the images or patches it learned from;
            those of `images` where nothing is said.
        preprocessing: how they were prepared; as `images` were where nothing is said.
        started_from: folder of the encoder, or file that `export_encoder` wrote, whose weights the
            training began with: what that has seen, this one has seen as well. Without `images`
            nothing is unknown of an encoder that has its weights still.

    Returns:
        The folder.

    Raises:
        ConfigError: the encoder is not what the backbone builds, the decoder is none that can be
            kept, or the folder is a run's.
        EncoderFileError: `started_from` does not say what it has seen.
        RunError: the files cannot be written.
    """
    path = Path(folder).expanduser()
    if (path / CONFIG).exists():
        raise ConfigError(
            f"{path} is the folder of a run, which writes its own encoder: name another"
        )
    structure = read_backbone(backbone)
    whole = whole_encoder(encoder)
    _check_built_by(whole, structure)
    _check_decoder(decoder, whole)
    opened = images.settings if images is not None else None
    learned_at = size or (opened.size if opened else None) or DEFAULT_SIZES[structure.spatial_dims]
    sides_of(learned_at, structure.spatial_dims)
    run = RunFolder(path)
    parts = [structure, *([task] if task is not None else [])]
    write_encoder(
        run.path,
        whole,
        backbone=structure,
        task=None if task is None else registry.spec_of(task),
        preprocessing=preprocessing or (opened.preprocessing if opened else Preprocessing()),
        size=learned_at,
        read_as=ReadAs.of(opened) if opened else None,
        data=_provenance(
            images, whole, structure, None if started_from is None else Path(started_from)
        ),
        versions=versions_of(*parts),
        decoder=decoder,
    )
    return path


def _check_built_by(encoder: object, backbone: Backbone) -> None:
    """See that an encoder has the weights that its backbone builds, by name and shape."""
    if not isinstance(encoder, Encoder):
        raise ConfigError(
            f"a {type(encoder).__name__} is not an Encoder: save what backbone.build(...) "
            "returned, not the model around it"
        )
    with lend_to_torch(derive_generator(0, "save")):
        fresh = backbone.build(encoder.in_channels).state_dict()
    own = encoder.state_dict()
    odd = sorted(
        {*own.keys() ^ fresh.keys()}
        | {name for name in own.keys() & fresh.keys() if own[name].shape != fresh[name].shape}
    )
    if odd:
        raise ConfigError(
            f"the encoder is not what {registry.spec_of(backbone)} builds: {len(odd)} weights "
            f"differ in name or shape, {odd[0]} among them; name the backbone that built it, with "
            "its fields"
        )


def _check_decoder(decoder: object, encoder: Encoder) -> None:
    """See that a decoder can be kept beside an encoder."""
    if decoder is None:
        return
    if not isinstance(decoder, nn.Module):
        raise ConfigError(
            f"decoder: a {type(decoder).__name__} is not an nn.Module: save the module that was "
            "trained beside the encoder"
        )
    if fault := decoder_fault(decoder, [encoder]):
        raise ConfigError(f"decoder: {type(decoder).__name__} cannot be kept, for {fault}")


def _provenance(
    images: OpenedImages | None, encoder: Encoder, backbone: Backbone, started_from: Path | None
) -> dict[str, Any]:
    """Return what the encoder has seen, and what that has which the training started from."""
    before = None if started_from is None else read_provenance(started_from)
    if images is None:
        if before is None or started_from is None:
            return {"name": "images that nobody named"}
        known = has_weights_of(started_from, encoder, backbone) and seen_of(before).complete
        return {**before, "complete": known}
    learned = {one.case.name for one in images.prepared}
    others = [case for case in images.source.cases if case.name not in learned]
    return provenance(
        images.source.name,
        images.prepared,
        held_out=others,
        before=before,
        channels=images.source.channel_names,
    )
