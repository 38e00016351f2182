"""VGG19 from Keras' own, with the spec's weights and pooling, cut at the deepest tap."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nst_spec import vgg19
from nst_spec import winograd as spec
from nst_spec.recipe import Pooling
from nst_tf import winograd as algorithm
from nst_tf.memory import with_gradient


def _pooling_layer(pooling: Pooling, *, xla: bool, **settings: Any) -> keras.Layer:
    # "same" completes an odd border, and leaves the completion out of maximum and average.
    padding = "same" if pooling.rounding == "ceil" else "valid"
    maximum = CompiledMaximum if xla else keras.layers.MaxPooling2D
    layer = keras.layers.AveragePooling2D if pooling.kind == "average" else maximum
    return layer(pool_size=2, strides=2, padding=padding, **settings)


class CompiledMaximum(keras.layers.MaxPooling2D):
    """Keras' maximum pooling with its gradient written out: XLA's own scatters, which takes a CPU ten times as long."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the maxima (1, H, W, C)."""
        return with_gradient(super().call, lambda y, slope: _maximum_gradient(x, y, slope), x)


def _maximum_gradient(x: tf.Tensor, y: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """Return the gradient by x of its maxima y (1, H, W, C); the first of a window's equal ones takes all of it."""
    _, height, width, channels = y.shape
    places = tf.reshape(_fitted(x, 2 * height, 2 * width, x.dtype.min), (1, height, 2, width, 2, channels))
    order = tf.reshape([0, 1, 2, 3], (1, 1, 2, 1, 2, 1))
    is_maximum = places == y[:, :, None, :, None]
    first = tf.reduce_min(tf.where(is_maximum, order, tf.size(order)), axis=(2, 4), keepdims=True)
    shares = tf.where(order == first, slope[:, :, None, :, None], 0)
    return _fitted(tf.reshape(shares, (1, 2 * height, 2 * width, channels)), *x.shape[1:3], 0)


def _fitted(x: tf.Tensor, height: int, width: int, fill: float) -> tf.Tensor:
    """Return x (1, H, W, C) cropped at its end or completed there."""
    x = x[:, :height, :width]
    missing = [[0, 0], [0, height - x.shape[1]], [0, width - x.shape[2]], [0, 0]]
    return tf.pad(x, missing, constant_values=fill)


@functools.cache
def _keras_layers() -> dict[str, dict[str, Any]]:
    image = (None, None, vgg19.IMAGE_CHANNELS)
    with keras.StatelessScope(initialize_variables=False):  # or Keras draws twenty million random weights
        model = keras.applications.VGG19(include_top=False, weights=None, input_shape=image)
    return {layer.name: layer.get_config() for layer in model.layers}


class Network:
    """Features at the taps, for a preprocessed image (1, H, W, 3).

    The first convolution computes in `image_dtype`, all after it in `dtype`; nst_spec.settings.PRECISIONS says why.
    `xla` is whether XLA will compile what calls it, `winograd` whether convolutions of many channels take that
    algorithm.
    """

    def __init__(
        self,
        weights: Mapping[str, NDArray],
        taps: Sequence[str],
        pooling: Pooling,
        *,
        dtype: str,
        image_dtype: str,
        xla: bool = False,
        winograd: bool = False,
    ) -> None:
        self.taps = vgg19.check_taps(taps)
        self.layers: dict[str, keras.Layer] = {}
        first = vgg19.CONVOLUTIONS[0]
        for name in vgg19.layers_to(taps):
            # A Keras layer casts what it is given to its own.
            own = image_dtype if name == first else dtype
            if name in vgg19.CONVOLUTIONS:
                kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
                # Keras' layer rectifies its own output; here that is a layer of its own, so that both can be taps.
                config = _keras_layers()[vgg19.keras_name(name)] | {
                    "filters": len(bias),
                    "activation": "linear",
                    "kernel_initializer": "zeros",
                    "dtype": own,
                }
                takes_winograd = winograd and spec.gains(kernel)
                layer = (algorithm.Convolution if takes_winograd else keras.layers.Conv2D).from_config(config)
                layer.build((None, None, None, kernel.shape[1]))
                layer.set_weights([np.transpose(kernel, (2, 3, 1, 0)), bias])
            else:
                is_relu = name.startswith("relu")
                layer = keras.layers.ReLU(dtype=own) if is_relu else _pooling_layer(pooling, xla=xla, dtype=own)
            self.layers[name] = layer

    def __call__(self, x: tf.Tensor, wanted: Sequence[str] | None = None) -> Iterator[tuple[str, tf.Tensor]]:
        """Yield every tap, or every layer that is wanted, from the first on, with its features (1, H, W, C)."""
        missing = set(self.taps if wanted is None else wanted)
        for name, layer in self.layers.items():
            if not missing:
                break
            x = layer(x)
            if name in missing:
                missing.remove(name)
                yield name, x
