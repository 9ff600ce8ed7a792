"""The command line, one module a command.

What a command needs is imported when it runs: `ssl-registry list` must not wait for torch.
"""

import sys
import warnings

import typer

from ssl_registry.cli import (
    cache,
    demo,
    export,
    finetune,
    listing,
    plugins,
    pretrain,
    preview,
    show,
)
from ssl_registry.cli.console import complain
from ssl_registry.errors import PluginWarning, SslRegistryError

app = typer.Typer(
    name="ssl-registry",
    help="Self-supervised pretext tasks for medical images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(listing.list_components)
app.command("show")(show.show_component)
app.command("plugins")(plugins.list_plugins)
app.command("pretrain")(pretrain.run_pretrain)
app.command("finetune")(finetune.run_finetune)
app.command("export")(export.run_export)
app.command("demo")(demo.run_demo_command)
app.command("preview")(preview.run_preview)
app.add_typer(cache.app, name="cache")


def main() -> None:
    """Run the command line; what the user can mend is told in one message, with status 2."""
    warnings.filterwarnings("ignore", category=PluginWarning)  # the commands say it themselves
    try:
        app()
    except SslRegistryError as error:
        complain(str(error))
        sys.exit(2)
