"""The network that fine-tuning starts from: an encoder, pretrained or not, and a new head."""

import statistics

import torch

from ssl_registry.backbone import Encoder, check_encoder
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.files.encoder_file import load_encoder
from ssl_registry.training.finetuning.decoder_transfer import take_over_decoder
from ssl_registry.training.finetuning.downstream_model import (
    DownstreamModel,
    Finetuning,
    build_checked_head,
)
from ssl_registry.training.finetuning.level_transfer import take_over
from ssl_registry.training.finetuning.plan import Plan


def build_encoder(plan: Plan) -> tuple[Encoder, frozenset[str] | None]:
    """Return the encoder that a run starts from: pretrained, or drawn from the run's seed.

    With it come the names of the parameters that were pretrained, or None for all or none of
    them. Levels that begin anew have the weights that training from scratch begins with.

    Raises:
        EncoderFileError: the encoder cannot be loaded.
        ConfigError: it has fewer levels than are to be taken over.
    """
    settings, channels = plan.settings, plan.train[0].channels
    if settings.encoder is None:
        return _fresh_encoder(plan), None
    encoder = load_encoder(settings.encoder, in_channels=channels)
    if settings.transfer_levels is None:
        return encoder, None
    image = torch.zeros(1, channels, *settings.image_shape)
    return encoder, take_over(encoder, _fresh_encoder(plan), settings.transfer_levels, image)


def _fresh_encoder(plan: Plan) -> Encoder:
    with lend_to_torch(derive_generator(plan.settings.seed, "finetune", "encoder")):
        return plan.backbone.build(plan.train[0].channels)


def build_finetuning(plan: Plan) -> Finetuning:
    """Return the network in training: encoder and head, with the decoder that is taken over.

    Raises:
        EncoderFileError, ConfigError: as for `build_encoder`; or nothing of a decoder fits that
            is asked for.
    """
    settings = plan.settings
    encoder, kept = build_encoder(plan)
    check_encoder(encoder, plan.backbone.spatial_dims)
    # The head starts from the same weights whether the encoder is pretrained or not.
    with lend_to_torch(derive_generator(settings.seed, "finetune", "head")):
        head = build_checked_head(settings.downstream, encoder, len(plan.source.labels))
    takeover = take_over_decoder(settings, plan.summary, head)
    model = DownstreamModel(encoder, head).train()
    spacing = _median_spacing(plan)
    values = plan.label_values
    return Finetuning(model, settings.downstream, settings, kept, spacing, takeover, values)


def _median_spacing(plan: Plan) -> tuple[float, ...] | None:
    """Return the spacing in mm of the prepared training volumes, or of their slices, by axis."""
    seen = [case.slices[0] if case.sliced else case for case in plan.train]
    spacings = [case.spacing for case in seen if case.spacing is not None]
    return tuple(map(statistics.median, zip(*spacings, strict=True))) or None
