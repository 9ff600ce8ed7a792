"""The registry: components by name, from every installed plugin.

Nothing heavy is imported here; a component's class is imported when it is first asked
for by `get` or `create`.
"""

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from ssl_registry.entry import KINDS, NAME, Entry, Kind, PluginReport
from ssl_registry.errors import (
    ComponentDeprecationWarning,
    ConfigError,
    NameConflictError,
    PluginError,
    PluginWarning,
    UnknownComponentError,
)
from ssl_registry.loading import INTERFACES, check_usable, imported, kind_of, load_class, path_of
from ssl_registry.plugins import find_plugins, normalise_distribution
from ssl_registry.wording import did_you_mean, nearest

if TYPE_CHECKING:
    from ssl_registry.backbone import Backbone
    from ssl_registry.component import Component
    from ssl_registry.downstream import DownstreamTask
    from ssl_registry.pretext import PretextTask

EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "contrast": tuple(
        f"{name}{dims}d" for name in ("byol", "local", "moco", "simclr") for dims in (2, 3)
    ),
    "cpc": ("cpc2d", "cpc3d"),
    "exemplar": ("exemplar2d", "exemplar3d"),
    "fusion": ("fusion2d", "fusion3d"),
    "genesis": ("genesis2d", "genesis3d"),
    "jigsaw": ("jigsaw2d", "jigsaw3d"),
    "masked": ("masked2d", "masked3d"),
    "monai": ("monai-basicunet3d", "monai-segresnet3d", "monai-swinunetr3d"),
    "nnunet": (
        "nnunet-plainconv2d",
        "nnunet-plainconv3d",
        "nnunet-resenc2d",
        "nnunet-resenc3d",
    ),
    "rotation": ("rotation2d", "rotation3d"),
    "rpl": ("place2d", "place3d", "rpl2d", "rpl3d"),
    "timm": ("timm",),
    "voco": ("voco2d", "voco3d"),
}
"""First-party extras and the names they bring, for the answer to an unknown name."""

IN_PROCESS: Final = "in-process"
"""What stands for a distribution where a class was registered by hand."""


