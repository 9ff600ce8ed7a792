"""What a backbone promises, and the encoders that it builds."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load, save

from ssl_registry.backbone import Encoder, check_encoder
from ssl_registry.errors import EncoderFileError, ImageShapeError, PluginError
from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.backbone_trial import BackboneTrial
from ssl_registry.testing.check import equal, require
from ssl_registry.testing.networks import seeded
from ssl_registry.testing.streams import undisturbed_streams

STRANGE_FILES: Final[tuple[Mapping[Any, Any], ...]] = (
    {},
    {"epoch": 3, "model": None},
    {7: "seven", "state_dict": [torch.zeros(1)]},
    {"strange.weight": torch.zeros(2, 3)},
    {"weights": {"strange.0.bias": torch.zeros(3)}, "arguments": "none"},
)
"""Files that are of no network."""


def an_encoder_is_built(trial: BackboneTrial) -> None:
    """`build` returns an `Encoder` that says how many channels it takes."""
    for channels in trial.channels:
        encoder = trial.encoder(channels)
        require(isinstance(encoder, Encoder), "an Encoder from build", type(encoder).__name__)
        came = encoder.in_channels
        require(came == channels, f"in_channels={channels}, as asked for", f"in_channels={came}")


def equal_seeds_give_equal_weights(trial: BackboneTrial) -> None:
    """Weights are drawn from torch's global stream, and from nothing else.

    The trainer lends that stream a generator of its own: equal seed, equal weights.
    """
    first, again = (list(trial.encoder(seed=1).parameters()) for _ in range(2))
    require(equal(first, again), "equal weights from equal seeds", "different ones")


def other_seeds_give_other_weights(trial: BackboneTrial) -> None:
    """Weights are random: another seed gives others."""
    first, other = (list(trial.encoder(seed=seed).parameters()) for seed in (1, 2))
    require(not equal(first, other), "weights that differ with the seed", "equal ones")


def encoders_leave_global_streams_alone(trial: BackboneTrial) -> None:
    """`build` and `forward` draw nothing from NumPy's or Python's global stream."""
    with lend_to_torch(seeded(1)), undisturbed_streams("build and forward", torch_too=False):
        trial.encoder()(trial.images())


def strides_grow(trial: BackboneTrial) -> None:
    """Levels come finest first: strides, one for each spatial axis, grow from one to the next.

    Along an axis a stride may stay as it is, but never along all of them, and it never shrinks.
    Decoders walk from the last level up to the first.
    """
    encoder = trial.encoder()
    try:
        check_encoder(encoder, trial.dims)
    except PluginError as error:
        require(False, f"{trial.dims} strides a level, one for each spatial axis", str(error))
    grow = all(
        fine != coarse and all(f <= c for f, c in zip(fine, coarse, strict=True))
        for fine, coarse in pairwise(map(tuple, encoder.strides))
    )
    require(grow, "strides that grow, finest level first", list(encoder.strides))


def levels_have_the_promised_shape(trial: BackboneTrial) -> None:
    """Level l is `[B, channels[l], *]` with sides of the input's divided by `strides[l]`.

    Sides that cannot be divided are rounded either way. Heads are built from `channels`
    and `strides` alone. The first shape tried has to work; another may be refused with an
    `ImageShapeError`.
    """
    for channels in trial.channels:
        encoder = trial.encoder(channels).eval()
        for number, shape in enumerate(trial.shapes):
            _check_levels(trial, encoder, shape, may_refuse=number > 0)


def networks_for_a_shape_are_in_their_fields(trial: BackboneTrial) -> None:
    """What `for_shape` returns is built again from its fields, and keeps what they were set to.

    A run calls it once, before anything else; `encoder.json` holds the fields and nothing else.
    """
    shape = trial.thin_shape
    suited = trial.component.for_shape(shape)
    again = type(suited).model_validate(suited.model_dump(mode="json"))
    require(again == suited, f"the network for {list(shape)} from its fields", again)
    kept = again.for_shape(trial.shapes[0])
    require(kept == suited, "the fields that were set, for images of another shape", kept)


def features_do_not_depend_on_the_batch(trial: BackboneTrial) -> None:
    """In evaluation, an image has the same features alone as among others.

    Compared in float64: normalising a level of two voxels makes much of a rounding error.
    """
    encoder, images = trial.encoder().eval().double(), trial.images().double()
    with torch.no_grad():
        several, one = encoder(images), encoder(images[:1])
    for number, (whole, single) in enumerate(zip(several, one, strict=True)):
        same = torch.allclose(whole[:1], single, rtol=1e-3, atol=1e-4)
        require(same, f"equal features at level {number}", "others, depending on the batch")


def evaluation_repeats_itself(trial: BackboneTrial) -> None:
    """In evaluation, equal images give equal features, bit for bit."""
    encoder = trial.encoder().eval()
    with torch.no_grad(), lend_to_torch(seeded(1)):
        first, again = encoder(trial.images()), encoder(trial.images())
    require(equal(first, again), "equal features twice", "different ones")


def encoders_leave_images_alone(trial: BackboneTrial) -> None:
    """`forward` does not modify its input, which is the cache's own memory."""
    images = trial.images()
    trial.encoder()(images)
    require(torch.equal(images, trial.images()), "the images as they were", "changed images")


