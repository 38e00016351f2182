"""Convolutions by the spec's Winograd algorithm, a whole layer at a time."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nst_spec import winograd
from nst_spec.winograd import SIDE, STEP
from nst_tf.memory import with_gradient


class Convolution(keras.layers.Conv2D):
    """Keras' convolution by this algorithm, forward and backward; there is no gradient with respect to its weights."""

    def set_weights(self, weights: Sequence[NDArray]) -> None:
        """Set kernel (3, 3, in, out) and bias."""
        super().set_weights(weights)
        kernel, bias = map(np.asarray, weights)
        self.transformed = transformed(kernel)
        self.shift = tf.constant(bias)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the outputs (1, H, W, out)."""
        return with_gradient(
            lambda x: convolution(x, self.transformed, self.shift),
            lambda _, slope: convolution(slope, self.transformed, None, turned=True),
            x,
        )


def transformed(kernel: NDArray) -> tf.Tensor:
    """Return G g G' (36, in, out) of a kernel g (3, 3, in, out)."""
    channels = kernel.shape[2:]
    found = tf.matmul(tf.constant(winograd.KERNEL, kernel.dtype), tf.reshape(kernel, (-1, np.prod(channels))))
    return tf.reshape(found, (-1, *channels))


def convolution(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None, *, turned: bool = False) -> tf.Tensor:
    """Return the convolution (1, H, W, out) of x (1, H, W, in), zero around its border, with a transformed kernel.

    With the kernel turned, its in and out change places, and x (1, H, W, out) gives (1, H, W, in).
    """
    from_input, to_output = winograd.matrices(turned)
    height, width = _sides(x[0])
    down, across = winograd.tiles(height), winograd.tiles(width)
    products = tf.matmul(_tiles(x[0], down, across, from_input), kernel, transpose_b=turned)
    found = _outputs(products, down, across, to_output)[:height, :width][None]
    found.set_shape((*x.shape[:3], products.shape[-1]))
    return found if bias is None else found + bias


def _sides(x: tf.Tensor) -> tuple[Any, Any]:
    # Numbers where the graph is of one size, else tensors.
    height, width = tf.unstack(tf.shape(x)[:2]) if None in x.shape else x.shape[:2]
    return height, width


def _tiles(x: tf.Tensor, down: Any, across: Any, matrix: NDArray[np.float64]) -> tf.Tensor:
    """Return B' d B, by its matrix, of all tiles of x (H, W, in): (36, tiles, in)."""
    height, width = _sides(x)
    channels = x.shape[2]
    x = tf.pad(x, [[1, STEP * down + 1 - height], [1, STEP * across + 1 - width], [0, 0]])
    i, j = np.divmod(np.arange(SIDE * SIDE)[:, None, None], SIDE)
    rows = STEP * tf.range(down)[:, None] + i
    places = rows * (STEP * across + 2) + STEP * tf.range(across) + j
    d = tf.gather(tf.reshape(x, (-1, channels)), places)
    found = tf.matmul(tf.constant(matrix, x.dtype), tf.reshape(d, (SIDE * SIDE, -1)))
    return tf.reshape(found, (SIDE * SIDE, -1, channels))


def _outputs(products: tf.Tensor, down: Any, across: Any, matrix: NDArray[np.float64]) -> tf.Tensor:
    """Return A' m A, by its matrix, of all products m (36, tiles, out), each in its place: (4 down, 4 across, out)."""
    channels = products.shape[-1]
    found = tf.matmul(tf.constant(matrix, products.dtype), tf.reshape(products, (SIDE * SIDE, -1)))
    found = tf.transpose(tf.reshape(found, (STEP, STEP, down, across, channels)), (2, 0, 3, 1, 4))
    return tf.reshape(found, (STEP * down, STEP * across, channels))
