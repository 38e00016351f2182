"""Memory as TensorFlow has it: what is free, what an error says, what can be given back."""

import gc
from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.client import device_lib

# No public name records an operation.
from tensorflow.python.eager import record

from nst_spec import heap
from nst_spec.memory import free_on_host

WORKSPACE = 14
"""Arrays as large as the largest layer that a backward pass takes beside what the forward pass has kept.

On a CPU, Eigen's gradient of a convolution lays out all its windows, nine times a layer.
"""
ONEDNN_WORKSPACE = 5
"""The same for oneDNN, which does without that, but never gives its pool back."""
XLA_WORKSPACE = 4
"""The same where XLA compiles the passes, which uses its memory again and again."""


def free(device: str) -> int:
    """Return the bytes that are free on a device, those included that TensorFlow holds in stock."""
    # Apple's GPU has no memory of its own, and its plug-in names no limit.
    if device in ("cpu", "mps"):
        return free_on_host()
    # TensorFlow begins to use the GPU here, or the next line would, and take all of its memory at once.
    tf.config.list_logical_devices("GPU")
    # It tells nowhere else what it may take.
    limit = next(found.memory_limit for found in device_lib.list_local_devices() if found.device_type == "GPU")
    return int(limit - tf.config.experimental.get_memory_info("GPU:0")["current"])


def release(device: str) -> None:
    """Give back what nothing refers to any more."""
    del device
    gc.collect()  # a graph refers to itself
    heap.give_back()


def ran_out(error: BaseException) -> bool:
    """Return whether the error says that memory has run out, the host's or the device's."""
    return isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)


def with_gradient(
    function: Callable[[tf.Tensor], tf.Tensor], gradient: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], x: tf.Tensor
) -> tf.Tensor:
    """Return the function's value y for x, which a tape takes to have the gradient `gradient(y, slope)` by x.

    `tf.custom_gradient` keeps every graph that it was called in, and the weights there, as long as the process runs.
    """
    with record.stop_recording():
        y = tf.identity(function(x))

    def by_x(slope: tf.Tensor) -> list[tf.Tensor]:
        slope.set_shape(y.shape)  # the slope of a slice, as a tile's tap is one, does not know its own
        return [gradient(y, slope)]

    record.record_operation("NstWithGradient", [y], [x], by_x)
    return y
