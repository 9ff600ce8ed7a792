"""Encoders and fine-tuned models as graphs: ONNX, or PyTorch's own exported programs."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.data.preparing.sizes import sides_of
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import ConfigError, EncoderFileError, RunError, spell
from ssl_registry.randomness import derive_generator
from ssl_registry.training.files.encoder_file import load_encoder
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.files.image_recipe import ImageRecipe
from ssl_registry.training.finetuning.model_file import SUMMARY as MODEL
from ssl_registry.training.finetuning.model_file import load_model

Graph: TypeAlias = Literal["onnx", "torch-export"]
GRAPHS: Final[Mapping[str, str]] = {"onnx": ".onnx", "torch-export": ".pt2"}
"""Formats, and how the names of their files end."""

Part: TypeAlias = Literal["encoder", "model"]

TRIED: Final = 3
"""Images of the batch on which the graph is compared with the network."""

TOLERANCE: Final = 1e-4
"""By how much the two may differ, of the largest value."""


@dataclass(frozen=True)
class GraphExport:
    """A graph that was written.

    Attributes:
        path: of the file; beside it `.json` says how images are prepared.
        part: what it is of.
        image_shape: of what it takes, `[C, *S]`; the number of images is free.
        difference: the largest that was found between graph and network, of the largest value.
    """

    path: Path
    part: Part
    image_shape: tuple[int, ...]
    difference: float


def export_graph(
    run: str | Path, out: str | Path, *, to: Graph = "onnx", part: Part | None = None
) -> GraphExport:
    """Write an encoder or a fine-tuned model as a graph that needs none of this library.

        export_graph("runs/rpl-10", "model.onnx")

    The number of images is free, their size is that of training. What the graph answers for three
    images is compared with the network before the file appears. Of an encoder that is its pyramid,
    finest level first; of a model the probabilities `[B, K, *S]` or `[B, K]`.

    Args:
        run: folder of a finished run.
        out: a new file, `.onnx` or `.pt2`.
        to: `"onnx"`, or `"torch-export"`, which `torch.export.load` reads.
        part: the `"encoder"` or the `"model"`; without it the model where there is one.

    Raises:
        ConfigError: the file exists, has another suffix, or a library is missing.
        EncoderFileError: the network cannot be written as a graph, or answers otherwise then.
        ModelFileError: there is no model in the folder.
        RunError: the file cannot be written.
    """
    path = Path(out).expanduser()
    _check_call(path, to, part)
    folder = Path(run).expanduser()
    chosen: Part = part or ("model" if (folder / MODEL).is_file() else "encoder")
    network, recipe = _network(folder, chosen)
    channels = recipe.channels or 1
    shape = (channels, *sides_of(recipe.size, recipe.dims))
    images = torch.rand((TRIED, *shape), generator=derive_generator(0, "graph"))
    with torch.no_grad():
        wanted = network(images)
    try:
        program = _trace(network, images)
        difference = _write(program, path, to, images, wanted)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        words = " ".join(str(error).split())[:300]
        raise EncoderFileError(
            f"the {chosen} in {folder} cannot be written as a graph: {words}"
        ) from error
    except OSError as error:
        raise RunError(f"out={spell(out)} cannot be written: {error.strerror or error}") from error
    said = {"part": chosen, "takes": ["batch", *shape], "images": recipe.as_json()}
    beside = _beside(path)
    text = json.dumps(said, indent=2) + "\n"
    write_whole(beside, lambda file: file.write_text(text, "utf-8"))
    return GraphExport(path, chosen, shape, difference)


def _beside(path: Path) -> Path:
    """Return the file that says how images are prepared."""
    return path.with_suffix(path.suffix + ".json")


def _check_call(path: Path, to: str, part: str | None) -> None:
    if to not in GRAPHS:
        raise ConfigError(f"to={to} is none of {', '.join(GRAPHS)}")
    if part not in (None, "encoder", "model"):
        raise ConfigError(f"part={part}: choose encoder or model")
    if path.suffix != GRAPHS[to]:
        raise ConfigError(f"out={path}: name a file that ends in {GRAPHS[to]}")
    for file in (path, _beside(path)):
        if file.exists():
            raise ConfigError(f"out={file} exists: name another file, so that nothing is lost")
    if to == "onnx" and not (find_spec("onnxscript") and find_spec("onnxruntime")):
        raise ConfigError(
            'to=onnx takes onnxscript and onnxruntime: pip install "ssl-registry[onnx]" brings '
            "them; or set to=torch-export"
        )


class _Pyramid(nn.Module):
    """An encoder whose levels are a tuple, as graphs want them."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder(images))


class _Probabilities(nn.Module):
    """A fine-tuned model that answers with probabilities."""

    def __init__(self, model: nn.Module, task: DownstreamTask) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.task.probabilities(self.model(images)),)


def _network(folder: Path, part: Part) -> tuple[nn.Module, ImageRecipe]:
    if part == "encoder":
        summary = read_encoder_summary(folder)
        encoder = load_encoder(folder, in_channels=summary.image_channels)
        recipe = summary.image_recipe.model_copy(update={"channels": encoder.in_channels})
        return _Pyramid(encoder).eval(), recipe
    model, said = load_model(folder)
    recipe = ImageRecipe(
        dims=said.backbone.spatial_dims,
        channels=said.in_channels,
        size=said.size,
        patches=said.patches,
        preprocessing=said.preprocessing,
        slices=said.slices,
    )
    return _Probabilities(model, said.downstream).eval(), recipe


def _trace(network: nn.Module, images: Tensor) -> Any:
    batch = torch.export.Dim("batch", min=1, max=1024)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(network, (images,), dynamic_shapes=({0: batch},))


def _write(program: Any, path: Path, to: str, images: Tensor, wanted: tuple[Tensor, ...]) -> float:
    """Write a graph, once it is seen that it answers as the network does; return by how much not.

    Raises:
        EncoderFileError: it answers otherwise.
    """
    found = 0.0

    def write(beside: Path) -> None:
        nonlocal found
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = (_to_onnx if to == "onnx" else _to_program)(program, beside, images)
        found = _difference(answers, wanted)
        if not found <= TOLERANCE:
            raise EncoderFileError(
                f"the graph answers otherwise than the network, by {found:.2g} of its largest value"
            )

    write_whole(path, write)
    return found


def _to_program(program: Any, file: Path, images: Tensor) -> list[Tensor]:
    with file.open("wb") as opened:
        torch.export.save(program, opened)
    with file.open("rb") as opened, torch.no_grad():
        return list(torch.export.load(opened).module()(images))


def _to_onnx(program: Any, file: Path, images: Tensor) -> list[Tensor]:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

    made = torch.onnx.export(program, (), dynamo=True, verbose=False, external_data=False)
    assert made is not None
    made.save(file)
    session = InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return [torch.from_numpy(one) for one in session.run(None, {name: images.numpy()})]


def _difference(answers: list[Tensor], wanted: tuple[Tensor, ...]) -> float:
    """Return the largest difference, as a share of the largest value; infinite for other shapes."""
    if [one.shape for one in answers] != [one.shape for one in wanted]:
        return math.inf
    largest = max(float(one.abs().max()) for one in wanted) or 1.0
    apart = (float((one - own).abs().max()) for one, own in zip(answers, wanted, strict=True))
    return max(apart) / largest
