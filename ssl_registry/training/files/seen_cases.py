"""What an encoder has seen: the contents of every case that had a say in its weights.

`encoder.json` and `model.json` keep it under `data`:

    {
      "name": "Task04_Hippocampus",        what the data were called
      "cases": 80,                         how many it learned from in the last run
      "image_channels": 1,
      "channel_names": ["T1", "T2"],       what these show, where the data say so
      "fingerprint": "5f1c...",            a hash of all contents, whatever the cases are called
      "seen": {"<content>": "<name>"},     each image of this run and of those before it, by the
                                           hash that `cases.csv` has, and what it was called; also
                                           by that of each channel, however it was turned, but
                                           for one that all images have
      "complete": true,                    false if something before it is not known
      "declared": "ImageNet-1k",           what weights from elsewhere were trained on, in the words
                                           of the user who imported them and vouches that it is all
      "held_out": ["c03", ...]             names of the validation and test cases of the last run
    }

A run that starts from an encoder adds to what that one has seen, so a chain forgets nothing.
`provenance` makes the mapping; `check_unseen` refuses to score what has been seen.
"""

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.sources.cases import Case, Source
from ssl_registry.data.sources.contents import voxels_of
from ssl_registry.data.sources.duplicates import common_channels, shown_by
from ssl_registry.errors import ConfigError, spell
from ssl_registry.training.files.channel_names import CHANNELS

SHOWN: Final = 20
"""Cases that are listed one by one."""


@dataclass(frozen=True)
class Seen:
    """What an encoder has seen.

    Attributes:
        names: what each image was called, by the hash of its contents.
        complete: whether that is all.
    """

    names: Mapping[str, str]
    complete: bool


def provenance(
    name: str,
    cases: Sequence[Prepared],
    *,
    selected_by: Sequence[Prepared] = (),
    held_out: Iterable[Case] = (),
    before: Mapping[str, Any] | None = None,
    channels: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what an encoder's file says of the data.

    Args:
        name: of the source.
        cases: whose images, or labels, the weights were learned from.
        selected_by: cases that decided which weights are kept.
        held_out: the others of the split.
        before: what the file of the encoder says that the run started from; None for random
            weights.
        channels: what the channels of the images are called, where the data say so.
    """
    earlier = Seen({}, complete=True) if before is None else seen_of(before)
    declared = declared_in(before or {})
    had_a_say = [*cases, *selected_by]
    common = common_channels(shown_by(case.contents) for case in had_a_say)
    now = {part: c.case.name for c in had_a_say for part in c.contents.traces if part not in common}
    return {
        "name": name,
        "fingerprint": fingerprint(case.contents.image for case in cases),
        "cases": len(cases),
        "image_channels": cases[0].channels,
        **({CHANNELS: list(channels)} if channels else {}),
        "seen": dict(sorted({**earlier.names, **now}.items())),
        "complete": earlier.complete,
        **({"declared": declared} if declared else {}),
        "held_out": sorted(case.name for case in held_out),
    }


def fingerprint(contents: Iterable[str]) -> str:
    """Return one short hash of all these contents, in whatever order and under whatever names."""
    return hashlib.sha256("\n".join(sorted(contents)).encode()).hexdigest()[:16]


def handed_on(data: Mapping[str, Any], *, names: bool) -> dict[str, Any]:
    """Return a provenance for other people: the hashes, and not where the data lay.

    Args:
        data: what a file says of them.
        names: whether to tell what the cases were called, too, and which were held out.
    """
    kept = {**data, "name": Path(str(data.get("name", ""))).name}
    if not names:
        kept.pop("held_out", None)
        kept["seen"] = dict.fromkeys(seen_of(data).names, "")
    return kept


def seen_of(data: Mapping[str, Any]) -> Seen:
    """Return what a provenance says was seen; one that says nothing is not complete."""
    said = data.get("seen")
    if not isinstance(said, Mapping):
        return Seen({}, complete=False)
    names = {key: name for key, name in said.items() if isinstance(name, str)}
    known = bool(names) or declared_in(data) is not None
    whole = len(names) == len(said) and known and data.get("complete") is True
    return Seen(names, complete=whole)


def declared_in(data: Mapping[str, Any]) -> str | None:
    """Return what weights from elsewhere were trained on, as somebody has declared it."""
    said = data.get("declared")
    return said if isinstance(said, str) and said.strip() else None


WITHOUT: Final = (
    "pretrain without them (split=..., test_cases=..., or the same data, split_seed, "
    "test_fraction, validation_fraction, folds, fold, group_column and group_pattern in both "
    "runs), or name other data"
)
"""What to do about an encoder that has seen test cases."""


def check_unseen(
    what: str,
    data: Mapping[str, Any],
    source: Source,
    test: Sequence[Case],
    *,
    assume_unseen: bool = False,
    remedy: str = WITHOUT,
) -> None:
    """Refuse to score what has seen the test cases, or may have.

    Args:
        what: the encoder or model, in words.
        data: what its file says of the data.
        source: where the cases come from.
        test: the cases of the score.
        assume_unseen: whether to believe that it has not seen what it does not tell of.
        remedy: what to do if it has seen some, in words.

    Raises:
        ConfigError: it has seen some of them, or another image of their patients; or its file
            does not say what it has seen, and nobody said that this may be.
    """
    seen = seen_of(data)
    names = {voxels_of(image): name for image, name in seen.names.items()}
    scored = list(_seen_in(names, source, test))
    if scored:
        more = f" and {len(scored) - SHOWN} more" if len(scored) > SHOWN else ""
        raise ConfigError(
            f"{len(scored)} of the test cases were used to pretrain or to train {what}: "
            f"{', '.join(scored[:SHOWN])}{more}. A score on them would say nothing: {remedy}"
        )
    if not seen.complete and not assume_unseen:
        raise ConfigError(
            f"the file of {what} does not say on which images it was trained, so whether it has "
            "seen the test cases is unknown: set assume_unseen=true if you know that it has not"
        )


def seen_among(data: Mapping[str, Any], source: Source, cases: Sequence[Case]) -> set[str]:
    """Return the names of the cases that were seen, or of whose patients an image was.

    Args:
        data: what an encoder's or a model's file says of its data.
        source: where the cases come from.
        cases: of it.
    """
    voxels = {voxels_of(image) for image in seen_of(data).names}
    groups = {
        source.group_of(case)
        for case in source.cases
        if _known_as(source, case, voxels) is not None
    }
    return {case.name for case in cases if source.group_of(case) in groups}


def _seen_in(names: Mapping[str, str], source: Source, test: Sequence[Case]) -> Iterable[str]:
    """Yield, in words, the test cases that were seen, or of whose patients an image was."""
    seen_of_group: dict[str, Case] = {}
    for case in source.cases:
        if _known_as(source, case, names) is not None:
            seen_of_group.setdefault(source.group_of(case), case)
    for case in test:
        known = _known_as(source, case, names)
        other = seen_of_group.get(source.group_of(case))
        if known is not None:
            yield _called(case.name, names[known])
        elif other is not None:
            yield f"{spell(case.name)} (whose patient's {spell(other.name)} was)"


def _known_as(source: Source, case: Case, voxels: Container[str]) -> str | None:
    """Return by which hash of voxels an image, or one of its channels, is known; None if by none.

    A scan that was seen alone may come back as a channel of a stack, and the other way round; or
    turned, where its affine was lost.
    """
    parts = map(voxels_of, source.contents[case.name].traces)
    return next((part for part in parts if part in voxels), None)


def _called(now: str, then: str) -> str:
    return spell(now) if then in ("", now) else f"{spell(now)} (as {spell(then)})"
