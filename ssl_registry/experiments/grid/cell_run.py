"""One run of the grid: started, resumed, or left as it is."""

import json
import math
from pathlib import Path
from typing import Final

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.documents import read_json
from ssl_registry.errors import RunError, SslRegistryError
from ssl_registry.experiments.probes.probing import probe
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.run_result import read_result
from ssl_registry.training.finetuning.finetune import finetune
from ssl_registry.training.pretraining.pretrain import pretrain
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings

PROBES: Final = "probes.json"
"""Beside a fine-tuning run's own files: the scores of the features that it started from."""


def run_cell(settings: PretrainSettings | FinetuneSettings, *, probes: bool = False) -> None:
    """Bring a run to its end: start it, or resume it where it was started; a result stays.

    Args:
        settings: of the run.
        probes: whether to probe the encoder, too, that a fine-tuning run starts from.
    """
    if read_result(settings.out) is None:
        settings = settings.model_copy(update={"resume": RunFolder(settings.out).started})
        if isinstance(settings, PretrainSettings):
            pretrain(settings, quiet=True)
        else:
            finetune(settings, quiet=True)
    if probes and isinstance(settings, FinetuneSettings) and read_probes(settings.out) is None:
        scores = probe(settings)
        said = {name: None if math.isnan(score) else score for name, score in scores.items()}
        text = json.dumps(said, indent=2) + "\n"
        write_whole(settings.out / PROBES, lambda path: path.write_text(text, encoding="utf-8"))


def read_probes(folder: Path) -> dict[str, float | None] | None:
    """Return the probes' scores in a run's folder; None where they were not taken."""
    path = folder / PROBES
    if not path.is_file():
        return None
    said: dict[str, float | None] = read_json(path, RunError)
    return said


def in_words(error: Exception) -> str:
    """Return what went wrong, in one line."""
    words = " ".join(str(error).split())
    return words if isinstance(error, SslRegistryError) else f"{type(error).__name__}: {words}"
