"""The command line.

`ssl-registry list` is what people look at first and most often. It takes no option, so it need not
wait for the parser of the others, whose types load pydantic: that took longer than the list.
"""

import sys
import warnings
from typing import Any

from ssl_registry.errors import ComponentDeprecationWarning, PluginWarning, SslRegistryError


def main() -> None:
    """Run the command line; what the user can fix is one message, with status 2."""
    warnings.filterwarnings("ignore", category=PluginWarning)  # the commands say it themselves
    warnings.showwarning = _show_warning
    try:
        _run(sys.argv[1:])
    except SslRegistryError as error:
        from ssl_registry.cli.console import complain

        complain(str(error))
        sys.exit(2)


def _run(words: list[str]) -> None:
    if words == ["list"]:
        from ssl_registry.cli.component_table import print_components

        print_components()
    else:
        from ssl_registry.cli.app import app

        app()


_show_as_python_does = warnings.showwarning


def _show_warning(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
    """Say what is old in one line, without the place in the code that a user did not write."""
    from ssl_registry.cli.console import mention
    from ssl_registry.terminal import harmless

    if issubclass(category, ComponentDeprecationWarning):
        mention(str(message))
    else:
        _show_as_python_does(harmless(str(message)), category, *place, **more)
