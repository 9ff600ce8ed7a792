"""Classes that a division leaves nothing to learn from: said before training, not by its score."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ssl_registry.data.problems import Problem
from ssl_registry.data.sources.cases import Case, Parts, Source
from ssl_registry.data.splits import HELD_OUT
from ssl_registry.errors import spell


@dataclass(frozen=True)
class ClassCounts:
    """In how many images each class occurs, by its value; the background is no class.

    Attributes:
        names: what the values are called, in their order.
        train: images to learn from.
        test: images to be scored on.
    """

    names: Mapping[int, str]
    train: Mapping[int, int]
    test: Mapping[int, int]

    def sentences(self) -> Iterator[str]:
        """Yield what follows for the score, where a class is missing on one side."""
        for value, name in self.names.items():
            if not self.train[value]:
                tested = self.test[value]
                yield f"class {name} has no image to train on: it cannot be learned" + (
                    f", and {tested} test {'image shows' if tested == 1 else 'images show'} it"
                    if tested
                    else ""
                )
            if not self.test[value]:
                yield f"class {name} has no test image: the score says nothing about it"


def count_classes(source: Source, train: Iterable[Case], test: Iterable[Case]) -> ClassCounts:
    """Return in how many images of both parts each class of a source occurs.

    Args:
        source: whose cases were read, or are graded.
        train: cases to learn from.
        test: cases to be scored on.
    """
    names = {v: name for v, name in source.labels.items() if source.graded or v != 0}
    counts = (
        Counter(value for case in cases for value in source.classes_in(case) or ())
        for cases in (train, test)
    )
    return ClassCounts(names, *counts)


def class_notes(source: Source, parts: Parts) -> Iterator[Problem]:
    """Yield notes on classes that no network could learn, as far as label maps are known.

    With a division, those are the classes of which only held-out cases have any; without one, a
    class that one patient alone has is either not learnt or not tested.

    Args:
        source: the data.
        parts: the part of each case, by its name; empty where there is no division.
    """
    labelled = source.labelled
    shown = {case.name: source.classes_in(case) for case in labelled}
    if None in shown.values():
        return
    held_out = {source.group_of(case) for case in source.cases if parts.get(case.name) in HELD_OUT}
    for value, name in source.labels.items():
        cases = [case for case in labelled if value in (shown[case.name] or ())]
        patients = {source.group_of(case) for case in cases}
        if not cases or (value == 0 and not source.graded):
            continue
        if parts and patients <= held_out:
            yield Problem(
                "note",
                source.name,
                f"has the class {spell(name)} in held-out cases alone ({_few(cases)}): it cannot "
                "be learned",
                "divide the data otherwise, or leave that class out",
            )
        elif not parts and len(patients) == 1 and len(labelled) > 1:
            yield Problem(
                "note",
                source.name,
                f"has the class {spell(name)} in one patient alone ({_few(cases)}): it is either "
                "not learned or not tested",
                "add others, or leave that class out",
            )


def _few(cases: list[Case]) -> str:
    names = [spell(case.name) for case in cases[:3]]
    return ", ".join([*names, *(["..."] if len(cases) > 3 else [])])
