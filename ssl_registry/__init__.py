"""Self-supervised pretext tasks for medical images, found by name.

    from ssl_registry import registry

    task = registry.create("rpl3d", jitter=3)

Public names are loaded on first use (PEP 562), so that `import ssl_registry` costs
neither torch nor pydantic. Only `registry` is there at once: it shares its name with its
module, which Python would otherwise put in its place.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_registry.registry import registry as registry

if TYPE_CHECKING:
    from ssl_registry.backbone import Backbone as Backbone
    from ssl_registry.backbone import Encoder as Encoder
    from ssl_registry.component import Component as Component
    from ssl_registry.deprecation import RemovedField as RemovedField
    from ssl_registry.deprecation import RenamedField as RenamedField
    from ssl_registry.downstream import DownstreamTask as DownstreamTask
    from ssl_registry.entry import API_VERSION as API_VERSION
    from ssl_registry.entry import Entry as Entry
    from ssl_registry.entry import FormerName as FormerName
    from ssl_registry.experiments.embedding.embed import embed as embed
    from ssl_registry.experiments.evaluation.evaluate import evaluate as evaluate
    from ssl_registry.experiments.methods import methods as methods
    from ssl_registry.experiments.probes.probing import probe as probe
    from ssl_registry.foreign_weights import ForeignWeights as ForeignWeights
    from ssl_registry.foreign_weights import LibraryWeights as LibraryWeights
    from ssl_registry.hookspecs import hookimpl as hookimpl
    from ssl_registry.parameter_groups import ParameterGroup as ParameterGroup
    from ssl_registry.pretext import Chance as Chance
    from ssl_registry.pretext import PretextBatch as PretextBatch
    from ssl_registry.pretext import PretextTask as PretextTask
    from ssl_registry.pretext import Question as Question
    from ssl_registry.pretext_model import CaseInfo as CaseInfo
    from ssl_registry.pretext_model import Moment as Moment
    from ssl_registry.pretext_model import PretextModel as PretextModel
    from ssl_registry.question_model import QuestionModel as QuestionModel
    from ssl_registry.randomness import derive_generator as derive_generator
    from ssl_registry.training.files.encoder_file import load_encoder as load_encoder
    from ssl_registry.training.files.export import export_encoder as export_encoder
    from ssl_registry.training.files.hub import from_hub as from_hub
    from ssl_registry.training.files.hub import push_to_hub as push_to_hub
    from ssl_registry.training.files.hub import save_for_hub as save_for_hub
    from ssl_registry.training.finetuning.finetune import finetune as finetune
    from ssl_registry.training.graph_export import export_graph as export_graph
    from ssl_registry.training.image_file import prepare_image as prepare_image
    from ssl_registry.training.importing.import_encoder import import_encoder as import_encoder
    from ssl_registry.training.own_loop import open_images as open_images
    from ssl_registry.training.own_loop import save_encoder as save_encoder
    from ssl_registry.training.prediction import predict as predict
    from ssl_registry.training.pretraining.pretrain import pretrain as pretrain
    from ssl_registry.trees import Tree as Tree
    from ssl_registry.wrapped_encoder import wrap_encoder as wrap_encoder

__version__ = "0.1.0"

_HOMES = {
    "API_VERSION": "entry",
    "Backbone": "backbone",
    "CaseInfo": "pretext_model",
    "Chance": "pretext",
    "Component": "component",
    "DownstreamTask": "downstream",
    "Encoder": "backbone",
    "Entry": "entry",
    "ForeignWeights": "foreign_weights",
    "FormerName": "entry",
    "LibraryWeights": "foreign_weights",
    "Moment": "pretext_model",
    "ParameterGroup": "parameter_groups",
    "PretextBatch": "pretext",
    "PretextModel": "pretext_model",
    "PretextTask": "pretext",
    "Question": "pretext",
    "QuestionModel": "question_model",
    "RemovedField": "deprecation",
    "RenamedField": "deprecation",
    "Tree": "trees",
    "derive_generator": "randomness",
    "embed": "experiments.embedding.embed",
    "evaluate": "experiments.evaluation.evaluate",
    "export_encoder": "training.files.export",
    "export_graph": "training.graph_export",
    "finetune": "training.finetuning.finetune",
    "from_hub": "training.files.hub",
    "hookimpl": "hookspecs",
    "import_encoder": "training.importing.import_encoder",
    "load_encoder": "training.files.encoder_file",
    "methods": "experiments.methods",
    "open_images": "training.own_loop",
    "predict": "training.prediction",
    "prepare_image": "training.image_file",
    "pretrain": "training.pretraining.pretrain",
    "probe": "experiments.probes.probing",
    "push_to_hub": "training.files.hub",
    "save_encoder": "training.own_loop",
    "save_for_hub": "training.files.hub",
    "wrap_encoder": "wrapped_encoder",
}

_MODULES = ("augmentation", "distributed", "errors", "heads", "patches", "testing", "transfer")

__all__ = [*sorted([*_HOMES, *_MODULES, "registry"]), "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Load a public name from its module the first time somebody asks for it."""
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
