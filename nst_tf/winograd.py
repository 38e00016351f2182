"""Convolutions by Winograd's algorithm F(4 x 4, 3 x 3): a quarter of the multiplications, for a little more rounding.

The image is cut into tiles d of 6 x 6 positions that begin 4 apart, and with a kernel g each gives 4 x 4 outputs,

    A' [(G g G') * (B' d B)] A,

where * is, position by position, the product over the channels: 36 products of matrices for a whole layer. Source:
A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nst_tf.memory import with_gradient

PIXELS = 192 * 192
"""Content images of fewer pixels are done in less time than XLA takes to compile."""
CHANNELS = 128
"""With fewer channels, in or out, the transforms take more time than the products save."""

B = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
G = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))
"""Times 24."""
A = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
STEP, SIDE = len(A), len(B)
"""How far apart tiles begin, and their side."""


class Convolution(keras.layers.Conv2D):
    """Keras' convolution by this algorithm, forward and backward; there is no gradient with respect to its weights."""

    def set_weights(self, weights: Sequence[NDArray]) -> None:
        """Set kernel (3, 3, in, out) and bias."""
        super().set_weights(weights)
        kernel, bias = map(np.asarray, weights)
        turned = np.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
        self.forward, self.backward = (transformed(each) for each in (kernel, turned))
        self.shift = tf.constant(bias)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the outputs (1, H, W, out)."""
        if None in x.shape:  # XLA compiles for one size
            return super().call(x)
        return with_gradient(
            lambda x: convolution(x, self.forward, self.shift),
            lambda _, slope: convolution(slope, self.backward, None),
            x,
        )


def transformed(kernel: NDArray) -> tf.Tensor:
    """Return G g G' (36, in, out) of a kernel (3, 3, in, out)."""
    g = np.array(G) / 24
    found = tf.matmul(tf.constant(np.kron(g, g), kernel.dtype), tf.reshape(kernel, (len(G[0]) ** 2, -1)))
    return tf.reshape(found, (-1, *kernel.shape[2:]))


def convolution(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    """Return the convolution (1, H, W, out) of x (1, H, W, in), zero around its border, with a transformed kernel."""
    _, height, width, _ = x.shape
    shift = tf.zeros(kernel.shape[-1], x.dtype) if bias is None else bias
    return _outputs(tf.matmul(_tiles(x), kernel), shift, height, width)


# Without XLA each of the sums would be written and read again.


@tf.function(jit_compile=True, autograph=False)
def _tiles(x: tf.Tensor) -> tf.Tensor:
    """Return B' d B of every tile, (36, tiles, in)."""
    _, height, width, channels = x.shape
    down, across = _counts(height, width)
    missing = (STEP * down + 1 - height, STEP * across + 1 - width)
    x = tf.pad(x[0], [[1, missing[0]], [1, missing[1]], [0, 0]])
    rows = tf.stack(_combined(B, [x[i:][: STEP * down : STEP] for i in range(SIDE)]))  # (6, down, W, in)
    found = tf.stack(_combined(B, [rows[:, :, j:][:, :, : STEP * across : STEP] for j in range(SIDE)]), axis=1)
    return tf.reshape(found, (SIDE * SIDE, down * across, channels))


@tf.function(jit_compile=True, autograph=False)
def _outputs(products: tf.Tensor, bias: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Return the outputs (1, H, W, out) of all tiles, A' m A of each one's products m, with the bias."""
    down, across = _counts(height, width)
    products = tf.reshape(products, (SIDE, SIDE, down, across, products.shape[-1]))
    rows = tf.stack(_combined(A, tf.unstack(products)), axis=2)  # (6, down, 4, across, out)
    found = tf.stack(_combined(A, tf.unstack(rows)), axis=3)  # (down, 4, across, 4, out)
    whole = tf.reshape(found, (1, STEP * down, STEP * across, products.shape[-1]))
    return whole[:, :height, :width] + bias


def _counts(height: int, width: int) -> tuple[int, int]:
    return -(-height // STEP), -(-width // STEP)


def _combined(matrix: Sequence[Sequence[int]], parts: Sequence[Any]) -> list[Any]:
    """Return each row's sum of the parts times its numbers."""
    return [sum(number * part for number, part in zip(row, parts, strict=True) if number) for row in matrix]