class Registry:
    """Names and what they stand for. Use the one instance, `ssl_registry.registry`."""

    def __init__(self) -> None:
        self._registered: dict[str, Entry] = {}
        self._loaded: dict[str, type[Component]] = {}
        self._bound: dict[tuple[str, str], type[Component]] = {}
        self._load_failures: dict[str, PluginReport] = {}

    @cached_property
    def _found(self) -> tuple[list[Entry], list[PluginReport]]:
        entries, reports = find_plugins()
        for report in reports:
            if report.status == "failed":
                warnings.warn(
                    f"ssl-registry plugin {report.distribution} {report.version} was left out: "
                    f"{report.message}",
                    PluginWarning,
                    stacklevel=4,
                )
        return entries, reports

    def entries(self, kind: Kind | None = None, dims: int | None = None) -> list[Entry]:
        """Return what is on offer, sorted by kind and name; imports no component.

        Args:
            kind: only `"pretext"`, `"backbone"` or `"downstream"`.
            dims: only components for 2D or for 3D, not those whose fields say it.

        Raises:
            ConfigError: `kind` or `dims` is none of these.
        """
        if kind is not None and kind not in INTERFACES:
            raise ConfigError(f"kind={kind!r} is none of {', '.join(INTERFACES)}")
        if dims not in (None, 2, 3):
            raise ConfigError(f"dims={dims!r} is neither 2 nor 3")
        chosen = [
            entry
            for entry in [*self._found[0], *self._registered.values()]
            if kind in (None, entry.kind) and dims in (None, entry.dims)
        ]
        order = list(INTERFACES)
        return sorted(
            chosen, key=lambda entry: (order.index(entry.kind), entry.name, entry.distribution)
        )

    def plugins(self) -> list[PluginReport]:
        """Return a report on every installed plugin, usable or not."""
        return list(self._found[1])

    def failures(self) -> list[PluginReport]:
        """Return the plugins and components that could not be used, and why."""
        broken = [report for report in self._found[1] if report.status == "failed"]
        return [*broken, *self._load_failures.values()]

    def find(self, name: str) -> Entry:
        """Return the entry that `name`, `distribution:name` or `name:argument` stands for.

        Raises:
            UnknownComponentError: nobody offers it; the message names what is near.
            NameConflictError: several distributions offer it.
            ConfigError: the name is no string.
        """
        if not isinstance(name, str):
            raise ConfigError(
                f"a component is found by its name, such as 'rpl3d', not by a {type(name).__name__}"
            )
        distribution, colon, bare = name.rpartition(":")
        wanted = f"{normalise_distribution(distribution)}:{bare}" if colon else name
        offers = [entry for entry in self.entries() if wanted in (entry.name, entry.qualified_name)]
        offers = offers or self._find_former(wanted)
        if len(offers) == 1:
            return offers[0]
        if not offers and colon and (family := self._family(distribution)):
            return family
        if not offers:
            raise UnknownComponentError(self._unknown(name))
        spelt = " or ".join(repr(entry.qualified_name) for entry in offers)
        raise NameConflictError(
            f"{name!r} is offered by {len(offers)} distributions; say which one you mean: {spelt}"
        )

    def _family(self, name: str) -> Entry | None:
        """Return the entry of that name if one of its fields can be said after a colon."""
        families = [entry for entry in self.entries() if entry.name == name and entry.argument]
        return families[0] if len(families) == 1 else None

    def _find_former(self, wanted: str) -> list[Entry]:
        """Return the entries that had the name `wanted` before; warn if it is one."""
        _, _, bare = wanted.rpartition(":")
        offers = [
            entry
            for entry in self.entries()
            for old in entry.formerly
            if wanted in (old.name, f"{entry.distribution}:{old.name}")
        ]
        if len(offers) == 1:
            (until,) = [old.until for old in offers[0].formerly if old.name == bare]
            warnings.warn(
                f"{bare} is called {offers[0].name} now; the old name works until "
                f"{offers[0].distribution} {until}",
                ComponentDeprecationWarning,
                stacklevel=3,
            )
        return offers

    def get(self, name: str) -> "type[Component]":
        """Return the class behind a name, importing it the first time.

        What stands after a colon is bound: `get("timm:resnet50")` is a class whose `model` is
        `"resnet50"`, and no other can be asked of it.

        Raises:
            UnknownComponentError: nobody offers the name.
            NameConflictError: several distributions offer it.
            PluginError: the class cannot be imported, or is not what its entry says.
        """
        entry = self.find(name)
        cls = self._load(entry)
        said = _after_the_colon(entry, name)
        if said is None:
            return cls
        key = (entry.qualified_name, said)
        if key not in self._bound or not issubclass(self._bound[key], cls):
            from ssl_registry.bound import bind_field

            self._bound[key] = bind_field(cls, entry.argument, said, name)
        return self._bound[key]

    def _load(self, entry: Entry) -> "type[Component]":
        key = entry.qualified_name
        if key not in self._loaded:
            try:
                self._loaded[key] = load_class(entry)
            except PluginError as error:
                self._load_failures[key] = PluginReport(
                    entry.distribution,
                    entry.version,
                    entry.name,
                    "failed",
                    str(error),
                    (entry.name,),
                    error,
                )
                raise
            self._load_failures.pop(key, None)
        return self._loaded[key]

    def create(self, spec: "str | Mapping[str, Any]", /, **fields: Any) -> "Component":
        """Return a validated instance from a name and fields, or from one mapping.

        `create("rpl3d", jitter=3)` and `create({"name": "rpl3d", "jitter": 3})` are the
        same; so are `create("timm:resnet18")` and `create("timm", model="resnet18")`.

        Raises:
            ConfigError: a field is unknown or out of bounds, or the name is missing.
            UnknownComponentError, NameConflictError, PluginError: as for `get`.
        """
        from pydantic import ValidationError

        from ssl_registry.component import explain

        name = spec.get("name") if isinstance(spec, Mapping) else spec
        if not isinstance(name, str):
            raise ConfigError(f"{spec!r} has no 'name' that says which component it is")
        if isinstance(spec, Mapping):
            fields = {**{key: value for key, value in spec.items() if key != "name"}, **fields}
        entry = self.find(name)
        if (said := _after_the_colon(entry, name)) is not None:
            if fields.get(entry.argument, said) != said:
                raise ConfigError(
                    f"{name} says {entry.argument}={said!r}, and the fields "
                    f"{entry.argument}={fields[entry.argument]!r}: say one of the two"
                )
            fields = {**fields, entry.argument: said}
        cls = self._load(entry)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise ConfigError(explain(error, name, cls)) from error

    def pretext_task(self, name: str, /, **fields: Any) -> "PretextTask":
        """Return a pretext task, as `create` does, known to be one by type checkers too.

        Raises:
            ConfigError: it is a component of another kind; or as for `create`.
            UnknownComponentError, NameConflictError, PluginError: as for `get`.
        """
        return cast("PretextTask", self._create_kind("pretext", name, fields))

    def backbone(self, name: str, /, **fields: Any) -> "Backbone":
        """Return a backbone, as `create` does, known to be one by type checkers too.

        Raises:
            ConfigError: it is a component of another kind; or as for `create`.
            UnknownComponentError, NameConflictError, PluginError: as for `get`.
        """
        return cast("Backbone", self._create_kind("backbone", name, fields))

    def downstream_task(self, name: str, /, **fields: Any) -> "DownstreamTask":
        """Return a downstream task, as `create` does, known to be one by type checkers too.

        Raises:
            ConfigError: it is a component of another kind; or as for `create`.
            UnknownComponentError, NameConflictError, PluginError: as for `get`.
        """
        return cast("DownstreamTask", self._create_kind("downstream", name, fields))

    def _create_kind(self, kind: Kind, name: str, fields: dict[str, Any]) -> "Component":
        check_kind(self.find(name), kind)
        return self.create(name, **fields)

    def register(
        self, cls: "type[Component]", *, name: str, summary: str | None = None
    ) -> "type[Component]":
        """Offer a class in this process only, for notebooks and tests; returns the class.

        Running the same cell again replaces the class.

        Raises:
            NameConflictError: a plugin, or another class, has the name.
            PluginError: the class implements none of the interfaces or not all of one, or
                the name is not lower-case.
        """
        if not NAME.fullmatch(name):
            raise PluginError(f"the name {name!r} is not lower-case letters and digits")
        kind = kind_of(cls)
        check_usable(cls, name)
        rivals = [entry.qualified_name for entry in self._found[0] if entry.name == name]
        present = self._registered.get(name)
        if present is not None and path_of(present.target) != path_of(cls):
            rivals.append(present.qualified_name)
        if rivals:
            raise NameConflictError(
                f"the name {name!r} is taken by {', '.join(rivals)}: choose another"
            )
        doc = (cls.__doc__ or "").strip().splitlines()
        entry = Entry(
            name,
            cls,
            None if isinstance(cls.spatial_dims, property) else cls.spatial_dims,
            summary or (doc[0] if doc else ""),
            kind=kind,
            distribution=IN_PROCESS,
        )
        self._registered[name] = entry
        self._loaded.pop(entry.qualified_name, None)
        return cls

    def entry_of(self, component: "Component | type[Component]") -> Entry:
        """Return the entry under which a component or its class is registered.

        Raises:
            UnknownComponentError: it is not registered.
        """
        cls = component if isinstance(component, type) else type(component)
        cls = getattr(cls, "bound_class", cls)
        for entry in self.entries():
            if entry.target in (cls, path_of(cls)) or imported(entry.target) is cls:
                return entry
        raise UnknownComponentError(
            f"{cls.__qualname__} is not registered: call "
            f"registry.register({cls.__name__}, name=...) first"
        )

    def spec_of(self, component: "Component") -> dict[str, Any]:
        """Return the JSON mapping from which `create` makes an equal component."""
        entry = self.entry_of(component)
        shared = sum(other.name == entry.name for other in self.entries()) > 1
        name = entry.qualified_name if shared else entry.name
        return {"name": name, **component.model_dump(mode="json")}

    def _unknown(self, name: str) -> str:
        offered = {entry.name for entry in self.entries()}
        extra_of = {brought: extra for extra, names in EXTRAS.items() for brought in names}
        message = f"there is no component named {name!r}."
        first, _, rest = name.lower().partition(":")
        bare = first if first in extra_of else rest or first
        if bare in extra_of and bare not in offered:
            owner = f"ssl-registry-{extra_of[bare]}"
            for report in self._found[1]:
                if report.distribution == owner and report.status != "ok":
                    return f"{message} It belongs to {owner}, which is out: {report.message}"
            return f"{message} It comes with: {_install(extra_of[bare])}"
        hints = [
            f"{match} ({_install(extra_of[match])})" if match not in offered else match
            for match in nearest(bare, offered | set(extra_of))
        ]
        message += did_you_mean(hints)
        message += " `ssl-registry list` shows what is installed"
        broken = [report.distribution for report in self.failures()]
        if broken:
            message += (
                f"; left out as broken: {', '.join(broken)} (`ssl-registry plugins` says why)"
            )
        return f"{message}."


def check_kind(entry: Entry, kind: Kind) -> None:
    """See that a component is of the kind that is needed.

    Raises:
        ConfigError: it is of another; says of which.
    """
    if entry.kind != kind:
        raise ConfigError(
            f"{entry.name} is a {KINDS[entry.kind]}, not a {KINDS[kind]}: `ssl-registry list "
            f"--kind {kind}` shows which there are"
        )


def _after_the_colon(entry: Entry, name: str) -> str | None:
    """Return what `timm:resnet50` says after the name of the component, if it says anything."""
    said = name.rpartition(":")[2]
    return said if entry.argument and said != entry.name else None


def _install(extra: str) -> str:
    return f'pip install "ssl-registry[{extra}]"'


registry = Registry()
