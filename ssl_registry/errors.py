"""What can go wrong, in words for the person who has to fix it.

Every message says what was wrong, where (file, field, value), and what to do. The
command line prints it without a traceback and exits with status 2.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SslRegistryError(Exception):
    """The root of all errors that this library raises on purpose."""


class UnknownComponentError(SslRegistryError, LookupError):
    """No installed plugin offers a component of that name."""


class UnknownPluginError(SslRegistryError, LookupError):
    """No installed distribution of that name is a plugin."""


class NameConflictError(SslRegistryError, LookupError):
    """Several plugins offer one name; the qualified name says which is meant."""


class PluginError(SslRegistryError):
    """A plugin could not be used: it failed to import, or what it declares is wrong."""


class ConfigError(SslRegistryError, ValueError):
    """A field is unknown, missing or out of bounds."""


class ImageShapeError(SslRegistryError, ValueError):
    """Images or views have a shape that the task or network cannot work on."""


class ImageTypeError(SslRegistryError, TypeError):
    """Images have a dtype that the task cannot work on."""


class DataError(SslRegistryError, ValueError):
    """A data folder, scan or label map cannot be used."""


class BadFileError(DataError):
    """A file of the data cannot be used; says which, what is wrong with it, and what to do.

    Attributes:
        file: the file.
        problem: what is wrong, beginning with a verb: "holds 3 voxels that are NaN".
        remedy: what to do: "replace it".
        case: name of the case that was read, where one was.
    """

    case: str | None = None

    def __init__(self, file: "Path | str", problem: str, remedy: str) -> None:
        super().__init__(file, problem, remedy)  # as it must be for pickle, between processes
        self.file = file
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{spell(self.file)} {self.problem}: {self.remedy}"


class EncoderFileError(SslRegistryError):
    """A folder holds no encoder, or one that does not fit."""


class ModelFileError(SslRegistryError):
    """A folder holds no fine-tuned model, or one that cannot be used."""


class RunError(SslRegistryError):
    """A run folder is taken, absent, incomplete or of other settings."""


class TakenRunError(RunError):
    """Another process is at work in a run's folder."""


class FailedRunsError(SslRegistryError):
    """Some runs of an experiment failed; the results of the others are there."""


class PluginWarning(UserWarning):
    """A plugin was left out; everything else goes on."""


class ComponentDeprecationWarning(FutureWarning):
    """An old name or field was used; it works until the version that the message names."""


LONGEST = 1000
"""Characters of a name that are shown."""


def spell(name: "Path | str") -> str:
    r"""Return a name as it can be shown on one line, whatever a file may be called.

    Letters of all languages stay; line ends, control characters and bytes that are no text
    are written as in Python (`\n`, `\x1b`), so that a file name cannot steer a terminal.
    What is longer than `LONGEST` lacks its middle.
    """
    text = str(name)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"
    return printable(text)


def printable(text: str) -> str:
    """Return a line whose characters can all be shown; others are written as in Python."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
