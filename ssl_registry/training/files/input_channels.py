"""Encoders for other input channels: the rule by which a first convolution is converted.

The weights of the first convolution are added up or spread over the channels so that
their sum stays: on an image whose channels are all equal, the converted encoder gives what
the original gave. With `old` channels in the encoder and `new` in the images:

- `old` is a multiple of `new`: every new channel gets the sum of the old ones that lie
  `new` apart. So an encoder of 27 stacked RGB tiles becomes one of RGB images, red to red;
  an RGB encoder becomes a grey one.
- `new` is a multiple of `old`: the old channels are repeated in order and divided by the
  number of repetitions. So a grey encoder becomes an RGB one, and two modalities stand for
  four, as Taleb et al. (2020, section 4.2) duplicate theirs.
- otherwise: every new channel gets the mean weight, that is, the sum over the old ones
  divided by `new`.
"""

from collections.abc import Mapping

from torch import Tensor

from ssl_registry.backbone import Encoder
from ssl_registry.errors import EncoderFileError


def convert_input(weights: Mapping[str, Tensor], encoder: Encoder, old: int) -> dict[str, Tensor]:
    """Return `weights` of an encoder for `old` channels, converted to those of `encoder`.

    The convolutions that read the image are those whose weights `[out, in, *K]` differ
    between the two in the second axis alone, from `old` to `encoder.in_channels`.

    Raises:
        EncoderFileError: a weight differs in another way, so the rule does not apply.
    """
    new = encoder.in_channels
    converted = dict(weights)
    for name, wanted in encoder.state_dict().items():
        there = weights.get(name)
        if there is None or there.shape == wanted.shape:
            continue
        if there.ndim < 2 or there.shape != (wanted.shape[0], old, *wanted.shape[2:]):
            raise EncoderFileError(
                f"the encoder takes {old} channels and the images have {new}; it cannot be "
                f"converted, for its weight {name} has the shape {list(there.shape)} and would "
                f"need {list(wanted.shape)}: pretrain with images of {new} channels, and with "
                "fusion=late"
            )
        converted[name] = convert_weight(there, new)
    return converted


def convert_weight(weight: Tensor, new: int) -> Tensor:
    """Return a convolution's weight `[out, old, *K]` as `[out, new, *K]`, its sum unchanged."""
    old = weight.shape[1]
    if old % new == 0:
        return weight.reshape(len(weight), old // new, new, *weight.shape[2:]).sum(1)
    if new % old == 0:
        repeats = new // old
        return weight.repeat(1, repeats, *[1] * (weight.ndim - 2)) / repeats
    return weight.sum(1, keepdim=True).expand(-1, new, *weight.shape[2:]).contiguous() / new
