"""Which weights of a pretrained decoder a downstream head starts from."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ssl_registry.authors_errors import blame, spell_component
from ssl_registry.downstream import PAGE, DownstreamTask, Takeover
from ssl_registry.errors import ConfigError, PluginError
from ssl_registry.registry import registry
from ssl_registry.training.files.decoder_file import read_decoder
from ssl_registry.training.files.encoder_summary import EncoderSummary, encoder_folder
from ssl_registry.training.settings.runs import FinetuneSettings


def check_transfer(settings: FinetuneSettings, summary: EncoderSummary | None) -> None:
    """See that there is what `transfer` asks for.

    Raises:
        ConfigError: there is no decoder beside the encoder.
    """
    if settings.transfer == "all" and summary is not None and summary.decoder is None:
        task = summary.task["name"] if summary.task else "training with labels"
        raise ConfigError(
            f"transfer=all: no decoder was kept in {settings.encoder}, for {task} trains none; set "
            "transfer=encoder, or pretrain by a task with a decoder"
        )


def take_over_decoder(
    settings: FinetuneSettings, summary: EncoderSummary | None, head: nn.Module
) -> Takeover | None:
    """Give a downstream head the weights of the decoder that was kept, in place.

    Returns:
        What was taken; None where nothing is to be taken, or nothing fits and nobody asked.

    Raises:
        EncoderFileError: the decoder cannot be read.
        PluginError: the task's `take_over` fails, or does not say what it took.
        ConfigError: it was asked for, and nothing of it fits.
    """
    if summary is None or summary.decoder is None or settings.transfer == "encoder":
        return None
    assert settings.encoder is not None
    weights = read_decoder(encoder_folder(settings.encoder), summary.decoder)
    task = settings.downstream
    with blame(task, "take_over", page=PAGE):
        taken: object = task.take_over(head, weights, settings.transfer_levels)
    taken = _check_takeover(task, taken, head)
    if taken.taken:
        return taken
    if settings.transfer == "all":
        name = registry.entry_of(task).name
        raise ConfigError(
            f"transfer=all: nothing of the decoder in {settings.encoder} fits the head of {name}: "
            "set transfer=encoder"
        )
    return None


def _check_takeover(task: DownstreamTask, taken: object, head: nn.Module) -> Takeover:
    """Return what a task says that it took over, once the head has what it names."""
    if not isinstance(taken, Takeover):
        raise PluginError(
            f"{spell_component(task)}: take_over returned a {type(taken).__name__}; it has to say "
            "what it took, as DownstreamTask.take_over does: return what "
            f"super().take_over(head, weights, levels) returned; see {PAGE}"
        )
    if strange := sorted(set(taken.taken) - set(head.state_dict())):
        raise PluginError(
            f"{spell_component(task)}: take_over says that it took {strange[0]!r}, which the head "
            f"does not have: name weights as the head's state_dict() does; see {PAGE}"
        )
    return taken


def spell_takeover(summary: EncoderSummary | None, taken: Takeover | None) -> str:
    """Return in words what of a kept decoder is used; nothing where none was kept."""
    if summary is None or summary.decoder is None:
        return ""
    if taken is None:
        return ", its encoder alone"
    fresh = f" ({len(taken.fresh)} begin anew)" if taken.fresh else ""
    left = f", {len(taken.left)} of the pretrained ones find no place" if taken.left else ""
    return f", its encoder and {len(taken.taken)} weights of its decoder{fresh}{left}"


def takeover_as_json(taken: Takeover | None) -> Mapping[str, Any] | None:
    """Return what `result.json` says of it."""
    if taken is None:
        return None
    return {name: sorted(names) for name, names in taken._asdict().items()}
