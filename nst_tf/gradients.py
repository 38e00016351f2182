"""Gradients of our own.

`tf.custom_gradient` keeps every graph that it was ever called in, and the weights there, as long as the process runs.
"""

from collections.abc import Callable

import tensorflow as tf

# No public name records an operation.
from tensorflow.python.eager import record


def with_gradient(
    function: Callable[[tf.Tensor], tf.Tensor], gradient: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], x: tf.Tensor
) -> tf.Tensor:
    """Return the function's value y for x, which a tape takes to have the gradient `gradient(y, slope)` by x."""
    with record.stop_recording():
        y = tf.identity(function(x))
    record.record_operation("NstWithGradient", [y], [x], lambda slope: [gradient(y, slope)])
    return y
