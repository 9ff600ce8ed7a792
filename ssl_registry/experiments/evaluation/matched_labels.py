"""Labels of other data as the labels of a model: by their names, whatever values stand for them."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ssl_registry.data.label_classes import class_names
from ssl_registry.data.sources.cases import Case, Source
from ssl_registry.errors import DataError


def match_labels(
    model: Mapping[int, str],
    source: Source,
    cases: Sequence[Case],
    kind: Literal["mask", "class"],
) -> dict[int, int]:
    """Return the model's class for each value of the data.

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
        own = {value: place for place, value in enumerate(sorted(model))}
        if _black_and_white(theirs) and _black_and_white(model):
            return {value: int(value > 0) for value in theirs}
        unknown = [f"{value} ({theirs[value]})" for value in theirs if value not in own]
        if not unknown:
            return {value: own[value] for value in theirs}
    else:
        mine = {_plain(name): place for place, name in class_names(model).items()}
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


def _black_and_white(labels: Mapping[int, str]) -> bool:
    """Whether there is the background and one label without a name, for which 1 or 255 stands."""
    return set(labels) in ({0, 1}, {0, 255}) and _only_numbers(labels)


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def as_model_classes(labels: Tensor, matched: Mapping[int, int]) -> Tensor:
    """Return a label map `[*S]` with the model's classes, uint8."""
    table = torch.zeros(max(matched) + 1, dtype=torch.uint8)
    for value, own in matched.items():
        table[value] = own
    return table[labels.long()]
