"""`embed`: the features of images as a table, with pictures of them."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.sources.cases import Source
from ssl_registry.errors import ConfigError, DataError, RunError
from ssl_registry.experiments.embedding.projection import (
    LEAST_CASES,
    Projection,
    check_projection,
)
from ssl_registry.experiments.embedding.table_files import SUFFIXES, check_parquet, write_table
from ssl_registry.experiments.embedding.vectors import (
    POOLINGS,
    Level,
    Pooling,
    chosen_levels,
    embed_case,
)
from ssl_registry.progress import ProgressBar
from ssl_registry.training.ensemble import choose_prediction_device
from ssl_registry.training.files.channel_names import check_channels, learned_channels
from ssl_registry.training.files.encoder_file import load_encoder
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.files.image_recipe import ImageRecipe
from ssl_registry.training.preparation.cases import prepare, quiet_or_loud
from ssl_registry.training.preparation.checked_data import open_checked
from ssl_registry.training.probes.features import Array
from ssl_registry.training.settings.data_settings import DataSettings
from ssl_registry.training.settings.reading import read_settings


@dataclass(frozen=True)
class Embedding:
    """Features of images, one row a case.

    Attributes:
        names: of the cases.
        patients: of each; its own name where none is known.
        vectors: `[N, F]` float64.
        classes: of each, where the data have grades; else empty.
        cases: prepared.
        recipe: how.
    """

    names: tuple[str, ...]
    patients: tuple[str, ...]
    vectors: Array
    classes: tuple[str, ...]
    cases: tuple[Prepared, ...]
    recipe: ImageRecipe

    def nearest(self, name: str, count: int = 5) -> list[tuple[str, float]]:
        """Return the cases whose features are most like those of one, with their likeness.

        That is the cosine between the features, each standardised over all cases.

        Raises:
            ConfigError: there is no case of that name.
        """
        _check_known(name, self.names)
        spread = self.vectors.std(axis=0)
        standard = (self.vectors - self.vectors.mean(axis=0)) / np.where(spread > 0, spread, 1)
        lengths = np.linalg.norm(standard, axis=1)
        units = standard / np.where(lengths > 0, lengths, 1)[:, None]
        own = self.names.index(name)
        likeness = units @ units[own]
        order = [int(place) for place in np.argsort(-likeness, kind="stable") if place != own]
        return [(self.names[place], float(likeness[place])) for place in order[:count]]


def embed(
    encoder: str | Path,
    images: str | Path,
    out: str | Path | None = None,
    *,
    level: Level = "all",
    pooling: Pooling = "mean",
    figure: str | Path | None = None,
    projection: Projection = "auto",
    neighbours: str | None = None,
    neighbours_figure: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
    **data: Any,
) -> Embedding:
    """Return the features of images by a frozen encoder, one vector for each case.

        embed("runs/rpl", images="../scans", out="features.parquet", figure="features.png")

    Images are prepared as the encoder's were. One that learned from patches sees patches of that
    size, which overlap by half and are averaged; so are the slices of a volume.

    Args:
        encoder: folder of an encoder.
        images: what `data=` of a run may name.
        out: a new file: `.csv`, `.npz` or `.parquet`; None writes none.
        level: `"all"` levels one after the other, the `"coarsest"`, or one, where 1 is the finest.
        pooling: `"mean"` or `"max"` over the voxels of a level.
        figure: a new `.png` of all cases in two dimensions, coloured by class or patient.
        projection: by `"pca"` or `"umap"`; auto is UMAP where umap-learn is installed.
        neighbours: name of a case whose nearest others are to be shown.
        neighbours_figure: a new `.png` for them.
        device: `"auto"`, `"cpu"` or `"gpu"`.
        quiet: print nothing.
        **data: `group_column`, `group_pattern`, `layout`, `channels`, ... as in a run.

    Raises:
        SslRegistryError: there is no encoder, images cannot be used, a file exists, or a setting
            is unknown.
    """
    _check_files(out, figure, neighbours_figure)
    if pooling not in POOLINGS:
        raise ConfigError(f"pooling={pooling!r} is none of {', '.join(POOLINGS)}")
    if (neighbours is None) != (neighbours_figure is None):
        raise ConfigError("neighbours and neighbours_figure go together: say both, or neither")
    if figure is not None:
        check_projection(projection)
    summary = read_encoder_summary(encoder)
    settings = _data_settings(images, data, summary.read_as.model_dump())
    where, console = choose_prediction_device(device), quiet_or_loud(quiet)
    dims = 3 if summary.image_recipe.of_volumes else 2
    source, _ = open_checked(settings, dims, console)  # type: ignore[arg-type]
    learned = learned_channels(summary.data)
    for note in check_channels("the encoder", learned, source.name, source.channel_names):
        console.print(note)
    _check_cases([case.name for case in source.cases], figure, neighbours)
    recipe = summary.image_recipe
    prepared = prepare(
        source.cases, recipe.preprocessing, recipe.prepared_size, console, slices=recipe.slices
    )
    loaded = load_encoder(encoder, in_channels=prepared[0].channels).to(where)
    chosen_levels(loaded, level)
    vectors = []
    with ProgressBar(console) as bar:
        for count, case in enumerate(prepared, start=1):
            window = recipe.size if recipe.patches else None
            vectors.append(embed_case(loaded, case, level=level, pooling=pooling, window=window))
            bar.advance("embedding", count, len(prepared))
    found = _gather(source, prepared, np.stack(vectors), recipe)
    _write(found, out, figure, projection, neighbours, neighbours_figure)
    return found


def _check_files(
    out: str | Path | None, figure: str | Path | None, neighbours_figure: str | Path | None
) -> None:
    """See, before anything is computed, that all can be written that is asked for."""
    named = {"out": out, "figure": figure, "neighbours_figure": neighbours_figure}
    files = {what: Path(file).expanduser() for what, file in named.items() if file is not None}
    for what, file in files.items():
        if file.exists():
            raise ConfigError(f"{what}={file} exists: name another file, so that nothing is lost")
        if not file.absolute().parent.is_dir():
            raise RunError(f"{what}={file}: there is no folder {file.parent} to write to")
        suffixes = SUFFIXES if what == "out" else (".png",)
        if file.suffix not in suffixes:
            raise ConfigError(f"{what}={file}: name a file that ends in {', '.join(suffixes)}")
        if file.suffix == ".parquet":
            check_parquet()
    if len({file.absolute() for file in files.values()}) < len(files):
        raise ConfigError(f"{' and '.join(files)} name the same file: name one for each")


def _check_cases(names: Sequence[str], figure: str | Path | None, neighbours: str | None) -> None:
    """See, before anything is computed, that the figures can be drawn of these cases."""
    if figure is not None and len(names) < LEAST_CASES:
        raise DataError(f"a figure takes {LEAST_CASES} cases or more, and there are {len(names)}")
    if neighbours is not None:
        _check_known(neighbours, names)


def _check_known(name: str, names: Sequence[str]) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"they are {', '.join(names[:5])}, ..."
    raise ConfigError(f"there is no case {name!r}: {hint}")


def _data_settings(
    images: str | Path, said: dict[str, Any], read_as: dict[str, Any]
) -> DataSettings:
    """Return how the images are read: as is said, or as those were that the encoder saw."""
    before = {name: value for name, value in read_as.items() if name == "slices" and value}
    return read_settings(DataSettings, {**before, "data": str(images), **said}, "embed")


def _gather(
    source: Source, prepared: Sequence[Prepared], vectors: Array, recipe: ImageRecipe
) -> Embedding:
    cases = [one.case for one in prepared]
    if not np.isfinite(vectors).all():
        bad = [
            case.name
            for case, row in zip(cases, vectors, strict=True)
            if not np.isfinite(row).all()
        ]
        raise DataError(f"the features of {len(bad)} cases are not finite ({bad[0]}, ...)")
    classes: tuple[str, ...] = ()
    if source.graded:
        classes = tuple(
            "" if case.grade is None else source.labels.get(case.grade, str(case.grade))
            for case in cases
        )
    return Embedding(
        tuple(case.name for case in cases),
        tuple(source.group_of(case) for case in cases),
        vectors,
        classes,
        tuple(prepared),
        recipe,
    )


def _write(
    found: Embedding,
    out: str | Path | None,
    figure: str | Path | None,
    projection: Projection,
    neighbours: str | None,
    neighbours_figure: str | Path | None,
) -> None:
    if out is not None:
        write_table(
            Path(out).expanduser(), found.names, found.patients, found.vectors, found.classes
        )
    if figure is not None or neighbours_figure is not None:
        from ssl_registry.experiments.embedding import pictures
        from ssl_registry.experiments.figures.styles import save

        if figure is not None:
            save(pictures.draw_embedding(found, projection), Path(figure).expanduser())
        if neighbours is not None and neighbours_figure is not None:
            save(pictures.draw_neighbours(found, neighbours), Path(neighbours_figure).expanduser())
