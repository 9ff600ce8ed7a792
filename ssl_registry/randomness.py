"""Random numbers that belong to a purpose instead of to the process.

Every draw in this library comes from a `torch.Generator` derived from one integer
seed and the words that say what it is for. Two purposes never share a stream, so
adding a draw in one place moves no other, and a resumed run draws what the
undisturbed one would have drawn.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_generator(
    seed: int, *purpose: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a new generator for one purpose, for instance `(7, "pretrain", epoch, step)`.

    The seed is a hash of all the words, the same on every machine and in every version
    of Python and torch.
    """
    words = "\x1f".join([str(seed), *(f"{type(word).__name__}:{word}" for word in purpose)])
    digest = hashlib.sha256(words.encode()).digest()
    generator = torch.Generator(device=device)
    generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return generator


@contextmanager
def lend_to_torch(generator: torch.Generator) -> Iterator[None]:
    """Let code that can only draw from torch's global stream draw from `generator`.

    Weight initialisation and dropout take no generator. Inside this block they see a
    stream that starts from `generator`, on the CPU and on the GPU that this process uses, if
    it uses one; the caller's global state is put back at the end, whatever happens.
    """
    start = int(torch.randint(0, 2**62, (), generator=generator, device=generator.device))
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = [torch.cuda.current_device()] if in_use else []
    with torch.random.fork_rng(gpus):
        torch.default_generator.manual_seed(start)
        for gpu in gpus:
            torch.cuda.default_generators[gpu].manual_seed(start)
        yield
