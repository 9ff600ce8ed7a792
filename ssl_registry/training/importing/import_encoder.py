"""Anybody's weights as an encoder folder like any other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_registry.backbone import Backbone, read_backbone
from ssl_registry.documents import brief
from ssl_registry.errors import ConfigError, EncoderFileError, spell
from ssl_registry.foreign_weights import states_in
from ssl_registry.registry import registry
from ssl_registry.training.importing.checkpoint_file import read_checkpoint
from ssl_registry.training.importing.encoder_folder import ImportedEncoder, write_imported
from ssl_registry.training.importing.fitting import SHOWN, Fit, drawn_encoder, fit_weights
from ssl_registry.training.importing.recognition import recognise_weights


def import_encoder(
    file: str | Path,
    out: str | Path,
    *,
    format: str | None = None,  # noqa: A002, the command's own word
    backbone: Backbone | str | Mapping[str, Any] | None = None,
    names: str | Path | Mapping[str, str] | None = None,
    part: str | None = None,
    seen: str | None = None,
    allow_missing: bool = False,
) -> ImportedEncoder:
    """Write anybody's weights as an encoder folder, which everything here takes.

        import_encoder("resnet18.pth", "runs/imagenet", backbone="timm:resnet18",
                       seen="ImageNet-1k")

    What the file holds besides, such as a classifier, is kept beside the encoder: `export_encoder`
    gives the whole network back.

    Args:
        file: `.safetensors`, or a PyTorch file, of which nothing is run.
        out: a new folder: `encoder.safetensors`, `encoder.json`, and `import.csv`, the table of
            what became of each tensor.
        format: whose file it is, where the file does not show it: a name in the
            `weight_formats` of a backbone, or `"state-dict"` for the backbone's own names.
        backbone: the network, where the file does not say it.
        names: a `.json` file `{"name in the file": "name in the network"}`, a `.csv` of two such
            columns, or a mapping; `"order"` takes tensors in their order, if their shapes agree.
        part: which state dict to take, where the file holds several: `"model_ema"`.
        seen: what the weights were trained on, in words, for nothing else says so: with it you
            vouch that they have seen no other images. Without, runs that score them ask.
        allow_missing: take a file that lacks some of the encoder's tensors; these are drawn anew.

    Raises:
        EncoderFileError: the file cannot be read, would run something, is of another network, lacks
            tensors, or holds values that are no numbers. Nothing was written.
        ConfigError: what is said contradicts itself, or `out` exists.
    """
    path, folder = Path(file).expanduser(), Path(out).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"out={folder} exists: name a new folder, so that nothing is lost")
    if seen is not None and not (isinstance(seen, str) and seen.strip()):
        raise ConfigError(
            f"seen={brief(seen)}: say in words what the weights were trained on, or leave it out"
        )
    content = _part_of(read_checkpoint(path), part, path)
    chosen = None if backbone is None else read_backbone(backbone)
    structure, weights = recognise_weights(content, format, chosen, names, path)
    fit = fit_weights(weights, lambda channels: drawn_encoder(structure, channels), spell(path))
    missing = fit.names("missing")
    if missing and not allow_missing:
        raise EncoderFileError(
            f"{spell(path)} lacks {len(missing)} of the {_own(fit)} tensors of "
            f"{registry.spec_of(structure)['name']} ({', '.join(missing[:SHOWN])}"
            f"{', ...' if len(missing) > SHOWN else ''}); {len(fit.names('fitted'))} fit and "
            f"{len(fit.names('left'))} are left over: is it another network? --allow-missing "
            "(allow_missing=True) draws them anew"
        )
    return write_imported(folder, path, structure, weights, fit, seen)


def _own(fit: Fit) -> int:
    return sum(bool(row.encoder) for row in fit.rows)


def _part_of(content: Mapping[str, Any], part: str | None, path: Path) -> Mapping[str, Any]:
    """Return the state dict that was asked for, or all that the file holds.

    Raises:
        ConfigError: there is none of that name.
    """
    if part is None:
        return content
    found = states_in(content)
    if part not in found:
        raise ConfigError(
            f"part={part}: {spell(path)} holds {', '.join(map(spell, found)) or 'no state dict'}"
        )
    return found[part]
