"""What a pretext task may know of the images that it is given."""

from collections.abc import Iterable, Mapping

from ssl_registry.data.cache.prepared import Prepared, SeenImage
from ssl_registry.data.sources.cases import Source
from ssl_registry.pretext_model import CaseInfo


def case_infos(cases: Iterable[Prepared], source: Source) -> dict[str, CaseInfo]:
    """Return what is known of prepared cases, by their names; of volumes, not of their slices."""
    return {
        one.case.name: CaseInfo(one.case.name, source.group_of(one.case), one.spacing)
        for one in cases
    }


def info_of(seen: SeenImage, infos: Mapping[str, CaseInfo]) -> CaseInfo:
    """Return what is known of an image: of a slice, where it lies, and the spacing in its plane."""
    return infos[seen.case.name]._replace(spacing=seen.spacing, place=seen.place)
