"""Whole networks of MONAI, with an encoder's weights in their places."""

from torch import nn

from ssl_registry import Encoder, LibraryWeights
from ssl_registry.errors import EncoderFileError


def fill(network: nn.Module, encoder: Encoder, call: str) -> LibraryWeights:
    """Return the state of a network as MONAI draws it, but for what the encoder has learned.

    Args:
        network: of MONAI, complete.
        encoder: whose parameters have the network's names.
        call: the Python that makes such a network.

    Raises:
        EncoderFileError: the encoder has a weight that the network lacks.
    """
    whole, ours = network.state_dict(), encoder.state_dict()
    strange = [name for name in ours if name not in whole]
    if strange:
        raise EncoderFileError(f"{call} has no weight {strange[0]!r}: its release of MONAI differs")
    return LibraryWeights(
        "MONAI", {**whole, **ours}, f"from monai.networks import nets\nmodel = nets.{call}"
    )
