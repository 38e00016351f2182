"""VGG19 as data: its layers in order, its taps, its widths, and what torchvision and Keras call them.

Names follow Gatys et al. with one rule: `conv4_2` is the convolution's output (bias included), `relu4_2` the
rectified one. Source: Simonyan & Zisserman, "Very Deep Convolutional Networks", ICLR 2015, configuration E.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nst_spec.errors import NstError, not_accepted

CONVOLUTIONS_PER_BLOCK = (2, 2, 4, 4, 4)
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each block's convolutions in the published network; a narrower network differs in these alone."""
IMAGE_CHANNELS = 3
KERNEL_SIZE = 3


def block_of(layer: str) -> int:
    """Return the block, 1 to 5, that a layer or tap such as `relu4_2` belongs to."""
    return int(layer[4])


def rectified(convolution: str) -> str:
    """Return the name of the ReLU after a convolution: `conv4_2` -> `relu4_2`."""
    return convolution.replace("conv", "relu")


def _layers() -> Iterable[str]:
    for block, count in enumerate(CONVOLUTIONS_PER_BLOCK, start=1):
        for index in range(1, count + 1):
            yield f"conv{block}_{index}"
            yield f"relu{block}_{index}"
        yield f"pool{block}"


LAYERS = tuple(_layers())
"""Every layer in order. The position of a layer is its index in torchvision's `vgg19().features`."""
CONVOLUTIONS = tuple(layer for layer in LAYERS if layer.startswith("conv"))
TAPS = tuple(layer for layer in LAYERS if not layer.startswith("pool"))


def torchvision_index(layer: str) -> int:
    """Return the layer's index in `torchvision.models.vgg19().features`."""
    return LAYERS.index(layer)


def keras_name(layer: str) -> str:
    """Return the name of the layer in `keras.applications.VGG19`: `conv4_2` -> `block4_conv2`.

    A Keras convolution rectifies its own output, so a convolution and its ReLU share one Keras layer.
    """
    block, _, index = layer[4:].partition("_")
    return f"block{block}_conv{index}" if index else f"block{block}_pool"


def check_taps(taps: Iterable[str]) -> tuple[str, ...]:
    """Return the taps in network order.

    Raises NstError for a name that is no tap.
    """
    taps = tuple(taps)
    for tap in taps:
        if tap not in TAPS:
            raise not_accepted("tap", tap, TAPS)
    return tuple(sorted(set(taps), key=LAYERS.index))


def layers_to(taps: Iterable[str]) -> tuple[str, ...]:
    """Return the layers that have to be computed for the taps: all up to the deepest one, none after it."""
    return LAYERS[: LAYERS.index(check_taps(taps)[-1]) + 1]


def stride(layer: str) -> int:
    """Return the pixels from one position of a layer's output to the next (8 for relu4_2, 16 for pool4).

    An image of a shorter side has no position there, unless pooling completes odd ones.
    """
    return int(2 ** (block_of(layer) - (0 if layer.startswith("pool") else 1)))


def map_side(layer: str, side: int, rounding: str) -> int:
    """Return the positions that a layer's output has along an image's side of so many pixels.

    `rounding` is what pooling does with an odd last position: `floor` drops it, `ceil` completes it.
    """
    steps = stride(layer)
    return (side + steps - 1) // steps if rounding == "ceil" else side // steps


def weight_names(convolutions: Iterable[str] = CONVOLUTIONS) -> tuple[str, ...]:
    """Return the names of the arrays of a weight set: `conv1_1.weight`, `conv1_1.bias`, ..."""
    return tuple(f"{name}.{part}" for name in convolutions for part in ("weight", "bias"))


def weight_shapes(widths: tuple[int, ...] = WIDTHS) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of a network with these widths; kernels are (out, in, 3, 3)."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels = IMAGE_CHANNELS
    for name in (name for name in CONVOLUTIONS if block_of(name) <= len(widths)):
        width = channels_of(widths, name)
        shapes[f"{name}.weight"] = (width, channels, KERNEL_SIZE, KERNEL_SIZE)
        shapes[f"{name}.bias"] = (width,)
        channels = width
    return shapes


def multiply_adds(widths: Sequence[int], width: int, height: int, taps: Iterable[str]) -> int:
    """Return the multiply-adds of one forward pass to the deepest tap over an image of width x height pixels."""
    shapes = weight_shapes(tuple(widths))
    total = 0
    for layer in layers_to(taps):
        if layer in CONVOLUTIONS:
            total += (width // stride(layer)) * (height // stride(layer)) * math.prod(shapes[f"{layer}.weight"])
    return total


def step_multiply_adds(
    widths: Sequence[int], width: int, height: int, taps: Iterable[str], gram_taps: Iterable[str]
) -> int:
    """Return the multiply-adds of one step: both passes down to the image, and the Gram matrices of `gram_taps`.

    The pass back takes as many as the pass forward: each convolution hands on the gradient by its input, conv1_1 too,
    and none by its weights. So does a Gram matrix: `C^2 P` forward, for C channels at P positions, and `C^2 P` back,
    since the gradient by it is symmetric. What is of a lower order (ReLUs, pooling, losses, the optimiser) is not
    counted.
    """
    grams = 0
    for tap in check_taps(gram_taps):
        grams += channels_of(widths, tap) ** 2 * (width // stride(tap)) * (height // stride(tap))
    return 2 * (multiply_adds(widths, width, height, taps) + grams)


def channels_of(widths: Sequence[int], layer: str) -> int:
    """Return a layer's channels, of the width of each block."""
    return widths[block_of(layer) - 1]


def widths_of(weights: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the width of each block of the network that the arrays belong to.

    A set may end early (the deepest blocks missing); its remaining arrays must have the shapes of one network.

    Raises NstError naming the first array that is missing or has another shape.
    """
    present = [name for name in CONVOLUTIONS if f"{name}.weight" in weights]
    if not present or tuple(present) != CONVOLUTIONS[: len(present)]:
        missing = next(name for name in CONVOLUTIONS if f"{name}.weight" not in weights)
        raise NstError(
            f"weights: expected {missing}.weight, received {sorted(weights)[:4]} ... ({len(weights)} arrays)"
        )
    widths = [0] * len(CONVOLUTIONS_PER_BLOCK)
    for name in present:
        widths[block_of(name) - 1] = widths[block_of(name) - 1] or int(weights[f"{name}.weight"].shape[0])
    expected = weight_shapes(tuple(widths))
    for name in weight_names(present):
        received = tuple(weights[name].shape) if name in weights else "nothing"
        if received != expected[name]:
            raise NstError(f"weights: {name}: expected shape {expected[name]}, received {received}")
    return tuple(widths[: block_of(present[-1])])
