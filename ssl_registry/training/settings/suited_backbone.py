"""A network that suits the shape of the images, made explicit in the settings."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssl_registry.component import Component
from ssl_registry.data.preparing.sizes import Size, sides_of

if TYPE_CHECKING:
    from ssl_registry.backbone import Backbone


def suit_backbone(
    backbone: "Backbone", size: Size | None, preprocessing: Any, patches: int | None, dims: int
) -> "Backbone":
    """Return a network whose fields say what it leaves to the images' shape.

    Args:
        backbone: as the settings say it.
        size: of the images or patches.
        preprocessing: of the images. A patch has its spacing, where it says one; an image that is
            fitted has another.
        patches: whether patches are cut.
        dims: spatial axes of the images.
    """
    if size is None or not (isinstance(size, int) or len(size) == dims):
        return backbone  # refused elsewhere, in words
    said = getattr(preprocessing, "spacing", None) if patches and dims == 3 else None
    # Settings are read before anything heavy is imported: NumPy's broadcasting would be.
    spacing = (float(said),) * dims if isinstance(said, (int, float)) else said
    return backbone.for_shape(sides_of(size, dims), spacing)


def suit_in_settings(backbone: Any, said: Mapping[str, Any], asked: str) -> Any:
    """Return the network of a run's settings, where it is made and the rest of them is known.

    Args:
        backbone: made, or only found by its name, or None.
        said: the settings so far.
        asked: name of the setting that holds the task.
    """
    dims = getattr(said.get(asked), "spatial_dims", None)
    if not isinstance(backbone, Component) or not dims or "size" not in said:
        return backbone
    return suit_backbone(
        backbone,  # type: ignore[arg-type]
        said["size"],
        said.get("preprocessing"),
        said.get("patches"),
        dims,
    )
