"""What can go wrong, in words for the person who has to mend it.

Every message says what was wrong, where (file, field, value), and what to do. The
command line prints it without a traceback and exits with status 2.
"""


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


class EncoderFileError(SslRegistryError):
    """A folder holds no encoder, or one that does not fit."""


class RunError(SslRegistryError):
    """A run folder is taken, absent, incomplete or of other settings."""


class PluginWarning(UserWarning):
    """A plugin was left out; everything else goes on."""


class ComponentDeprecationWarning(FutureWarning):
    """An old name or field was met; it works until the version that the message names."""
