"""What a pretraining run says of itself before it begins."""

from rich.console import Console

from ssl_registry.backbone import whole_encoder
from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.preparing.sizes import spell_sides
from ssl_registry.downstream import Takeover
from ssl_registry.pretext_model import PretextModel
from ssl_registry.registry import registry
from ssl_registry.training.engine.batches import say_batch
from ssl_registry.training.engine.trained import parameters_of
from ssl_registry.training.files.encoder_summary import EncoderSummary
from ssl_registry.training.pretraining.continuation import spell_start
from ssl_registry.training.settings.lengths import spell_length
from ssl_registry.training.settings.runs import PretrainSettings


def _say_images(cases: list[Prepared]) -> str:
    if not cases[0].sliced:
        return f"{len(cases)} images"
    return f"{sum(case.shape[0] for case in cases)} slices of {len(cases)} volumes"


def _say_patches(settings: PretrainSettings) -> str:
    if not settings.patches:
        return ""
    return f", {settings.patches} patches of {spell_sides(settings.image_shape)} each"


def _say_levels(settings: PretrainSettings, model: PretextModel) -> str:
    if settings.levels is None:
        return ""
    levels = len(whole_encoder(model.encoder).channels)
    return f"the {settings.levels} finest of the {levels} levels of "


def say_differences(
    settings: PretrainSettings, before: EncoderSummary | None, console: Console
) -> None:
    """Print in what images are prepared unlike those of the encoder that a run goes on from."""
    if before is None:
        return
    for difference in before.image_recipe.differences(settings.preprocessing):
        console.print(f"the encoder in {settings.encoder} {difference}")


def announce(
    settings: PretrainSettings,
    model: PretextModel,
    cases: tuple[list[Prepared], list[Prepared]],
    tests: int,
    console: Console,
    taken: Takeover | None,
) -> None:
    """Print what is trained, on how many images, for how long."""
    training, validation = cases
    backbone, task = registry.entry_of(settings.backbone), registry.entry_of(settings.task)
    console.print(
        f"pretraining {_say_levels(settings, model)}{backbone.name} "
        f"({parameters_of(model.encoder):,} parameters) by "
        f"{task.name}: {_say_images(training)}{_say_patches(settings)}, "
        f"{spell_length(settings.epochs, settings.steps)} in batches of {say_batch(settings)}, "
        f"seed {settings.seed}"
        f"{spell_start(settings, taken)}"
    )
    if tests:
        console.print(
            f"{len(validation)} images are kept for validation, and {tests} for tests of "
            "fine-tuning"
        )
