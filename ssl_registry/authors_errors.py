"""Errors in an author's component, as the author's: plugin, method and page."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from ssl_registry.component import Component
from ssl_registry.errors import PluginError, SslRegistryError
from ssl_registry.pretext_model import PAGE
from ssl_registry.registry import registry
from ssl_registry.trees import spell_tree

AUTHORS_ERRORS: Final = (
    AssertionError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What an author's code raises by mistake."""


def spell_component(component: Component) -> str:
    """Return a component's class, and the distribution that offers it, for a message."""
    name = type(component).__name__
    try:
        entry = registry.entry_of(component)
    except SslRegistryError:
        return name
    return f"{name} ({entry.distribution} {entry.version})".replace(" )", ")")


@contextmanager
def blame(component: Component, method: str, *given: object, page: str = PAGE) -> Iterator[None]:
    """Say of an error in an author's method whose it is, and with what it was called.

    Errors in words for the user pass, and so do those of the machine.

    Args:
        component: whose method it is.
        method: its name.
        given: what it was called with.
        page: where it is written what the method has to do.
    """
    try:
        yield
    except (SslRegistryError, torch.OutOfMemoryError):
        raise
    except AUTHORS_ERRORS as error:
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        called = f" of {', '.join(map(spell_tree, given))}" if given else ""
        raise PluginError(
            f"{spell_component(component)}: {method}{called} failed: {said}; see {page}"
        ) from error
