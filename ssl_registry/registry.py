"""The registry: components by name, made from the entries of the catalogue.

Nothing heavy is imported here; a component's class is imported when it is first asked
for by `get` or `create`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from ssl_registry.catalogue import Catalogue
from ssl_registry.entry import KINDS, NAME, Entry, Kind, PluginReport
from ssl_registry.errors import ConfigError, NameConflictError, PluginError, UnknownComponentError
from ssl_registry.loading import check_usable, imported, kind_of, load_class, path_of

if TYPE_CHECKING:
    from ssl_registry.backbone import Backbone
    from ssl_registry.component import Component
    from ssl_registry.downstream import DownstreamTask
    from ssl_registry.pretext import PretextTask

IN_PROCESS: Final = "in-process"
"""What stands for a distribution where a class was registered by hand."""


class Registry(Catalogue):
    """Names and what they stand for. Use the one instance, `ssl_registry.registry`."""

    def __init__(self) -> None:
        super().__init__()
        self._loaded: dict[str, type[Component]] = {}
        self._bound: dict[tuple[str, str], type[Component]] = {}

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


registry = Registry()
