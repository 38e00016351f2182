"""The spec's formulas on tensors: features (1, H, W, C), the optimised variable (1, H, W, 3)."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from nst_spec.losses import GREY_SHARE
from nst_tf.memory import with_gradient


def gram(features: tf.Tensor, divisor: float) -> tf.Tensor:
    """Return the Gram matrix (C, C), of features in bfloat16 in float32; nst_spec.losses.gram."""
    flat = tf.reshape(features, (-1, features.shape[-1]))
    # Of F^T F the gradient F (S + S^T) takes one product, where the tape's own takes two.
    product = with_gradient(
        _gram_product,
        lambda _, slope: tf.matmul(flat, tf.cast(slope + tf.transpose(slope), flat.dtype)),
        flat,
    )
    return product / divisor


FEW_CHANNELS = 4
"""With fewer of them TensorFlow's product is that of long vectors, which loses digits (T15)."""


def _gram_product(flat: tf.Tensor) -> tf.Tensor:
    factor = _wide(flat)
    exact = factor if flat.shape[-1] >= FEW_CHANNELS else tf.cast(factor, tf.float64)
    return tf.cast(tf.matmul(exact, exact, transpose_a=True), factor.dtype)


def squared_error(values: tf.Tensor, target: tf.Tensor, factor: float) -> tf.Tensor:
    """Return `factor * sum (values - target)^2`, of bfloat16 in float32; nst_spec.losses.squared_error."""
    # l2_loss is half of it, and its gradient broadcasts nothing.
    return 2 * factor * tf.nn.l2_loss(_wide(values) - _wide(target))


def _wide(features: tf.Tensor) -> tf.Tensor:
    return tf.cast(features, tf.float32) if features.dtype == tf.bfloat16 else features


def _sum(x: tf.Tensor) -> tf.Tensor:
    # XLA adds one number after the other, and loses what is small beside the sum (T15): row by row there are few, and
    # where the rows' sums are of another type it does not make one sum of both again.
    rows = tf.reduce_sum(x, axis=[2, 3])
    return tf.cast(tf.reduce_sum(tf.cast(rows, tf.float64)), x.dtype)


def _differences(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]


def _cropped_squares(x: tf.Tensor) -> tf.Tensor:
    dy, dx = _differences(x)
    return tf.square(dy[:, :, :-1]) + tf.square(dx[:, :-1])


def _tv_l1(x: tf.Tensor) -> tf.Tensor:
    dy, dx = _differences(x)
    return _sum(tf.abs(dy)) + _sum(tf.abs(dx))


def _tv_mean_squared(x: tf.Tensor) -> tf.Tensor:
    dy, dx = _differences(x)
    return (_sum(tf.square(dy)) + _sum(tf.square(dx))) / x.shape.num_elements()


def _tv_mean_squared_colour(x: tf.Tensor) -> tf.Tensor:
    return _tv_mean_squared(x) - (1 - GREY_SHARE) * _tv_mean_squared(tf.reduce_mean(x, axis=3, keepdims=True))


TV_FORMS: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "l1": _tv_l1,
    "half-squared": lambda x: 0.5 * _sum(_cropped_squares(x)),
    "power-1.25": lambda x: _sum(tf.pow(_cropped_squares(x), 1.25)),
    "mean-squared": _tv_mean_squared,
    "mean-squared-colour": _tv_mean_squared_colour,
}


def total_variation(variable: tf.Tensor, form: str) -> tf.Tensor:
    """Return the total variation of the optimised variable; nst_spec.losses.total_variation."""
    return TV_FORMS[form](variable)
