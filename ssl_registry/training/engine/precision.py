"""Which precision a run computes in, and the proof that bfloat16 is right where it is used.

The rule of `precision=auto`: bfloat16 where the processor has it, no layer is known to be slow in
it, and every layer of the model, on the run's own shapes, has nearly the gradient that float32
gives it; float32 everywhere else. No clock has a part in it, so equal runs on equal machines
choose alike, whatever their seed, their data and what else the machine is doing.

The proof is there because some processors' libraries return wrong gradients without a word:
torch 2.14 with AVX512-BF16 does so for the weights of a 3D convolution whose input is 2
voxels wide (pytorch issues 169688 and 188426 are of the same family).
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from ssl_registry.errors import ConfigError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.engine.devices import root_device
from ssl_registry.training.engine.trained import Trained, example_moment
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.runs import RunSettings

TOLERANCE: Final = 0.1
"""Largest relative error of a layer's gradient that rounding may explain.

bfloat16 keeps 8 binary digits, and the layers of this project were seen to differ by 0.02 at
most; a wrong one was never seen to differ by less than 0.4.
"""


@dataclass(frozen=True)
class Choice:
    """A precision, and why it was chosen."""

    precision: str
    why: str


def choose_precision(
    settings: RunSettings, folder: RunFolder, model: Trained, batch: Any
) -> Choice:
    """Return the precision of a run; a run that is resumed keeps the one it was begun with.

    Args:
        settings: of the run.
        folder: of the run.
        model: laid out as it will be trained, for that is a part of what is proven.
        batch: of the run's shape, on the CPU.

    Raises:
        ConfigError: bfloat16 is asked for and is wrong for this model on this device.
    """
    if settings.precision not in ("auto", "bf16-mixed"):
        return Choice(settings.precision, "as the settings say")
    if folder.started:
        return Choice(str(folder.settings()["precision"]), "as when the run was begun")
    device = root_device(settings)
    slow = _slow_layer(model, device) if settings.precision == "auto" else None
    wrong = _lacks_bfloat16(device) or slow or _wrong_layer(model, batch, device)
    if wrong is None:
        return Choice("bf16-mixed", "bfloat16, proven layer by layer against float32")
    if settings.precision == "bf16-mixed":
        raise ConfigError(f"precision=bf16-mixed: {wrong}; set precision=auto or 32-true")
    return Choice("32-true", f"float32, for {wrong}")


def _lacks_bfloat16(device: torch.device) -> str | None:
    """Return why bfloat16 would gain nothing here, if it would not."""
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Without these instructions torch has bfloat16 as well, only slowly.
        asks = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        has = device.type == "cpu" and asks is not None and bool(asks())
    return None if has else "this processor does not compute in bfloat16"


def _slow_layer(model: nn.Module, device: torch.device) -> str | None:
    """Return why bfloat16 would cost time on a CPU, if it is known to.

    Torch 2.14 has no fast kernel there for convolutions of channel groups: a step of
    `tf_efficientnet_lite0` took 0.93 s in bfloat16 and 0.38 s in float32 (32 pictures of 64 pixels,
    one thread).
    """
    if device.type != "cpu":
        return None
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.conv._ConvNd) and layer.groups > 1:
            return f"{name} convolves its channels in groups, which is slow in bfloat16 on a CPU"
    return None


def _wrong_layer(model: Trained, batch: Any, device: torch.device) -> str | None:
    """Return, in words, which layer is farthest from the right gradient, if any is too far."""
    errors = layer_errors(model, batch, device)
    if not errors:
        return "no layer of the model was seen to compare bfloat16 with float32"
    name, error = max(errors.items(), key=lambda item: item[1])
    if error <= TOLERANCE:
        return None
    return f"bfloat16 gives {name} a wrong gradient on this processor (relative error {error:.2g})"


def layer_errors(model: Trained, batch: Any, device: torch.device) -> dict[str, float]:
    """Return the relative error of each layer's gradients in bfloat16, against float32.

    Each layer is looked at by itself: it gets the input that it has in the model, computed
    in bfloat16, and a gradient of noise for its output. So errors neither add up nor
    cancel, and what is right and what is wrong are far apart.

    Args:
        model: left as it is.
        batch: on the CPU.
        device: where to compute.

    Returns:
        By the layer's name; infinite where a gradient is not finite.
    """
    model = copy.deepcopy(model).to(device).train()
    batch = [part.to(device) for part in batch] if isinstance(batch, Sequence) else batch.to(device)
    with lend_to_torch(derive_generator(0, "precision", "draws")):
        with torch.autocast(device.type, torch.bfloat16), _recording(model) as calls:
            model.training_step(
                batch, derive_generator(0, "precision", "task"), example_moment(batch)
            )
        return {
            f"{name}, input {list(inputs[0].shape)},": _error(layer, inputs, named)
            for (name, _), (layer, inputs, named) in calls.items()
        }


_Calls = dict[tuple[str, tuple[int, ...]], tuple[nn.Module, list[Tensor], dict[str, Any]]]


@contextmanager
def _recording(model: nn.Module) -> Iterator[_Calls]:
    """Note what the layers that have weights of their own are called with, shape by shape."""
    calls: _Calls = {}
    handles = []
    for name, layer in model.named_modules():
        if not any(True for _ in layer.parameters(recurse=False)):
            continue

        def note(
            layer: nn.Module,
            inputs: tuple[Any, ...],
            named: dict[str, Any],
            _: Any,
            name: str = name,
        ) -> None:
            if inputs and all(isinstance(part, Tensor) for part in inputs):
                key = (name, tuple(inputs[0].shape))
                calls.setdefault(key, (layer, [part.detach() for part in inputs], _detached(named)))

        handles.append(layer.register_forward_hook(note, with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _error(layer: nn.Module, inputs: list[Tensor], named: dict[str, Any]) -> float:
    """Return the largest relative error among the gradients of a layer's weights and inputs."""
    kind = inputs[0].device.type
    with torch.autocast(kind, torch.bfloat16):
        rounded = _gradients(layer, inputs, named)
    exact = [_in_float32(part) for part in inputs]
    with torch.autocast(kind, enabled=False):
        right = _gradients(layer, exact, {key: _in_float32(n) for key, n in named.items()})
    return max((_distance(*pair) for pair in zip(rounded, right, strict=True)), default=0.0)


def _detached(named: dict[str, Any]) -> dict[str, Any]:
    return {k: given.detach() if isinstance(given, Tensor) else given for k, given in named.items()}


def _in_float32(given: Any) -> Any:
    return given.float() if isinstance(given, Tensor) and given.is_floating_point() else given


def _distance(near: Tensor, exact: Tensor) -> float:
    gap, size = float((near - exact).norm()), float(exact.norm())
    if not math.isfinite(gap) or size == 0:
        return 0.0 if gap == 0 else math.inf
    return gap / size


def _gradients(layer: nn.Module, inputs: list[Tensor], named: dict[str, Any]) -> list[Tensor]:
    leaves = [part.detach().requires_grad_(part.is_floating_point()) for part in inputs]
    outputs = layer(*leaves, **named)
    if not isinstance(outputs, Tensor):
        return []
    noise = torch.randn(outputs.shape, generator=derive_generator(0, "precision", "noise"))
    wanted = [part for part in (*layer.parameters(), *leaves) if part.requires_grad]
    found = torch.autograd.grad(outputs, wanted, noise.to(outputs), allow_unused=True)
    return [part.float() for part in found if part is not None]
