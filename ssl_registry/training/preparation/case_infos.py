"""What a pretext task may know of the images that it is given."""

from collections.abc import Iterable

from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.sources.cases import Source
from ssl_registry.pretext_model import CaseInfo


def case_infos(cases: Iterable[Prepared], source: Source) -> dict[str, CaseInfo]:
    """Return what is known of prepared cases, by their names."""
    return {
        one.case.name: CaseInfo(one.case.name, source.group_of(one.case), one.spacing)
        for one in cases
    }
