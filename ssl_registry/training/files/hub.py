"""Encoders on the Hugging Face Hub: their files and a card that says what they are."""

import json
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ssl_registry.backbone import Encoder
from ssl_registry.data.atomic_files import write_whole
from ssl_registry.data.preparing.sizes import sides_of, spell_sides
from ssl_registry.documents import read_json
from ssl_registry.errors import ConfigError, EncoderFileError
from ssl_registry.training.files.decoder_file import DECODER
from ssl_registry.training.files.encoder_file import load_encoder
from ssl_registry.training.files.encoder_summary import (
    SUMMARY,
    WEIGHTS,
    EncoderSummary,
    read_encoder_summary,
)
from ssl_registry.training.files.seen_cases import handed_on

CARD: Final = "README.md"


def push_to_hub(folder: str | Path, repository: str, *, names: bool = False, **options: Any) -> str:
    """Upload a run's encoder to the Hugging Face Hub; return where it is.

    What it has seen goes along as hashes, so that nobody scores it on that.

    Args:
        folder: of a finished run.
        repository: `"user/name"`.
        names: whether to upload what the cases were called, and which were held out.
        **options: of huggingface_hub's `push_to_hub`: `private`, `token`, `branch`, ...

    Raises:
        EncoderFileError: there is no encoder in the folder.
        ConfigError: huggingface_hub is not installed.
    """
    return str(_shared_encoder()(folder, names).push_to_hub(repository, **options))


def save_for_hub(folder: str | Path, out: str | Path, *, names: bool = False) -> Path:
    """Write to a folder what `push_to_hub` would upload.

    Raises:
        EncoderFileError: there is no encoder in the folder.
        ConfigError: huggingface_hub is not installed.
    """
    _shared_encoder()(folder, names).save_pretrained(out)
    return Path(out)


def from_hub(repository: str | Path, *, in_channels: int | None = None, **options: Any) -> Encoder:
    """Return the encoder in a repository of the Hugging Face Hub, or in a folder like one.

    Nothing is unpickled.

    Args:
        repository: `"user/name"`, or a folder that `save_for_hub` made.
        in_channels: of the images it is for, as in `load_encoder`.
        **options: of huggingface_hub's `from_pretrained`: `revision`, `token`, `cache_dir`, ...

    Raises:
        EncoderFileError: there is no encoder.
        ConfigError: huggingface_hub is not installed.
    """
    shared = _shared_encoder().from_pretrained(repository, **options)
    return load_encoder(shared.folder, in_channels=in_channels)


def _shared_encoder() -> Any:
    """Return the class that joins a run's folder and the Hub's own methods.

    Raises:
        ConfigError: huggingface_hub is not installed.
    """
    if find_spec("huggingface_hub") is None:
        raise ConfigError(
            'sharing encoders takes huggingface_hub: pip install "ssl-registry[hub]" brings it'
        )
    from huggingface_hub import ModelHubMixin, snapshot_download

    class SharedEncoder(ModelHubMixin, library_name="ssl-registry"):
        """The encoder files of a folder."""

        def __init__(self, folder: str | Path, names: bool = False) -> None:
            self.folder = Path(folder).expanduser()
            self.names = names
            self.summary = read_encoder_summary(self.folder)

        def _save_pretrained(self, save_directory: Path) -> None:
            load_encoder(self.folder)  # what is shared can be loaded
            for weights in (WEIGHTS, *([DECODER] if self.summary.decoder else [])):
                copy = partial(shutil.copyfile, self.folder / weights)
                write_whole(save_directory / weights, copy)
            said = _to_hand_on(self.folder / SUMMARY, self.names)
            texts = {SUMMARY: said, CARD: card_of(self.summary)}
            for name, text in texts.items():
                write_whole(save_directory / name, partial(Path.write_text, data=text))

        @classmethod
        def _from_pretrained(cls, *, model_id: str, **options: Any) -> "SharedEncoder":
            folder = Path(model_id)
            if not folder.is_dir():
                known = ("revision", "cache_dir", "force_download", "local_files_only", "token")
                chosen = {name: options[name] for name in known}
                downloaded = snapshot_download(
                    model_id, allow_patterns=[WEIGHTS, DECODER, SUMMARY, CARD], **chosen
                )
                folder = Path(downloaded)
            return cls(folder)

        def generate_model_card(self, *_: Any, **__: Any) -> Any:
            from huggingface_hub import ModelCard

            return ModelCard(card_of(self.summary))

    return SharedEncoder


def _to_hand_on(path: Path, names: bool) -> str:
    """Return `encoder.json` without where the data lay on this machine, and without names."""
    said = read_json(path, EncoderFileError)
    said["data"] = handed_on(said["data"], names=names)
    return json.dumps(said, indent=2) + "\n"


def card_of(summary: EncoderSummary) -> str:
    """Return the page that says what an encoder is and how to load it."""
    task = summary.task["name"] if summary.task else "training with labels"
    backbone = json.dumps(summary.backbone.model_dump(mode="json"))
    name = summary.data.get("name", "unknown data")
    dims = summary.backbone.spatial_dims
    sides = spell_sides(sides_of(summary.size, dims))
    return f"""---
library_name: ssl-registry
tags: [self-supervised-learning, medical-imaging]
---

# Encoder pretrained by {task}

- network: {type(summary.backbone).__name__} {backbone}
- input: {summary.in_channels} channels, {dims}D, {sides} {"voxels" if dims == 3 else "pixels"}
- weights: {summary.what_was_trained}
- learned from: {summary.data.get("cases", "?")} images of {Path(str(name)).name}
- made with: {", ".join(f"{key} {value}" for key, value in summary.versions.items())}

How images have to be prepared stands in `{SUMMARY}` under `preprocessing`.

```python
from ssl_registry import from_hub

encoder = from_hub("USER/NAME")
```
"""
