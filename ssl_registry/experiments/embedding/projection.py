"""Features in two dimensions: by principal components, or by UMAP."""

from importlib.util import find_spec
from typing import Final, Literal, TypeAlias, get_args

import numpy as np

from ssl_registry.errors import ConfigError, DataError
from ssl_registry.training.probes.features import Array

Projection: TypeAlias = Literal["auto", "pca", "umap"]

LEAST_CASES: Final = 3
"""Fewer have no place in two dimensions."""


def check_projection(projection: str) -> None:
    """See that vectors can be brought to two dimensions in that way.

    Raises:
        ConfigError: there is no such way, or umap-learn is not installed.
    """
    if projection not in get_args(Projection):
        raise ConfigError(f"projection={projection}: choose {', '.join(get_args(Projection))}")
    if projection == "umap" and find_spec("umap") is None:
        raise ConfigError(
            "projection=umap: pip install umap-learn brings it; or set projection=pca"
        )


def flatten_vectors(vectors: Array, projection: Projection) -> tuple[Array, str]:
    """Return vectors `[N, F]` in two dimensions, `[N, 2]`, and how that was done.

    Raises:
        ConfigError: UMAP is asked for, and umap-learn is not installed.
        DataError: there are fewer than three cases.
    """
    check_projection(projection)
    if len(vectors) < LEAST_CASES:
        raise DataError(f"a figure takes {LEAST_CASES} cases or more, and there are {len(vectors)}")
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

    standard = StandardScaler().fit_transform(vectors)
    if find_spec("umap") is not None and projection != "pca":
        from umap import UMAP  # type: ignore[import-not-found]

        neighbours = min(15, len(vectors) - 1)
        made = UMAP(n_components=2, n_neighbors=neighbours, random_state=0).fit_transform(standard)
        return np.asarray(made, dtype=np.float64), "UMAP"
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]

    model = PCA(2, svd_solver="full")
    made = model.fit_transform(standard)
    first, second = model.explained_variance_ratio_
    return made, f"principal components ({first:.0%} and {second:.0%} of the variance)"
