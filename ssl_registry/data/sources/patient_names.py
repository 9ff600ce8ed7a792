"""Names of patients: one patient may be spelt in several ways, and is one all the same."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

_WHOLE: Final = re.compile(r"(\d{1,18})(?:\.0*)?")
"""A number as a spreadsheet may have left it: 7, 007, 7.0."""


def one_spelling(patients: Mapping[str, str]) -> dict[str, str]:
    """Return the patient of each case, those that differ in their spelling alone as one.

    That is in upper and lower case, in stray spaces and characters that nobody sees, in the Unicode
    form of a letter, or, of names that are numbers, in zeros in front or behind the point. The
    first spelling in the order of the cases stays. To take two patients for one costs a smaller
    choice of splits, and no more; to take one for two puts a patient into training and test.
    """
    first: dict[str, str] = {}
    return {case: first.setdefault(plain_name(name), name) for case, name in patients.items()}


def describe_spellings(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note on patients that were spelt in several ways, if there are any."""
    changed = {name: after[case] for case, name in before.items() if after[case] != name}
    if not changed:
        return ()
    name, kept = next(iter(changed.items()))
    return (
        f"{len(changed)} spellings of patients differ from others in letter case, spaces or zeros "
        f"alone ({name}, {kept}), and are taken for the same patient",
    )


def plain_name(name: str) -> str:
    """Return what all spellings of a name have in common."""
    seen = "".join(
        c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf"
    )
    plain = " ".join(seen.split()).casefold()
    whole = _WHOLE.fullmatch(plain)
    return str(int(whole.group(1))) if whole else plain
