"""`ssl-registry efficiency`: the data-efficiency experiment in one command."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ssl_registry.cli.console import complain, console, mention_failures
from ssl_registry.cli.overrides import VerifyOption, read_words
from ssl_registry.errors import ConfigError, FailedRunsError

_NEEDS: Final = ("gpus", "cpus", "memory")
"""What a run needs of an engine; `gpus=0.5` says it as `--gpus 0.5` does."""


def run_efficiency_command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE.yaml] KEY=VALUE...", help="settings: ssl-registry show efficiency"
        ),
    ],
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="runs at a time: 1 on this machine; an engine's own choice"),
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", help="an engine that runs them: ray, or slurm")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="of a Ray cluster: auto, or HOST:PORT")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(help="GPUs each run needs of an engine; 0.5 shares one")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(help="cores each run needs of an engine, which are its threads")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="memory each run needs of an engine, such as 16GB")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="limit of a SLURM job: minutes, 12:00:00, 2-00:00:00")
    ] = None,
    partition: Annotated[str | None, typer.Option(help="of SLURM, where jobs queue")] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY[=VALUE]",
            help="what else sbatch is to get, such as account=lab or exclusive",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the grid and what exists; run nothing")
    ] = False,
    verify: VerifyOption = False,
) -> None:
    """Draw the curve of score against labels: pretext tasks against training from scratch.

    `ssl-registry show efficiency` lists all settings.

    For instance: ssl-registry efficiency tasks=[rpl3d,rotation3d] data=Task04_Hippocampus
    out=runs/curve. Stopped, killed or asked for more, the same command runs what is missing.
    With --on, an engine runs them: a Ray cluster, or SLURM.
    """
    said = read_words(words) | ({"verify": True} if verify else {})
    needs = {"gpus": gpus, "cpus": cpus, "memory": memory}
    needs |= {key: said.pop(key) for key in _NEEDS if on is not None and key in said}
    options = {"address": address, "time": time, "partition": partition}
    mention_failures()
    engine = _read_engine(on, {**needs, **options, "parameters": _read_parameters(slurm or [])})
    from ssl_registry.experiments import EfficiencySettings
    from ssl_registry.training.settings.paths import check_places

    if not Path(str(said.get("out", ""))).exists():  # what has begun says itself what it misses
        check_places(said)
    asked = EfficiencySettings.read(**said)
    from ssl_registry.experiments import run_efficiency, show_grid

    if dry_run:
        show_grid(asked, jobs=jobs, on=engine)
        return
    run_and_report(lambda: run_efficiency(asked, jobs=jobs, on=engine), queued=on == "slurm")


def _read_engine(on: str | None, said: dict[str, Any]) -> Any:
    """Return the options of the engine that is asked for.

    Raises:
        ConfigError: there is no such engine, it knows no such option, or there is an option and
            no engine.
    """
    if on is None:
        spare = [key for key, value in said.items() if value]
        if spare:
            option = "slurm" if spare[0] == "parameters" else spare[0]
            raise ConfigError(f"--{option} is for an engine: use --on ray or --on slurm, too")
        return None
    from ssl_registry.experiments.engines.options import read_options

    return read_options(on, **said)


def _read_parameters(words: list[str]) -> dict[str, str | bool]:
    """Return what is handed to `sbatch`; a word alone is a flag, which is true.

    Raises:
        ConfigError: a word has no name, or an empty value.
    """
    pairs = [word.removeprefix("--").partition("=") for word in words]
    for key, equals, value in pairs:
        if not key or (equals and not value):
            raise ConfigError(
                f"--slurm {key}{equals}: write it as KEY=VALUE, such as account=lab, or as KEY "
                "alone, such as exclusive"
            )
    return {key.replace("-", "_"): value if equals else True for key, equals, value in pairs}


def run_and_report(run: Callable[[], Path], *, queued: bool = False) -> None:
    """Run an experiment and say where its report is; 1 if runs failed, 130 if it was stopped.

    Args:
        run: runs it.
        queued: whether its runs go on in somebody else's queue when it is stopped.
    """
    try:
        report = run()
    except FailedRunsError as error:
        complain(str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt as stop:
        complain("stopped; the same command goes on with what is missing")
        if queued:
            complain("jobs that are queued go on: scancel --name ssl-registry ends them")
        raise typer.Exit(130) from stop
    console().print(f"the report is {report}", soft_wrap=True)
