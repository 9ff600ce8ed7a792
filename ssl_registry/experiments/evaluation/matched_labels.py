"""Labels of other data as the labels of a model: by their names, whatever values stand for them."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ssl_registry.data.sources.cases import Case, Source
from ssl_registry.errors import DataError


def match_labels(
    model: Mapping[int, str],
    source: Source,
    cases: Sequence[Case],
    kind: Literal["mask", "class"],
) -> dict[int, int]:
    """Return the model's value for each value of the data.

    By name, in whatever case; label maps whose values have no names but their numbers are matched
    by these. Labels that the data lack are no fault: nothing is scored of them but what is found
    where there is nothing.

    Args:
        model: what the values of a model mean.
        source: labelled data.
        cases: of it; of grades those count that one of them has.
        kind: of the labels.

    Raises:
        DataError: the data have a label that the model does not know.
    """
    theirs = dict(source.labels)
    if kind == "class":
        given = {case.grade for case in cases}
        theirs = {value: name for value, name in theirs.items() if value in given}
    if kind == "mask" and (_only_numbers(theirs) or _only_numbers(model)):
        unknown = [f"{value} ({theirs[value]})" for value in theirs if value not in model]
        if not unknown:
            return {value: value for value in theirs}
    else:
        mine = {_plain(name): value for value, name in model.items()}
        unknown = [name for name in theirs.values() if _plain(name) not in mine]
        if not unknown:
            return {value: mine[_plain(name)] for value, name in theirs.items()}
    raise DataError(
        f"{source.name} has labels that the model does not know: {', '.join(unknown)}; it knows "
        f"{', '.join(f'{value} {name}' for value, name in model.items())}: name the same things "
        "alike, or leave these cases out"
    )


def _only_numbers(labels: Mapping[int, str]) -> bool:
    return all(value == 0 or name == str(value) for value, name in labels.items())


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def as_model_labels(labels: Tensor, matched: Mapping[int, int]) -> Tensor:
    """Return a label map with the model's values."""
    if all(value == own for value, own in matched.items()):
        return labels
    table = torch.zeros(256, dtype=labels.dtype)
    for value, own in matched.items():
        table[value] = own
    return table[labels.long()]
