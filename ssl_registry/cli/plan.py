"""`ssl-registry plan DATA`: settings for a data set and a machine, as a file with reasons."""

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from ssl_registry.cli.console import console, mention
from ssl_registry.cli.overrides import read_words
from ssl_registry.errors import ConfigError


def run_plan(
    data: Annotated[str, typer.Argument(help="what data=... may name")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="how the data are read, such as slices=thick: ssl-registry show pretrain",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="the YAML file to write")] = Path("plan.yaml"),
    dims: Annotated[
        int | None, typer.Option(min=2, max=3, help="2 for pictures, 3 for volumes")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="of the machine that it is for, such as 24GB")
    ] = None,
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--cpu", help="what that machine trains on")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace a file that is there already")
    ] = False,
) -> None:
    """Look at data and write settings for pretrain, finetune and efficiency, with the reasons.

    For instance: ssl-registry plan Task04_Hippocampus --out plan.yaml, and then
    ssl-registry pretrain plan.yaml task=rpl3d out=runs/rpl
    """
    settings = read_words(words or [])
    if "data" in settings:
        raise ConfigError(f"data={settings['data']}: the data are named already, {data}")
    from ssl_registry.training.planning.call import check_new_file, read_memory
    from ssl_registry.training.settings.data_settings import DataSettings
    from ssl_registry.training.settings.stored import check_call

    check_new_file(out.expanduser(), overwrite)
    if memory is not None:
        read_memory(memory)
    check_call(DataSettings, {"data": data, **settings}, "plan")
    from ssl_registry.training.planning.machine import read_machine
    from ssl_registry.training.planning.plan_file import write_plan

    plan = write_plan(
        out,
        data,
        cast(Literal[2, 3] | None, dims),
        machine=read_machine(memory, gpu),
        overwrite=overwrite,
        **settings,
    )
    for warning in plan.warnings:
        mention(warning)
    shown = {name: planned.value for name, planned in plan.shared.items()}
    console().print(f"wrote {out}: size {shown['size']}, batches of {shown['batch_size']}")
