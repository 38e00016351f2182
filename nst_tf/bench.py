"""What is timed beside a step: the bare network, the tutorial's loop, a matrix product; nst_spec.backend.Workload.

The tutorial is TensorFlow's "Neural style transfer" (tensorflow.org), from its facts: a Keras model of all taps, fed
255 times the image; Gram matrices by `einsum`, divided by their positions; mean squared errors, shared out among the
taps, and `tf.image.total_variation`; a step is a `tf.function` that takes Keras' Adam and clips the image.
"""

import keras
import numpy as np
import tensorflow as tf

from nst_spec import backend as protocol
from nst_spec import generator, preprocessing, vgg19
from nst_tf.objective import Objective, PixelMap


class Workload:
    """What is timed of a problem; nst_spec.backend.Workload."""

    def __init__(self, problem: protocol.Problem, objective: Objective) -> None:
        self.problem, self.objective = problem, objective
        self.device = objective.device

    def loss_pass(self) -> protocol.Work:
        """Losses and gradient of the content image, as a step computes them, nothing read from the device."""
        variable = self.objective.variable(self.problem.content)
        return lambda: self.objective.loss_and_gradient(variable)

    def bare_pass(self) -> protocol.Work:
        """The network to its deepest tap and back to the image, with the plain sum of that tap for a loss."""
        objective = self.objective
        deepest = self.problem.recipe.taps[-1]
        with tf.device(self.device):
            image = objective.to_network(objective.variable(self.problem.content))

        @tf.function(jit_compile=objective.xla, autograph=False)
        def gradient(image: tf.Tensor) -> tf.Tensor:
            with tf.device(self.device):
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(image)
                    ((_, features),) = objective.network(image, [deepest])
                    loss = tf.reduce_sum(features)
                return tape.gradient(loss, image)

        return lambda: gradient(image)

    def tutorial_step(self) -> protocol.Work:
        """A step of the loop in the framework's own tutorial, in float32, with the recipe's taps and pooling."""
        content_weight, style_weight, tv_weight = self.problem.recipe.term_weights
        with tf.device(self.device):
            extractor = _Extractor(self.problem)
            content_targets = extractor(self._image(self.problem.content))[0]
            style_targets = extractor(self._image(self.problem.styles[0]))[1]
            image = tf.Variable(self._image(self.problem.content))
            # The tutorial's own, whatever the recipe's: Keras has no L-BFGS.
            optimizer = keras.optimizers.Adam(learning_rate=0.02, beta_1=0.99, epsilon=0.1)

        def shared_out(outputs: dict[str, tf.Tensor], targets: dict[str, tf.Tensor], weight: float) -> tf.Tensor:
            errors = [tf.reduce_mean((outputs[tap] - targets[tap]) ** 2) for tap in outputs]
            return tf.add_n(errors) * weight / len(errors)

        @tf.function
        def train_step(image: tf.Variable) -> tf.Tensor:
            with tf.device(self.device):
                with tf.GradientTape() as tape:
                    contents, styles = extractor(image)
                    loss = shared_out(styles, style_targets, style_weight)
                    loss += shared_out(contents, content_targets, content_weight)
                    loss += tv_weight * tf.reduce_sum(tf.image.total_variation(image))
                optimizer.apply_gradients([(tape.gradient(loss, image), image)])
                image.assign(tf.clip_by_value(image, 0.0, 1.0))
                return loss

        return lambda: train_step(image)

    def _image(self, image: protocol.Image) -> tf.Tensor:
        return tf.constant(np.asarray(image)[None], "float32")

    def matrix_product(self, side: int) -> protocol.Work:
        """The product of two (side, side) matrices, in what the network computes in."""
        numbers = generator.uniform(0, (2, side, side))
        with tf.device(self.device):
            a, b = (tf.constant(matrix, self.objective.network_dtype) for matrix in numbers)

        def work() -> tf.Tensor:
            with tf.device(self.device):
                return tf.matmul(a, b)

        return work

    def finish(self) -> None:
        """Wait until the device has done all that it was given."""
        tf.test.experimental.sync_devices()

    def peak_memory(self) -> int | None:
        """Return the most bytes that the device has held at a time, or None where the framework does not count."""
        name = self.device.removeprefix("/")
        return tf.config.experimental.get_memory_info(name)["peak"] if name.startswith("GPU") else None


class _Extractor:
    """The tutorial's model: from an image to the content taps' features and the style taps' Gram matrices."""

    def __init__(self, problem: protocol.Problem) -> None:
        recipe = problem.recipe
        self.content_taps, self.style_taps = tuple(recipe.content.taps), tuple(recipe.style.taps)
        self.to_network = PixelMap(preprocessing.affine("unit", problem.preprocessing), "float32")
        x = inputs = keras.Input((None, None, vgg19.IMAGE_CHANNELS))
        outputs = {}
        for name in vgg19.layers_to(recipe.taps):
            outputs[name] = x = _tutorial_layer(name, problem)(x)
        self.model = keras.Model(inputs, {tap: outputs[tap] for tap in recipe.taps})
        self.model.trainable = False

    def __call__(self, image: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        features = self.model(self.to_network(image))
        grams = {tap: _tutorial_gram(features[tap]) for tap in self.style_taps}
        return {tap: features[tap] for tap in self.content_taps}, grams


def _tutorial_gram(x: tf.Tensor) -> tf.Tensor:
    shape = tf.shape(x)
    return tf.linalg.einsum("bijc,bijd->bcd", x, x) / tf.cast(shape[1] * shape[2], tf.float32)


def _tutorial_layer(name: str, problem: protocol.Problem) -> keras.Layer:
    # Of its own and not the backend's Network, which may know tricks that the tutorial does not.
    if name in vgg19.CONVOLUTIONS:
        kernel, bias = (problem.weights.arrays[f"{name}.{part}"] for part in ("weight", "bias"))
        layer = keras.layers.Conv2D(len(bias), vgg19.KERNEL_SIZE, padding="same")
        layer.build((None, None, None, kernel.shape[1]))
        layer.set_weights([np.transpose(kernel, (2, 3, 1, 0)), bias])
        return layer
    if name.startswith("relu"):
        return keras.layers.ReLU()
    pooling = problem.recipe.pooling
    layer = keras.layers.AveragePooling2D if pooling.kind == "average" else keras.layers.MaxPooling2D
    return layer(pool_size=2, strides=2, padding="same" if pooling.rounding == "ceil" else "valid")
