"""Classes of which one field is said by their name: `timm:resnet50`."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from ssl_registry.component import Component


class BoundComponent(Component):
    """What a bound class has besides: it stands for the class that it is made of.

    An instance equals one of that class with the same fields, and is pickled as one.

    Attributes:
        bound_class: the class that is registered.
    """

    bound_class: ClassVar[type[Component]]

    def __eq__(self, other: object) -> bool:
        return self._unbound() == (other._unbound() if isinstance(other, BoundComponent) else other)

    def __hash__(self) -> int:
        return hash(self._unbound())

    def __reduce__(self) -> tuple[Any, ...]:
        return self.bound_class.model_validate, (dict(self),)

    def _unbound(self) -> Component:
        return self.bound_class.model_construct(**dict(self))


def bind_field(cls: type[Component], field: str, value: str, name: str) -> type[Component]:
    """Return a class like `cls` whose `field` is `value`, and can be nothing else.

    Args:
        cls: has the field.
        field: of the class.
        value: what it is bound to; whether it can be is seen when an instance is made.
        name: what the class is called in its description, such as `"timm:resnet50"`.
    """
    described = cls.model_fields[field].description or ""
    namespace = {
        "__annotations__": {field: Literal[value]},
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "bound_class": cls,
        field: Field(value, description=f"{described}; {name} says which"),
    }
    return type(cls.__name__, (BoundComponent, cls), namespace)
