"""Whole networks of MONAI, with an encoder's weights in their places."""

from torch import nn

from ssl_registry import Encoder, LibraryWeights
from ssl_registry.errors import EncoderFileError


def fill(
    network: nn.Module, encoder: Encoder, call: str, *, answers: str | None, features: str
) -> LibraryWeights:
    """Return the state of a network as MONAI draws it, but for what the encoder has learned.

    Args:
        network: of MONAI, complete.
        encoder: whose parameters have the network's names.
        call: the Python that makes such a network.
        answers: the layer that gives the outputs, to be left out; None keeps it.
        features: Python for the encoder's coarsest level, by that `model`.

    Raises:
        EncoderFileError: the encoder has a weight that the network lacks.
    """
    usage = f"from monai.networks import nets\nmodel = nets.{call}"
    if answers is not None:
        setattr(network, answers, nn.Identity())
        usage += f"\nfrom torch import nn\nmodel.{answers} = nn.Identity()"
    whole, ours = network.state_dict(), encoder.state_dict()
    strange = [name for name in ours if name not in whole]
    if strange:
        raise EncoderFileError(f"{call} has no weight {strange[0]!r}: its release of MONAI differs")
    drawn = frozenset(whole.keys() - ours.keys())
    return LibraryWeights("MONAI", {**whole, **ours}, usage, drawn=drawn, features=features)
