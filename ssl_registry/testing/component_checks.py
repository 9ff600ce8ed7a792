"""What holds for every component: it is a value, made of its fields."""

from collections.abc import Callable
from functools import partial
from pickle import dumps, loads
from typing import Final

from pydantic import ValidationError

from ssl_registry.testing.check import refuses, require
from ssl_registry.testing.trial import Trial


def fields_make_it_again(trial: Trial) -> None:
    """Its own fields make an equal component.

    Run files and encoder files hold nothing but the fields, so construction validates
    them and keeps them as they are.
    """
    component = trial.component
    again = type(component).model_validate(component.model_dump())
    require(again == component, f"{component!r}, made again from its own fields", repr(again))


def json_gives_it_back(trial: Trial) -> None:
    """It turns into JSON and back, and is equal afterwards.

    `config.yaml` and `encoder.json` are how a component gets from one process to another.
    """
    component = trial.component
    again = type(component).model_validate_json(component.model_dump_json())
    require(again == component, f"{component!r} after a round trip through JSON", repr(again))


def pickle_gives_it_back(trial: Trial) -> None:
    """It can be pickled, and is equal afterwards.

    Data loaders and training on several GPUs send components to other processes.
    """
    component = trial.component
    again = loads(dumps(component))  # noqa: S301, written a moment ago
    require(again == component, f"{component!r} after a round trip through pickle", repr(again))


def equal_components_hash_alike(trial: Trial) -> None:
    """It is hashable, and equal components have equal hashes.

    A component is a key of caches and grids. A list or dict among the fields cannot be
    hashed: use a tuple.
    """
    component = trial.component
    again = type(component).model_validate(component.model_dump())
    require(hash(again) == hash(component), "equal hashes of equal components", "different ones")


def fields_cannot_be_changed(trial: Trial) -> None:
    """A field cannot be set after construction.

    What a run writes down at its start has to be true at its end. State belongs in the
    modules that a component builds.
    """
    component = trial.component
    field = next(iter(type(component).listed_fields()), "field")
    refuses(f"a change of {field}", ValidationError, lambda: setattr(component, field, None))


def unknown_fields_are_refused(trial: Trial) -> None:
    """A field that it does not have is refused with a `ValidationError`.

    A misspelt hyper-parameter would otherwise be left out in silence.
    """
    component = trial.component
    unknown = component.model_dump() | {"no_such_field": 1}
    refuses(
        "the field no_such_field",
        ValidationError,
        lambda: type(component).model_validate(unknown),
    )


def nonsense_is_refused(trial: Trial) -> None:
    """A value of a wrong type is refused with a `ValidationError`, for every field.

    The command line hands over what a user typed; a field typed `Any` would carry it into
    the middle of a run.
    """
    component = trial.component
    for field in type(component).model_fields:
        values = component.model_dump() | {field: object()}
        construct = partial(type(component).model_validate, values)
        refuses(f"{field}=object()", ValidationError, construct)


COMPONENT_CHECKS: Final[tuple[Callable[[Trial], None], ...]] = (
    fields_make_it_again,
    json_gives_it_back,
    pickle_gives_it_back,
    equal_components_hash_alike,
    fields_cannot_be_changed,
    unknown_fields_are_refused,
    nonsense_is_refused,
)
