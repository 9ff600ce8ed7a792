"""`methods`: what a run did, as a paragraph and a table for a paper's supplement."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssl_registry.description import cited_in
from ssl_registry.errors import RunError, SslRegistryError
from ssl_registry.registry import registry
from ssl_registry.training.files.encoder_summary import SUMMARY, read_encoder_summary
from ssl_registry.training.files.image_recipe import ImageRecipe
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.run_result import read_result
from ssl_registry.training.settings.lengths import spell_length
from ssl_registry.training.settings.optimisation import decay_of

ROLES: Final = ("task", "downstream", "backbone")
"""Settings that are components, whose sources are cited."""

LIBRARIES: Final[Mapping[str, str]] = {
    "PyTorch": "Paszke et al., PyTorch: An Imperative Style, High-Performance Deep Learning "
    "Library, NeurIPS 2019",
    "TorchIO": "Pérez-García et al., TorchIO, Computer Methods and Programs in Biomedicine 208, "
    "2021 (doi:10.1016/j.cmpb.2021.106236)",
}

LEFT_OUT: Final = {
    "out", "resume", "logger", "checkpoint_minutes", "workers", "verify", "distributions",
    "started_from",
}  # fmt: skip
"""Settings that do not change what was computed."""


@dataclass(frozen=True)
class Methods:
    """What a run did, in words for a paper.

    Attributes:
        paragraph: for the section on methods.
        settings: all that decide about the result, by dotted name.
        references: of what was used.
    """

    paragraph: str
    settings: Mapping[str, str]
    references: tuple[str, ...]

    def as_markdown(self) -> str:
        """Return all of it."""
        rows = [f"| `{name}` | {value} |" for name, value in self.settings.items()]
        cited = [f"{number}. {text}" for number, text in enumerate(self.references, start=1)]
        table = ["| setting | value |", "| --- | --- |", *rows]
        return "\n".join([self.paragraph, "", *table, "", "References", "", *cited, ""])


def methods(run: str | Path) -> Methods:
    """Return what a finished run did, for the supplement of a paper.

        print(methods("runs/rpl-10").as_markdown())

    Args:
        run: folder of a finished run of pretraining or fine-tuning.

    Raises:
        RunError: it holds no finished run.
    """
    folder = Path(run).expanduser()
    result = read_result(folder)
    if result is None:
        raise RunError(f"{folder} holds no finished run: name the folder of one")
    said = _with_network(RunFolder(folder).settings(), folder)
    kind = result.get("kind")
    if kind not in ("pretrain", "finetune"):
        raise RunError(f"{folder} holds a result of another kind: {kind}")
    describe_training = _pretraining if kind == "pretrain" else _finetuning
    sentences = [
        *describe_training(said, result), *_origins(folder), *_optimisation(said), *_images(folder),
        _versions(result),
    ]  # fmt: skip
    names = [said[role]["name"] for role in ROLES if isinstance(said.get(role), Mapping)]
    cited = [text for name in names if (text := _reference(name))]
    references = [*dict.fromkeys(cited), *LIBRARIES.values()]
    settings = dict(_flat({key: value for key, value in said.items() if key not in LEFT_OUT}))
    return Methods(" ".join(sentences), settings, tuple(references))


def _with_network(said: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Return settings with the network; one that an encoder brought is in the run's own file."""
    if said.get("backbone") or not (folder / SUMMARY).is_file():
        return said
    return {**said, "backbone": registry.spec_of(read_encoder_summary(folder).backbone)}


def _pretraining(said: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
    cases = result["cases"]
    start = f", starting from the encoder in {said['encoder']}" if said.get("encoder") else ""
    yield (
        f"An encoder, {_spell(said['backbone'])}, was pretrained on {cases['train']} images "
        f"without labels by the pretext task {_spell(said['task'])}{start}, for "
        f"{spell_length(said['epochs'], said.get('steps'))} in batches of "
        f"{said['batch_size']} (seed {said['seed']})."
    )
    if cases["validation"]:
        yield f"{cases['validation']} images were held out to see whether the task was learnt."


def _finetuning(said: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
    counts, labelled = result["counts"], result["labelled"]
    start = f"started from the encoder in {said['encoder']}" if said.get("encoder") else (
        "was trained from random weights"
    )  # fmt: skip
    network = f", with the encoder {_spell(said['backbone'])}," if said.get("backbone") else ""
    yield (
        f"A network for {_spell(said['downstream'])}{network} {start}, on {counts['train']} "
        f"labelled cases ({labelled['used']} of {labelled['available']} {labelled['unit']}), for "
        f"{spell_length(said['epochs'], said.get('steps'))} in batches of "
        f"{said['batch_size']} (seed {said['seed']})."
    )
    chosen = result["selected"]
    yield f"Tested were the weights of epoch {chosen['epoch']}: {chosen['why']}."
    headline = result["headline"]
    score = result["score"][headline]
    figure = "undefined" if score is None else f"{score:.3f}"
    patients = len(set(result["patients"].values()))
    yield f"On {counts['test']} test cases of {patients} patients the {headline} is {figure}."


def _origins(folder: Path) -> Iterator[str]:
    """Yield what lies behind the encoder that a run began from, where the run kept its own."""
    if not (folder / SUMMARY).is_file():
        return
    summary = read_encoder_summary(folder)
    for one in summary.history:
        task, imported = one.get("task"), one.get("imported")
        if isinstance(imported, Mapping):
            yield (
                f"Weights were imported from {imported.get('file')} (format "
                f"{imported.get('format')}, SHA-256 {str(imported.get('sha256'))[:12]}...)."
            )
        elif isinstance(task, Mapping) and "name" in task:
            yield f"That encoder was pretrained by {_spell(task)} on {one.get('data')}."
    if declared := summary.data.get("declared"):
        yield f"What the imported weights were trained on is declared as: {declared}."


def _optimisation(said: Mapping[str, Any]) -> Iterator[str]:
    pull = decay_of(said["optimizer"], said["weight_decay"])
    decay = f", weight decay {pull:g}" if pull else ""
    warm = f", after a warm-up over {said['warmup']:.0%} of the steps" if said.get("warmup") else ""
    yield (
        f"Optimisation was by {said['optimizer']} with a learning rate of {said['learning_rate']:g}"
        f" (schedule {said['schedule']}{warm}{decay}), in {said['precision']} precision."
    )


def _images(folder: Path) -> Iterator[str]:
    """Yield how images were prepared, where the run kept its encoder."""
    if not (folder / SUMMARY).is_file():
        return
    recipe: ImageRecipe = read_encoder_summary(folder).image_recipe
    yield f"Images were prepared in this order: {'; '.join(recipe.steps())}."


def _versions(result: Mapping[str, Any]) -> str:
    packages = ", ".join(
        f"{name} {version}".strip() for name, version in result["versions"].items()
    )
    return f"Made with {packages}."


def _spell(spec: Mapping[str, Any]) -> str:
    said = {name: value for name, value in spec.items() if name != "name" and value is not None}
    fields = ", ".join(f"{name} {value}" for name, value in said.items())
    return f"{spec['name']} ({fields})" if fields else str(spec["name"])


def _reference(name: str) -> str:
    """Return what the source of a component is; nothing where it is not installed any more."""
    try:
        return cited_in(registry.get(name).__doc__ or "")
    except SslRegistryError:
        return ""


def _flat(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{name}.")
        elif value is not None:
            yield f"{where}{name}", str(value).replace("|", "\\|")
