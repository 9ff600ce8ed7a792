"""Files of nnssl: how images are prepared for its weights, and checkpoints that its fork reads.

nnssl (https://github.com/MIC-DKFZ/nnssl) pretrains networks of nnU-Net. Beside the weights its
files hold an adaptation plan, by which its fork of nnU-Net finds encoder and stem in them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ssl_registry import LibraryWeights
from ssl_registry_nnunet.checkpoint import STRUCTURE, WEIGHTS

if TYPE_CHECKING:
    from ssl_registry_nnunet.backbones import NnunetBackbone

ADAPTATION: Final = "nnssl_adaptation_plan"
"""Under which nnssl says what it pretrained, and how."""

ARCHITECTURE: Final = "ResEncL"
"""What nnssl calls the residual network with the numbers of the L preset."""

ZSCORE: Final = "ZScoreNormalization"
CT: Final = "CTNormalization"
SCALED: Final = "RescaleTo01Normalization"

CONFIGURATION: Final = "pretrained"
"""What the one configuration of an exported plan is called."""

PRESET: Final[Mapping[str, tuple[int, ...]]] = {
    "features_per_stage": (32, 64, 128, 256, 320, 320),
    "n_blocks_per_stage": (1, 3, 4, 6, 6, 6),
}
"""By which ResEnc-L is known among the residual networks, beside kernels of 3 and strides of 2."""


def images_of(
    configuration: Mapping[str, Any], intensities: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return how a configuration of nnU-Net's or nnssl's prepares images, as our preprocessing.

    Of normalisations that differ between channels, or that have no like here, nothing is said.

    Args:
        configuration: with `spacing` and `normalization_schemes`.
        intensities: nnU-Net's `foreground_intensity_properties_per_channel`, for CT.
    """
    spacing, schemes = configuration.get("spacing"), configuration.get("normalization_schemes")
    images: dict[str, Any] = {}
    if _three(spacing):
        images["spacing"] = list(reversed(spacing))  # type: ignore[arg-type]
    known = set(schemes) if isinstance(schemes, (list, tuple)) else set()
    if known == {ZSCORE}:
        images["intensities"] = "zscore"
    elif known == {CT} and intensities:
        images |= _of_ct(intensities)
    return images


def _of_ct(intensities: Mapping[str, Any]) -> dict[str, Any]:
    """Return nnU-Net's normalisation of CT: clip to percentiles, subtract a mean, and divide."""
    said = intensities.get("0", intensities.get(0))
    keys = ("percentile_00_5", "percentile_99_5", "mean", "std")
    if not isinstance(said, Mapping) or not all(isinstance(said.get(k), float) for k in keys):
        return {}
    low, high, mean, deviation = (float(said[key]) for key in keys)
    if low >= high or deviation <= 0:
        return {}
    width = high - low
    return {
        "window": (low, high),
        "mean": ((mean - low) / width,),
        "deviation": (deviation / width,),
    }


def _three(values: object) -> bool:
    return (
        isinstance(values, (list, tuple))
        and len(values) == 3
        and all(isinstance(value, (int, float)) and value > 0 for value in values)
    )


def _adaptation_plan(structure: "NnunetBackbone", in_channels: int, recipe: Any) -> dict[str, Any]:
    """Return how the encoder is built, and where its weights lie, as nnssl writes it."""
    numbers = structure.model_dump(mode="json", exclude={"plans", "configuration", "axes"})
    preset = is_resenc_l(structure)
    size, spacing, scheme = _of_recipe(recipe)
    return {
        "architecture_plans": {
            "arch_class_name": ARCHITECTURE if preset else "ResidualEncoderUNet",
            "arch_kwargs": None if preset else numbers,
        },
        "pretrain_plan": _pretrain_plan(size, spacing, [scheme] * in_channels),
        "pretrain_num_input_channels": in_channels,
        "recommended_downstream_patchsize": size,
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
    }


def _pretrain_plan(size: Any, spacing: Any, schemes: list[Any]) -> dict[str, Any]:
    """Return how the images were prepared, as nnssl writes it."""
    return {
        "dataset_name": "pretrained with ssl-registry",
        "plans_name": "ssl-registry",
        "original_median_spacing_after_transp": spacing,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ssl-registry",
        "configurations": {
            CONFIGURATION: {
                "spacing": spacing,
                "normalization_schemes": schemes,
                "patch_size": size,
            }
        },
    }


def nnssl_checkpoint(
    structure: "NnunetBackbone", weights: LibraryWeights, in_channels: int, recipe: Any
) -> LibraryWeights:
    """Return weights as a checkpoint with the adaptation plan that nnssl's files have.

    Args:
        structure: of the encoder.
        weights: of the whole network.
        in_channels: of the images.
        recipe: how these are prepared, as `load_encoder` keeps it; None where that is unknown.
    """
    own = structure.model_dump(mode="json", exclude={"plans", "configuration"})
    content = {
        WEIGHTS: dict(weights.state),
        ADAPTATION: _adaptation_plan(structure, in_channels, recipe),
        "trainer_name": "ssl-registry",
        "init_args": {},
        STRUCTURE: own,
    }
    return weights._replace(
        library="nnssl",
        content=content,
        loading="the adaptation plan is in {file}, for nnssl's fork",
    )


def is_resenc_l(structure: "NnunetBackbone") -> bool:
    """Whether a network has the numbers of ResEnc-L."""
    steps = [{1}, *[{2}] * 5]
    return (
        all(getattr(structure, name, None) == numbers for name, numbers in PRESET.items())
        and all(set(widths) == {3} for widths in structure.kernel_sizes)
        and [set(along) for along in structure.strides] == steps
    )


def _of_recipe(recipe: Any) -> tuple[list[int], list[float], str]:
    """Return patch size, spacing and normalisation in nnU-Net's order (z, y, x) and words."""
    size: Any = getattr(recipe, "size", 160)
    sides: Sequence[int] = (size,) * 3 if isinstance(size, int) else size
    how = getattr(recipe, "preprocessing", None)
    spacing = getattr(how, "spacing", None) or 1.0
    voxels = (spacing,) * 3 if isinstance(spacing, float | int) else spacing
    zscore = getattr(how, "intensities", "range") == "zscore"
    return list(reversed(sides)), [float(v) for v in reversed(voxels)], ZSCORE if zscore else SCALED
