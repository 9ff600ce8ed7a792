"""Which images of a batch show the same place of a body, or the same patient."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from ssl_registry import Moment
from ssl_registry.errors import ConfigError

Positives: TypeAlias = Literal["view", "place", "patient"]


def related_images(positives: Positives, near: float, count: int, moment: Moment | None) -> Tensor:
    """Return which other images of a batch show the same, `[B, B]` bool; none to itself.

    Args:
        positives: `"view"` for none, `"place"` for slices that lie equally high in their scans,
            `"patient"` for images of one group.
        near: by how much the places of two slices may differ.
        count: images in the batch (B).
        moment: what is known of them.

    Raises:
        ConfigError: what has to be known of them is not.
    """
    if positives == "view":
        return torch.zeros(count, count, dtype=torch.bool)
    if moment is None or len(moment.cases) != count:
        raise ConfigError(
            f"positives={positives} needs to know which cases the images are: hand a Moment with "
            "their `cases` to the model, or set positives=view"
        )
    if positives == "patient":
        groups = [case.group for case in moment.cases]
        same = torch.tensor([[one == other for other in groups] for one in groups])
    else:
        places = torch.tensor([_place(case.name, case.place) for case in moment.cases])
        same = (places[:, None] - places).abs() <= near
    return same.fill_diagonal_(False)


def _place(name: str, place: float | None) -> float:
    if place is None:
        raise ConfigError(
            f"positives=place needs to know how high each slice lies in its scan, but {name} is "
            "not a slice of a scan: pretrain a 2D task on the slices of volumes, or set "
            "positives=view or positives=patient"
        )
    return place
