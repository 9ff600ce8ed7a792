"""Tables of features: CSV, NumPy's archives, Parquet."""

import csv
import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.errors import ConfigError, RunError
from ssl_registry.training.probes.features import Array

SUFFIXES: Final = (".csv", ".npz", ".parquet")


def write_table(
    path: Path,
    names: Sequence[str],
    patients: Sequence[str],
    vectors: Array,
    classes: Sequence[str] = (),
) -> None:
    """Write one row a case, whole or not at all.

    A `.csv` has the columns `case`, `patient`, `class` where there are classes, `f0`, `f1`, ...; a
    `.npz` the arrays `case`, `patient`, `class` and `vectors` `[N, F]`; a `.parquet` the columns
    `case`, `patient`, `class` and `vector`, a list of float32.

    Raises:
        ConfigError: a library is missing.
        RunError: it cannot be written.
    """
    columns: dict[str, Sequence[str]] = {"case": names, "patient": patients}
    if classes:
        columns["class"] = classes
    write = {".csv": _as_csv, ".npz": _as_archive, ".parquet": _as_parquet}[path.suffix]
    content = write(columns, vectors)
    try:
        write_whole(path, lambda beside: beside.write_bytes(content))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def _as_csv(columns: dict[str, Sequence[str]], vectors: Array) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*columns, *(f"f{place}" for place in range(vectors.shape[1]))])
    for *words, row in zip(*columns.values(), vectors, strict=True):
        table.writerow([*words, *(f"{value:.9g}" for value in row)])
    return text.getvalue().encode()


def _as_archive(columns: dict[str, Sequence[str]], vectors: Array) -> bytes:
    buffer = io.BytesIO()
    named: dict[str, Any] = {name: np.array(values, dtype=str) for name, values in columns.items()}
    np.savez_compressed(buffer, allow_pickle=False, **named, vectors=vectors)
    return buffer.getvalue()


def check_parquet() -> None:
    """See that Parquet can be written.

    Raises:
        ConfigError: its library is missing.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError(
            'Parquet takes pyarrow: pip install "ssl-registry[parquet]" brings it; or write '
            ".csv or .npz"
        )


def _as_parquet(columns: dict[str, Sequence[str]], vectors: Array) -> bytes:
    check_parquet()
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    rows = pyarrow.array(vectors.astype(np.float32).tolist(), pyarrow.list_(pyarrow.float32()))
    texts = {name: pyarrow.array(values, pyarrow.string()) for name, values in columns.items()}
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({**texts, "vector": rows}), buffer)
    return buffer.getvalue()
