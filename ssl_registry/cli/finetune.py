"""`ssl-registry finetune`: from an encoder and a few labels to a score."""

from typing import Annotated

import typer

from ssl_registry.cli.completion import complete_words
from ssl_registry.cli.console import console, mention_failures, resumable
from ssl_registry.cli.overrides import VerifyOption, read_words


def run_finetune(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE.yaml] KEY=VALUE...",
            help="settings: ssl-registry show finetune",
            autocompletion=complete_words,
        ),
    ],
    verify: VerifyOption = False,
) -> None:
    """Fine-tune an encoder on labelled scans and score it on held-out ones.

    `ssl-registry show finetune` lists all settings.

    For instance: ssl-registry finetune encoder=runs/rpl data=Task04_Hippocampus fraction=0.1
    out=runs/rpl-10. Without an encoder it trains from scratch.
    """
    said = read_words(words) | ({"verify": True} if verify else {})
    mention_failures()
    from ssl_registry.training.settings.runs import FinetuneSettings
    from ssl_registry.training.settings.stored import check_call

    check_call(FinetuneSettings, said, "finetune")
    from ssl_registry.distributed import is_main
    from ssl_registry.training.finetuning.finetune import finetune

    with resumable():
        done = finetune(**said)
    headline = done.result["headline"]
    score = done.result["score"][headline]
    tests = done.result["counts"]["test"]
    console(quiet=not is_main()).print(
        f"{headline} {score:.3f} on {tests} test cases; the run is in {done.folder}", soft_wrap=True
    )
