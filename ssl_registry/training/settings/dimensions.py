"""Whether settings are of as many dimensions as the component that they are for."""

import math

from ssl_registry.component import Component
from ssl_registry.data.formats.limits import VARIABLE, most_voxels
from ssl_registry.data.preparing.sizes import Size, sides_of, written
from ssl_registry.errors import ConfigError
from ssl_registry.training.settings.components import entry_of
from ssl_registry.training.settings.data_settings import DataSettings


def check_sides(size: Size, asked: Component) -> None:
    """See that a size suits a component, and that such an image may be taken into memory.

    Raises:
        ConfigError: it has more or fewer sides than the component's images have axes, or too
            many voxels.
    """
    if not asked.spatial_dims:  # a joint's are known once it is made
        return
    voxels = math.prod(sides_of(size, asked.spatial_dims, f"the images of {entry_of(asked).name}"))
    if voxels > most_voxels():
        raise ConfigError(
            f"size={written(size)} makes images of {voxels:,} voxels, more than the "
            f"{most_voxels():,} that one may have: lower it, or set {VARIABLE} to a higher number"
        )


def check_slices(settings: DataSettings, asked: Component) -> None:
    """See that slices are asked for by what works in the plane.

    Raises:
        ConfigError: they are not.
    """
    if settings.across is not None and asked.spatial_dims == 3:
        raise ConfigError(
            f"slices={settings.slices}: {entry_of(asked).name} works in 3D and takes volumes "
            "whole: leave slices out, or choose a task for 2D (`ssl-registry list --dims 2`)"
        )


def check_dims(asked: Component, backbone: Component) -> None:
    """See that a task and a backbone work on images of as many dimensions.

    Raises:
        ConfigError: they do not.
    """
    known = asked.spatial_dims and backbone.spatial_dims  # a joint's are, once it is made
    if known and asked.spatial_dims != backbone.spatial_dims:
        raise ConfigError(
            f"{entry_of(asked).name} works in {asked.spatial_dims}D and "
            f"{entry_of(backbone).name} in {backbone.spatial_dims}D: choose a backbone for "
            f"{asked.spatial_dims}D (`ssl-registry list` shows them)"
        )
