"""Patients joined where their images are equal, or where their files state one person."""

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import replace

from ssl_registry.data.formats.headers import Header
from ssl_registry.data.sources.cases import Source
from ssl_registry.data.sources.duplicates import Copies


def join_groups(
    groups: Mapping[str, str], contents: Mapping[str, Collection[Hashable]]
) -> dict[str, str]:
    """Return the patient of each case, patients whose images share something joined into one.

    Joining goes on: where A shares an image with B, and B another one with C, all three are one.
    A joined patient is called by the first of its names, by the alphabet.

    Args:
        groups: the patient of each case, by the case's name; a case that is not in it is a
            patient of its own name.
        contents: what each image holds, as hashes of its voxels and of its channels, or anything
            else that equal images share, by the case's name; a case that is not in it equals none.

    Returns:
        The patient of each case that is in either of the two.
    """
    patients = {case: groups.get(case, case) for case in dict.fromkeys([*groups, *contents])}
    parents = {patient: patient for patient in patients.values()}

    def find(patient: str) -> str:
        while parents[patient] != patient:
            parents[patient] = parents[parents[patient]]  # halves the way for the next search
            patient = parents[patient]
        return patient

    seen: dict[Hashable, str] = {}
    for case, content in ((case, one) for case, several in contents.items() for one in several):
        one, other = sorted((find(patients[case]), find(seen.setdefault(content, patients[case]))))
        parents[other] = one
    return {case: find(patient) for case, patient in patients.items()}


def with_copies_joined(source: Source, copies: Iterable[Copies]) -> Source:
    """Return the source with those patients joined of whom an image is the same."""
    alike: dict[str, list[int]] = {}
    for number, (cases, _) in enumerate(copies):
        for case in cases:
            alike.setdefault(case.name, []).append(number)
    return replace(source, groups=join_groups(source.groups, alike)) if alike else source


def with_stated_patients(source: Source, headers: Mapping[str, Header]) -> Source:
    """Return the source with those patients joined whose files state that they are one.

    DICOM does (`PatientID`); who it is stays unsaid, for it would stand in the run's tables. Where
    all series state the same one, as after anonymising, it says nothing.

    Args:
        source: whose patients nobody has named by a column or a pattern.
        headers: by the cases' names.
    """
    stated = {name: header.patient for name, header in headers.items() if header.patient}
    if len(set(stated.values())) == len(stated):
        return source
    if len(set(stated.values())) == 1:
        note = (
            f"all {len(stated)} series state one patient (PatientID), as anonymised ones do: it is "
            "not followed (group_pattern names patients)"
        )
        return replace(source, notes=(*source.notes, note))
    joined = join_groups(source.groups, {name: [one] for name, one in stated.items()})
    if all(joined.get(case.name, case.name) == source.group_of(case) for case in source.cases):
        return source
    note = (
        f"{len(stated)} series are of {len({joined[name] for name in stated})} patients, as "
        "their files state (PatientID); group_pattern says otherwise"
    )
    return replace(source, groups=joined, notes=(*source.notes, note))
