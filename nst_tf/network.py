"""VGG19 from Keras' own, with the spec's weights and pooling, cut at the deepest tap."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nst_spec import vgg19
from nst_spec.recipe import Pooling


def _pooling_layer(pooling: Pooling, **settings: Any) -> keras.Layer:
    # "same" completes an odd border, and leaves the completion out of maximum and average.
    padding = "same" if pooling.rounding == "ceil" else "valid"
    layer = keras.layers.AveragePooling2D if pooling.kind == "average" else keras.layers.MaxPooling2D
    return layer(pool_size=2, strides=2, padding=padding, **settings)


@functools.cache
def _keras_layers() -> dict[str, dict[str, Any]]:
    model = keras.applications.VGG19(include_top=False, weights=None, input_shape=(None, None, vgg19.IMAGE_CHANNELS))
    return {layer.name: layer.get_config() for layer in model.layers}


class Network:
    """Features at the taps, for a preprocessed image (1, H, W, 3).

    The first convolution computes in `image_dtype`, the others in `dtype`; nst_spec.backend.PRECISIONS says why.
    """

    def __init__(
        self,
        weights: Mapping[str, NDArray],
        taps: Sequence[str],
        pooling: Pooling,
        *,
        dtype: str,
        image_dtype: str,
    ) -> None:
        self.taps = vgg19.check_taps(taps)
        self.layers: dict[str, keras.Layer] = {}
        x = keras.Input((None, None, vgg19.IMAGE_CHANNELS), dtype=image_dtype)
        first = vgg19.CONVOLUTIONS[0]
        for name in vgg19.layers_to(taps):
            # A Keras layer casts what it is given to its own.
            own = image_dtype if name in (first, vgg19.rectified(first)) else dtype
            if name in vgg19.CONVOLUTIONS:
                kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
                # Keras' layer rectifies its own output; here that is a layer of its own, so that both can be taps.
                config = _keras_layers()[vgg19.keras_name(name)] | {
                    "filters": len(bias),
                    "activation": "linear",
                    "kernel_initializer": "zeros",
                    "dtype": own,
                }
                layer = keras.layers.Conv2D.from_config(config)
                x = layer(x)
                layer.set_weights([np.transpose(kernel, (2, 3, 1, 0)), bias])
            else:
                is_relu = name.startswith("relu")
                layer = keras.layers.ReLU(dtype=own) if is_relu else _pooling_layer(pooling, dtype=own)
                x = layer(x)
            self.layers[name] = layer

    def __call__(self, x: tf.Tensor, wanted: Sequence[str] | None = None) -> dict[str, tf.Tensor]:
        """Return the features (1, H, W, C) at every tap, or at the layers that are wanted."""
        wanted = self.taps if wanted is None else wanted
        features = {}
        for name, layer in self.layers.items():
            x = layer(x)
            if name in wanted:
                features[name] = x
            if len(features) == len(wanted):
                break
        return features
