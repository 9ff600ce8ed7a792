"""Fields that a component had in an older release, and what becomes of them.

A field that is renamed or removed goes on being read from older files until the version
that its author announces, with a warning that says so:

    class Rpl3d(PretextTask):
        former_fields = {
            "space": RenamedField(now="gap", until="0.3"),
            "wrap": RemovedField(always=False, until="0.3"),
        }
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssl_registry.errors import ComponentDeprecationWarning


@dataclass(frozen=True, slots=True)
class RenamedField:
    """A field that has another name now; its value means what it meant.

    Attributes:
        now: the new name.
        until: version of the distribution from which on the old name is refused.
    """

    now: str
    until: str


@dataclass(frozen=True, slots=True)
class RemovedField:
    """A field that is gone; the component does what it did with one value of it.

    Attributes:
        always: that value. Any other is refused, for the result would not be the same.
        until: version of the distribution from which on the field is refused whatever it
            says.
    """

    always: object
    until: str


FormerField = RenamedField | RemovedField


def bring_up_to_date(
    owner: str, former: Mapping[str, FormerField], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `values` with the names that fields have now, after a warning for each old one.

    Raises:
        ValueError: an old name stands beside the new one, or a removed field has a value
            that the component cannot do any more.
    """
    current = {name: value for name, value in values.items() if name not in former}
    for name in [name for name in values if name in former]:
        old, value = former[name], values[name]
        if isinstance(old, RenamedField):
            if old.now in current:
                raise ValueError(f"{name} is called {old.now} now; both are set: keep {old.now}")
            current[old.now] = value
            what = f"is called {old.now} now; the old name works"
        elif value == old.always:
            what = f"is gone, and {value!r} is what it always does; it may be set"
        else:
            raise ValueError(
                f"{name}={value!r}: the field is gone, and only {name}={old.always!r} is what the "
                "component still does. Install the release that the file was written with"
            )
        warnings.warn(
            f"{owner}: the field {name!r} {what} until version {old.until} of its distribution",
            ComponentDeprecationWarning,
            stacklevel=2,
        )
    return current
