"""What holds for every network that learns: gradients, steps, compilation, devices."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch

from ssl_registry.errors import PluginError
from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.check import ConformanceError, require
from ssl_registry.testing.networks import seeded
from ssl_registry.testing.trial import LearningTrial, levels_of

STEPS: Final = 12
RATES: Final = (1e-2, 1e-3, 1e-4)
"""Learning rates, of which one has to work: networks differ in what they stand."""

ENOUGH: Final = 0.01
"""The share by which a loss has to fall for no further step to be taken."""

TOLERANCE: Final = 0.1
"""How far a loss in bfloat16, which has three digits, may be from the one in float32."""


def losses_are_finite_scalars(trial: LearningTrial) -> None:
    """The loss of random weights and images is one finite number."""
    loss = trial.step(trial.network())
    came = f"{list(loss.shape)}" if loss.ndim else str(loss.item())
    require(loss.ndim == 0 and loss.isfinite(), "a finite scalar", came)


def gradients_reach_every_parameter(trial: LearningTrial) -> None:
    """Every parameter gets a finite gradient, and the encoder learns.

    A parameter without one is dead weight, and stops training on several GPUs. A task's
    head may look at some levels only, so of its encoder some gradient is asked.
    """
    network = trial.network()
    trial.step(network).backward()  # type: ignore[no-untyped-call]
    learner = trial.has_to_learn(network)
    for name, parameter in learner.named_parameters():
        grad = parameter.grad
        reached = grad is not None and grad.isfinite().all()
        require(reached, f"a finite gradient for {name}", "none" if grad is None else "nan or inf")
    own = set(learner.parameters())
    encoder = [parameter.grad for parameter in network.parameters() if parameter not in own]
    learns = not encoder or any(grad is not None and bool(grad.any()) for grad in encoder)
    require(learns, "a gradient that reaches the encoder", "none")


def training_lowers_the_loss(trial: LearningTrial) -> None:
    """A few steps of Adam on one batch lower its loss.

    A sign the wrong way round, an answer that is cut off, or outputs that ignore the
    weights show here. Where a task is judged by the features, since its target moves, buffers (a
    teacher, a queue) are set back before each step: the loss is that against the first target.
    """
    tried = []
    for rate in RATES:
        first, last = _train(trial, rate)
        if last < first:
            return
        tried.append(f"{last:.6g} with learning rate {rate:g}")
    require(False, f"a loss below {first:.6g} after {STEPS} steps of Adam", ", ".join(tried))


def compiling_changes_nothing(trial: LearningTrial) -> None:
    """`torch.compile` gives the same outputs and loss, whether or not it breaks the graph.

    Tried with the backend "eager", which traces and does not generate code.
    """
    plain = trial.step(trial.network())
    with _quiet_compiler():
        network = trial.network()
        trial.compiled(network).compile(backend="eager")
        compiled = trial.step(network)
    same = torch.allclose(plain, compiled, rtol=1e-4, atol=1e-5)
    require(same, f"the loss {plain.item():.6g} when compiled", f"{compiled.item():.6g}")


def autocast_works(trial: LearningTrial) -> None:
    """Under autocast to bfloat16 a step works, and its loss is near that in float32.

    `precision=bf16-mixed` trains so. An assignment such as `x[mask] = y` between two
    dtypes, or an operation without a half-precision form, needs a `.float()`.
    """
    plain = trial.step(trial.network()).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = trial.step(trial.network())
    loss.backward()  # type: ignore[no-untyped-call]
    near = abs(loss.item() - plain) <= TOLERANCE * (1 + abs(plain))
    require(near, f"a loss near {plain:.4g}, that of float32", f"{loss.item():.4g}")


def work_stays_on_the_device(trial: LearningTrial) -> None:
    """Everything happens on the device of the inputs and weights.

    Tried on torch's "meta" device, which computes shapes only, and on a GPU where there is
    one. A tensor made in `forward` without `device=`, or kept in a plain attribute instead
    of `register_buffer`, stays behind. A network that looks at values, as `.item()` does,
    cannot be tried on "meta", and passes there; so does a pretext model of a task's own, which
    makes its views itself.
    """
    devices = [
        *(["meta"] if trial.without_values else []),
        *(["cuda"] if torch.cuda.is_available() else []),
    ]
    for device in devices:
        try:
            with lend_to_torch(seeded(2)):
                outputs = trial.network().to(device)(trial.inputs().to(device))
                loss = trial.loss(outputs)
        except (RuntimeError, NotImplementedError, PluginError) as error:
            if device == "meta" and _needs_values(error):
                continue
            raise ConformanceError(f"a step on the device {device!r}", str(error)) from error
        places = {tensor.device.type for tensor in [*levels_of(outputs), loss]}
        require(places == {device}, f"outputs and loss on {device!r}", ", ".join(sorted(places)))


@contextmanager
def _quiet_compiler() -> Iterator[None]:
    """Start from an empty compiler, whose trace pytest would show line by line, and end so."""
    trace = logging.getLogger("torch.__trace")
    propagated, trace.propagate = trace.propagate, False
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()
        trace.propagate = propagated


def _train(trial: LearningTrial, rate: float) -> tuple[float, float]:
    """Return the loss before the first step of Adam, and after the last."""
    network = trial.network()
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    loss = trial.step(network)
    first = loss.item()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if trial.target_moves:
            network.load_state_dict({**network.state_dict(), **buffers})
        loss = trial.step(network)
        if loss < first - ENOUGH * abs(first):
            break
    return first, loss.item()


def _needs_values(error: Exception) -> bool:
    """Return whether an operation failed because "meta" tensors have shapes and no values."""
    said = str(error)
    words = ("meta tensors", "Meta tensors", "meta tensor", "data-dependent", "_local_scalar_dense")
    return any(word in said for word in words) and "same device" not in said


LEARNING_CHECKS: Final[tuple[Callable[[LearningTrial], None], ...]] = (
    losses_are_finite_scalars,
    gradients_reach_every_parameter,
    training_lowers_the_loss,
    compiling_changes_nothing,
    autocast_works,
    work_stays_on_the_device,
)
