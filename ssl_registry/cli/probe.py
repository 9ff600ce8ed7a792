"""`ssl-registry probe`: how much of a downstream task an encoder's features can do as they are."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_registry.cli.completion import complete_words
from ssl_registry.cli.console import console, mention_failures
from ssl_registry.cli.overrides import read_words
from ssl_registry.errors import ConfigError


def run_probe(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE.yaml] KEY=VALUE...",
            help="settings: ssl-registry show finetune; out=FILE.json keeps the scores",
            autocompletion=complete_words,
        ),
    ],
) -> None:
    """Score frozen features by a linear probe and by nearest neighbours, in seconds.

    For instance: ssl-registry probe encoder=runs/rpl data=Task04_Hippocampus fraction=0.1

    Beside them stand the scores of a random encoder of the same network, which the features of a
    pretrained one have to beat.
    """
    said = read_words(words)
    out = said.pop("out", None)
    file = None if out is None else _new_file(str(out))
    mention_failures()
    from ssl_registry.experiments.probes.probing import NOWHERE, probe
    from ssl_registry.training.settings.runs import FinetuneSettings
    from ssl_registry.training.settings.stored import check_call

    check_call(FinetuneSettings, {**said, "out": str(NOWHERE)}, "probe")
    say = console()
    scores: dict[str, dict[str, float]] = {}
    if said.get("encoder"):
        scores["encoder"] = probe(quiet=False, **said)
    scores["random"] = probe(**_random(said))
    for name, found in scores.items():
        what = f"the encoder in {said['encoder']}" if name == "encoder" else "a random encoder"
        say.print(
            f"{what}: linear probe {found['linear_probe']:.3f}, nearest neighbours "
            f"{found['knn_probe']:.3f}",
            soft_wrap=True,
        )
    if file is not None:
        from ssl_registry.data.atomic_files import write_whole

        text = json.dumps(scores, indent=2) + "\n"
        write_whole(file, lambda beside: beside.write_text(text, encoding="utf-8"))
        say.print(f"wrote {file}", soft_wrap=True)


def _new_file(out: str) -> Path:
    path = Path(out).expanduser()
    if path.suffix != ".json":
        raise ConfigError(f"out={out}: name a .json file for the scores, or leave it out")
    if path.exists():
        raise ConfigError(f"out={out} exists: name another file, so that nothing is lost")
    return path


def _random(said: dict[str, Any]) -> dict[str, Any]:
    """Return the same settings for a random encoder of the same network and images."""
    from ssl_registry.registry import registry
    from ssl_registry.training.files.encoder_summary import read_encoder_summary

    if not said.get("encoder"):
        return said
    summary = read_encoder_summary(said["encoder"])
    taken = ("encoder", "transfer", "transfer_levels", "assume_unseen")
    rest = {key: value for key, value in said.items() if key not in taken}
    own: dict[str, Any] = {"size": summary.size, "preprocessing": summary.preprocessing}
    if "size" not in said:
        own["patches"] = summary.patches
    read_as = {key: value for key, value in summary.read_as.model_dump().items() if value}
    if summary.backbone.spatial_dims == 3:
        read_as.pop("slices", None)
    return {"backbone": registry.spec_of(summary.backbone), **own, **read_as, **rest}
