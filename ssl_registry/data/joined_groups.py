"""Patients joined where their images are equal: one image under two names is one person."""

from collections.abc import Hashable, Mapping


def join_groups(groups: Mapping[str, str], contents: Mapping[str, Hashable]) -> dict[str, str]:
    """Return the patient of each case, patients with an equal image joined into one.

    Joining goes on: where A shares an image with B, and B another one with C, all three are one.
    A joined patient is called by the first of its names, by the alphabet.

    Args:
        groups: the patient of each case, by the case's name; a case that is not in it is a
            patient of its own name.
        contents: what each image holds, as a hash of its voxels or anything else that equal
            images share, by the case's name; a case that is not in it equals no other.

    Returns:
        The patient of each case that is in either of the two.
    """
    patients = {case: groups.get(case, case) for case in dict.fromkeys([*groups, *contents])}
    parents = {patient: patient for patient in patients.values()}

    def find(patient: str) -> str:
        while parents[patient] != patient:
            parents[patient] = parents[parents[patient]]  # halves the way for whoever comes next
            patient = parents[patient]
        return patient

    seen: dict[Hashable, str] = {}
    for case, content in contents.items():
        one, other = sorted((find(patients[case]), find(seen.setdefault(content, patients[case]))))
        parents[other] = one
    return {case: find(patient) for case, patient in patients.items()}