def features_keep_the_dtype(trial: BackboneTrial) -> None:
    """An encoder in another dtype takes images of that dtype, and features have it too."""
    for dtype in (torch.float64, torch.bfloat16):
        levels = trial.encoder().to(dtype)(trial.images().to(dtype))
        came = {level.dtype for level in levels}
        require(came == {dtype}, f"features of {dtype}", ", ".join(map(str, came)))


def wrong_channels_are_refused(trial: BackboneTrial) -> None:
    """Images with other channels than the encoder was built for raise an error."""
    channels = trial.channels[0]
    images = trial.images(channels=channels + 1)
    try:
        trial.encoder(channels)(images)
    except Exception:  # noqa: BLE001, torch's own error is clear enough
        return
    require(False, f"an error from {channels + 1} channels where {channels} are due", "features")


def weights_go_through_the_encoder_file(trial: BackboneTrial) -> None:
    """The weights, saved and loaded into a new encoder, give equal features.

    `encoder.safetensors` holds the state dict and nothing else: what decides about the
    features has to be a parameter or a buffer, and no two of these may share memory.
    """
    trained = trial.encoder(seed=1)
    trained(trial.images())  # running statistics move
    weights = load(save({name: v.contiguous() for name, v in trained.state_dict().items()}))
    again = trial.encoder(seed=2)
    again.load_state_dict(weights)
    with torch.no_grad():
        same = equal(trained.eval()(trial.images()), again.eval()(trial.images()))
    require(same, "equal features of the encoder that was loaded", "different ones")


def encoder_files_are_read_back(trial: BackboneTrial) -> None:
    """`load_encoder` builds the encoder again from what `pretrain` writes, and within its memory.

    Before memory is taken, the weights of the network that a file describes are counted, without
    values where that is possible: a constructor that looks at values is built within bounds. What
    it builds has to be the same network every time.
    """
    from ssl_registry.training.files.handed_files import check_room

    channels = trial.channels[0]
    weights = {name: v.clone() for name, v in trial.encoder(seed=1).state_dict().items()}
    try:
        check_room(
            lambda: trial.component.build(channels), weights, Path("encoder"), EncoderFileError
        )
        trial.encoder(seed=2).load_state_dict(weights)
    except (EncoderFileError, RuntimeError) as error:
        first = " ".join(str(error).split())[:200]
        require(False, "the encoder from its own weights", first)


def files_of_others_are_left_alone(trial: BackboneTrial) -> None:
    """`recognise` and `read_weights` return None for a file that is not of this network.

    `ssl-registry import` shows every file to every backbone: an empty one, one that holds other
    things than tensors, names that are no text, another network's state dict.
    """
    for content in STRANGE_FILES:
        for method in (type(trial.component).recognise, trial.component.read_weights):
            seen = method(content)
            require(seen is None, f"None from {method.__name__} of {content!r}", seen)


def weights_come_back_from_the_library(trial: BackboneTrial) -> None:
    """What `library_weights` gives is read as it was written, where `read_weights` reads it.

    `recognise` sees this class in it, or nothing. `read_weights` names one of `weight_formats`, and
    for tensors of the encoder tensors of the file that are equal.
    """
    formats = trial.component.weight_formats
    if not formats:
        return
    encoder = trial.encoder(seed=1)
    content = trial.component.library_weights(encoder, 2).state
    recognised = type(trial.component).recognise(content)
    own = recognised is None or type(recognised) is type(trial.component)
    require(own, f"{type(trial.component).__name__} or None from recognise", recognised)
    found = trial.component.read_weights(content)
    if found is None:
        return
    require(found.format in formats, f"a format of weight_formats {formats}", found.format)
    state = encoder.state_dict()
    for theirs, ours in found.names.items():
        require(ours in state, "names of the encoder's tensors", ours)
        require(theirs in found.tensors, "names of tensors in the file", theirs)
        same = equal([found.tensors[theirs]], [state[ours]])
        require(same, f"for {ours} the tensor that was written", f"another, {theirs}")


def _check_levels(
    trial: BackboneTrial, encoder: Encoder, shape: tuple[int, ...], may_refuse: bool
) -> None:
    """Require levels that fit `channels` and `strides`, rounded either way."""
    images = trial.images(2, encoder.in_channels, shape)
    try:
        with torch.no_grad():
            levels = encoder(images)
    except ImageShapeError:
        if may_refuse:
            return
        raise
    counts = [len(levels), len(encoder.channels), len(encoder.strides)]
    require(len(set(counts)) == 1, "as many levels as channels and strides", counts)
    for level, channels, stride in zip(levels, encoder.channels, encoder.strides, strict=True):
        fits = level.shape[:2] == (len(images), channels) and all(
            got in (side // step, -(-side // step))
            for got, side, step in zip(level.shape[2:], shape, stride, strict=True)
        )
        promised = f"{channels} channels at strides {list(stride)} of images {list(images.shape)}"
        require(fits, promised, f"a level {list(level.shape)}")


BACKBONE_CHECKS: Final[tuple[Callable[[BackboneTrial], None], ...]] = (
    an_encoder_is_built,
    equal_seeds_give_equal_weights,
    other_seeds_give_other_weights,
    encoders_leave_global_streams_alone,
    strides_grow,
    levels_have_the_promised_shape,
    networks_for_a_shape_are_in_their_fields,
    features_do_not_depend_on_the_batch,
    evaluation_repeats_itself,
    encoders_leave_images_alone,
    features_keep_the_dtype,
    wrong_channels_are_refused,
    weights_go_through_the_encoder_file,
    encoder_files_are_read_back,
    files_of_others_are_left_alone,
    weights_come_back_from_the_library,
)
