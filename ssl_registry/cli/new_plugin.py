"""`ssl-registry new-plugin NAME`: a package with a component that works, to change into yours."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssl_registry.cli.completion import complete_kinds, complete_styles
from ssl_registry.cli.console import console
from ssl_registry.cli.listing import read_kind
from ssl_registry.entry import Kind
from ssl_registry.errors import ConfigError
from ssl_registry.loading import INTERFACES
from ssl_registry.scaffold.names import derive_names, dims_in_name
from ssl_registry.scaffold.styles import read_style

HERE = Path()


def new_plugin(
    name: Annotated[
        str | None, typer.Argument(help="of the distribution, such as ssl-registry-mirror")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="pretext, backbone or downstream; pretext if not said",
            autocompletion=complete_kinds,
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            help="of a pretext task: question, dense (with a decoder), contrast (with a teacher) "
            "or model (its own forward pass); question if not said",
            autocompletion=complete_styles,
        ),
    ] = None,
    dims: Annotated[
        int | None, typer.Option(help="2 or 3; 3 if neither this nor the name says it")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder in which the package's folder is made")] = HERE,
) -> None:
    """Write a new plugin: a package that can be installed as it is, with tests that pass.

    Asks for what is not said, where there is a terminal. For instance:
    ssl-registry new-plugin ssl-registry-mirror --kind pretext --dims 3
    """
    asking = sys.stdin.isatty()
    if name is None:
        if not asking:
            raise ConfigError(
                "say a name, for instance: ssl-registry new-plugin ssl-registry-mirror"
            )
        name = typer.prompt("name of the distribution", default="ssl-registry-mirror")
    assert name is not None
    chosen = _kind(kind, asking)
    begun = read_style(style, chosen)
    chosen_dims = _dims(dims, name, asking)
    from ssl_registry.scaffold.files import write_plugin

    names = derive_names(name, chosen_dims)
    folder = out / names.distribution
    write_plugin(folder, names, chosen, chosen_dims, begun)
    say = console()
    say.print(f"{folder} offers {names.component}. To install it and to run its tests:")
    say.print(
        f'\n    cd {folder}\n    pip install --editable ".[test]"\n    pytest', soft_wrap=True
    )
    say.print(f"\nThen `ssl-registry list` shows {names.component}.", soft_wrap=True)


def _kind(said: str | None, asking: bool) -> Kind:
    if said is None and asking:
        said = typer.prompt(f"kind ({', '.join(INTERFACES)})", default="pretext")
    return read_kind(said or "pretext")


def _dims(said: int | None, name: str, asking: bool) -> int:
    likely = dims_in_name(name) or 3
    if said is None and asking:
        said = typer.prompt("dimensions (2 or 3)", default=likely, type=int)
    if said not in (None, 2, 3):
        raise ConfigError(f"--dims {said} is neither 2 nor 3")
    return said or likely
