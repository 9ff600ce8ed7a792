"""The moment between the last check and the first step of a run."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import lightning as L
import yaml
from rich.console import Console
from torch.utils.data import Dataset

from ssl_registry.training.engine.arrangement import arrange_step, lay_out_channels
from ssl_registry.training.engine.batches import example_batch
from ssl_registry.training.engine.devices import choose_strategy, launch, on_main
from ssl_registry.training.engine.precision import choose_precision
from ssl_registry.training.engine.trained import Trained
from ssl_registry.training.files.case_table import CaseRow, as_text
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.origins import LABEL_NAMES, STARTED_FROM
from ssl_registry.training.settings.runs import RunSettings


def start(
    settings: RunSettings,
    folder: RunFolder,
    model: Trained,
    data: Dataset[Any],
    cases: Sequence[CaseRow],
    console: Console,
    *,
    started_from: str | None = None,
    labels: Mapping[int, str] = MappingProxyType({}),
) -> L.Fabric:
    """Arrange the model's step, choose the precision, start the processes, write how it begins.

    That is `cases.csv` and `config.yaml`, which names the digest of the encoder, too, that the
    run starts from, and the labels that it learns.

    Everything before is done by each process and writes nothing; from here on there is one
    that writes.

    Raises:
        ConfigError: the precision or the arrangement asked for cannot be used.
        RunError: the folder cannot be written to.
    """
    batch = example_batch(data, settings.batch_size)
    lay_out_channels(model, batch, settings)
    choice = choose_precision(settings, folder, model, batch)
    model.precision = choice.precision
    console.print(f"precision {choice.precision}: {choice.why}")
    strategy = choose_strategy(settings, model, batch)
    arrange_step(model, batch, settings, console)
    chosen = settings.model_copy(update={"precision": choice.precision})
    fabric = launch(chosen.model_copy(update={"strategy": strategy}))
    config = chosen.as_yaml()
    if started_from is not None:
        config += f"{STARTED_FROM}: {started_from}\n"
    if labels:
        named = {LABEL_NAMES: {str(value): name for value, name in labels.items()}}
        config += yaml.safe_dump(named, sort_keys=False)
    on_main(lambda: folder.begin(config, as_text(cases)))
    return fabric
