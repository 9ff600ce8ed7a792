"""`ssl-registry pretrain`: an encoder from unlabelled scans."""

from typing import Annotated

import typer

from ssl_registry.cli.completion import complete_words
from ssl_registry.cli.console import console, mention_failures, resumable
from ssl_registry.cli.overrides import VerifyOption, read_words


def run_pretrain(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE.yaml] KEY=VALUE...",
            help="settings: ssl-registry show pretrain",
            autocompletion=complete_words,
        ),
    ],
    verify: VerifyOption = False,
) -> None:
    """Pretrain an encoder on unlabelled scans; `ssl-registry show pretrain` lists all settings.

    For instance: ssl-registry pretrain task=rpl3d backbone=unet3d data=../scans out=runs/rpl
    """
    said = read_words(words) | ({"verify": True} if verify else {})
    mention_failures()
    from ssl_registry.training.settings.runs import PretrainSettings
    from ssl_registry.training.settings.stored import check_call

    check_call(PretrainSettings, said, "pretrain")
    from ssl_registry.distributed import is_main
    from ssl_registry.training.pretraining.pretrain import pretrain

    with resumable():
        done = pretrain(**said)
    values = {name: value for name, value in done.result["metrics"].items() if "_" in name}
    last = ", ".join(
        f"{name} {value:.3f}" for name, value in values.items() if not name.endswith("rate")
    )
    say = console(quiet=not is_main())
    say.print(f"the encoder is in {done.folder} ({last})", soft_wrap=True)
