"""What nnU-Net's plans say once for all stages, spelt out for each stage and axis."""

from collections.abc import Sequence
from typing import Any, Final

FEATURES: Final = 32
"""Channels of the finest stage where no plan says them; they double at each stage."""

MOST_FEATURES: Final = {2: 512, 3: 320}
"""Where they stop doubling, by dimensions."""


def stages_of(given: dict[str, Any]) -> Any:
    """Return how many stages the lists that are given have; 6 where there is none."""
    lists = ("features_per_stage", "strides", "kernel_sizes")
    lengths = [len(given[key]) for key in lists if isinstance(given.get(key), (list, tuple))]
    return lengths[0] if lengths else 6


def spelt_out(
    given: dict[str, Any], stages: int, dims: int, usual: dict[str, Any]
) -> dict[str, Any]:
    """Return all numbers as a list over the stages, and over the axes where they have them."""
    features = [min(FEATURES * 2**stage, MOST_FEATURES[dims]) for stage in range(stages)]
    several = {
        "features_per_stage": given.get("features_per_stage", features),
        **{key: given.get(key, value) for key, value in usual.items()},
    }
    made: dict[str, Any] = {}
    for key, value in several.items():
        count = stages - 1 if key == "n_conv_per_stage_decoder" else stages
        made[key] = [value] * count if isinstance(value, int) else value
    defaults = {"kernel_sizes": 3, "strides": [1] + [2] * (stages - 1)}
    for key, default in defaults.items():
        value = given.get(key, default)
        value = [value] * stages if isinstance(value, int) else value
        made[key] = (
            [along_each_axis(one, dims) for one in value] if isinstance(value, Sequence) else value
        )
    made["axes"] = given.get("axes", list(range(dims)))
    return made


def along_each_axis(value: Any, dims: int) -> Any:
    """Return a number of each axis."""
    return [value] * dims if isinstance(value, int) else value
