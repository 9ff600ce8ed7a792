"""What a fine-tuning run says of itself before it begins."""

from rich.console import Console

from ssl_registry.data.checks.classes import count_classes
from ssl_registry.registry import registry
from ssl_registry.training.engine.batches import say_batch
from ssl_registry.training.engine.trained import parameters_of
from ssl_registry.training.files.seen_cases import declared_in
from ssl_registry.training.finetuning.decoder_transfer import spell_takeover
from ssl_registry.training.finetuning.downstream_model import Finetuning
from ssl_registry.training.finetuning.plan import Plan
from ssl_registry.training.settings.lengths import spell_length


def announce_finetuning(plan: Plan, module: Finetuning, console: Console) -> None:
    """Print what is trained, from where, on how many labels, and for how long."""
    settings, model = plan.settings, module.model
    _say_encoder(plan, model.encoder.in_channels, console)
    _say_classes(plan, console)
    console.print(
        f"{registry.entry_of(settings.downstream).name} with "
        f"{registry.entry_of(plan.backbone).name} ({parameters_of(model):,} parameters) "
        f"{_spell_origin(plan, module)}: {plan.describe_labels()}, "
        f"{spell_length(settings.epochs, settings.steps)} in batches of {say_batch(settings)}, "
        f"augmentation {settings.augment.spell()}, seed {settings.seed}; tested on "
        f"{len(plan.test)} others"
    )


def _spell_origin(plan: Plan, module: Finetuning) -> str:
    """Return in words what the run starts from."""
    settings = plan.settings
    start = f"from {settings.encoder}" if settings.encoder else "from scratch"
    start += spell_takeover(plan.summary, module.takeover)
    if settings.transfer_levels is not None:
        levels = len(module.model.encoder.channels)
        start += f" (the {settings.transfer_levels} finest of its {levels} levels)"
    return start


def _say_encoder(plan: Plan, channels: int, console: Console) -> None:
    """Say what of the encoder's file differs from this run, and what it declares to have seen."""
    settings, summary = plan.settings, plan.summary
    if summary is None:
        return
    if summary.in_channels != channels:
        console.print(
            f"the encoder in {settings.encoder} takes {summary.in_channels} channels, the "
            f"images have {channels}: its first convolution was converted (see load_encoder)"
        )
    if declared := declared_in(summary.data):
        console.print(f"the weights in {settings.encoder} have seen, as declared, {declared}")
    if settings.preprocessing is not None:
        for difference in summary.image_recipe.differences(settings.preprocessing):
            console.print(f"the encoder in {settings.encoder} {difference}")


def _say_classes(plan: Plan, console: Console) -> None:
    """Say how many images each class has, and what follows where it has none."""
    train, test = ([one.case for one in cases] for cases in (plan.train, plan.test))
    counted = count_classes(plan.source, train, test)
    if plan.source.graded:
        each = (
            f"{name}: {counted.train[k]}, {counted.test[k]}" for k, name in counted.names.items()
        )
        console.print(f"classes (training, test): {', '.join(each)}")
    for sentence in counted.sentences():
        console.print(sentence, markup=False)
