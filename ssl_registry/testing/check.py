"""What a check is, and how it says what does not hold."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import getdoc
from textwrap import fill
from typing import Any, Final, Protocol, TypeVar

import torch
from torch import Tensor

PAGE: Final = "docs/reference/conformance.md"
"""Where every check is documented, under its own name."""


_HANG: Final[dict[str, Any]] = {
    "initial_indent": "  ",
    "subsequent_indent": " " * 14,
    "break_long_words": False,
    "break_on_hyphens": False,
}


class ConformanceError(AssertionError):
    """Something that the library relies on does not hold.

    Attributes:
        expected: what had to be.
        came: what was there instead.
    """

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came


class Subject(Protocol):
    """What is checked: a component with the images to try it on, or a plugin."""

    @property
    def label(self) -> str:
        """How messages and tables call it."""


S = TypeVar("S", bound=Subject)


@dataclass(frozen=True)
class Check:
    """One expectation, bound to what is checked: call it, and it passes or raises.

    Attributes:
        name: of the check, such as `"views_keep_the_dtype"`.
        subject: what is checked, such as `"Rpl3d(jitter=1)"`.
        contract: what has to hold, and why the library relies on it.
        function: does the work.
    """

    name: str
    subject: str
    contract: str
    function: Callable[[], None]

    @property
    def documented(self) -> str:
        """Where the check is described."""
        return f"{PAGE}#{self.name}"

    def __call__(self) -> None:
        """Run the check.

        Raises:
            ConformanceError: it does not hold; the message says what was expected, what came
                and where that is documented.
        """
        __tracebackhide__ = True
        try:
            self.function()
        except ConformanceError as failure:
            raise self._explained(failure) from failure.__cause__
        except Exception as error:
            came = f"{type(error).__name__}: {error}"
            expected = self.contract.splitlines()[0]
            raise self._explained(ConformanceError(expected, came)) from error

    def _explained(self, failure: ConformanceError) -> ConformanceError:
        explained = ConformanceError(failure.expected, failure.came)
        lines = {
            "expected": failure.expected,
            "came": failure.came,
            "contract": self.contract,
            "documented": self.documented,
        }
        said = [
            fill(f"{what:10}  {' '.join(text.split())}", 96, **_HANG)
            for what, text in lines.items()
        ]
        explained.args = ("\n".join([f"{self.subject}: {self.name} does not hold", *said]),)
        return explained


def bind(functions: Iterable[Callable[[S], None]], subject: S) -> list[Check]:
    """Return the checks that functions make of a subject, named and described by them."""
    return [
        Check(function.__name__, subject.label, getdoc(function) or "", partial(function, subject))
        for function in functions
    ]


def require(condition: object, expected: str, came: object) -> None:
    """Raise a `ConformanceError` if a condition does not hold, also under `python -O`."""
    __tracebackhide__ = True
    if not condition:
        raise ConformanceError(expected, str(came))


def refuses(what: str, error: type[Exception], action: Callable[[], object]) -> None:
    """Require that an action raises an error of that class, with words in it."""
    __tracebackhide__ = True
    expected = f"{what} to be refused with {error.__name__}, in words"
    try:
        result = action()
    except error as refusal:
        require(str(refusal), expected, f"{type(refusal).__name__} without a word")
    except Exception as other:
        raise ConformanceError(expected, f"{type(other).__name__}: {other}") from other
    else:
        raise ConformanceError(expected, f"no error, but a {type(result).__name__}")


def says_what_to_set(refusal: Exception) -> bool:
    """Return whether a refusal names a setting: in backticks, or with a value behind `=`."""
    return bool(re.search(r"`[\w.]+`|\b[a-z_.]+=", str(refusal)))


def equal(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Return whether two lists of tensors are equal, bit for bit."""
    return len(ones) == len(others) and all(map(torch.equal, ones, others))
