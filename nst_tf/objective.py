"""Image to terms, total loss and gradient; targets computed once, the network cut at the deepest tap."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nst_spec import backend as protocol
from nst_spec import preprocessing, terms, vgg19
from nst_spec import recipe as recipes
from nst_spec.memory import Plan
from nst_tf import losses
from nst_tf.network import Network
from nst_tf.optimizers import optimizer_for


class PixelMap:
    """A spec affine map between pixel spaces on tensors (1, H, W, 3), computed where it was made."""

    def __init__(self, affine: preprocessing.Affine, dtype: str) -> None:
        self.affine = affine
        self.scale = tf.constant(affine.scale, dtype)
        self.offset = tf.constant(affine.offset, dtype)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Map an image."""
        if self.affine.is_identity:
            return x
        with tf.device(self.scale.device):
            return tf.gather(x, self.affine.order, axis=-1) * self.scale + self.offset

    def pull_back(self, gradient: tf.Tensor) -> tf.Tensor:
        """Map a gradient by the target to one by the source."""
        with tf.device(self.scale.device):
            return tf.gather(gradient * self.scale, np.argsort(self.affine.order), axis=-1)


class Objective:
    """A problem on a device; nst_spec.backend.Objective.

    `xla` is whether XLA compiles the network's passes, `xla_tv` whether it compiles the total variation, `winograd`
    whether the network takes Winograd's algorithm.
    """

    def __init__(
        self,
        problem: protocol.Problem,
        plan: Plan,
        *,
        dtype: str,
        network_dtype: str,
        device: str,
        xla: bool,
        xla_tv: bool,
        winograd: bool,
    ) -> None:
        self.recipe = recipe = problem.recipe
        self.content = problem.content
        self.plan = plan
        self.dtype, self.network_dtype, self.device = dtype, network_dtype, device
        self.xla, self.xla_tv = xla, xla_tv
        # Nothing branches or loops by a tensor: looking for it takes longer than the trace itself.
        self.loss_and_gradient = tf.function(self._loss_and_gradient, jit_compile=xla, autograph=False)
        # TensorFlow's gradient of a slice takes ten times as long as XLA's, which needs no arrays of the differences,
        # sums as exactly, and gives the same bits every time.
        self.tv_and_gradient = tf.function(self._tv_and_gradient, jit_compile=xla_tv, autograph=False)
        with tf.device(device):
            self.to_space = PixelMap(preprocessing.affine("unit", recipe.space), dtype)
            self.to_image = PixelMap(preprocessing.affine(recipe.space, "unit"), dtype)
            self.to_network = PixelMap(preprocessing.affine(recipe.space, problem.preprocessing), dtype)
            self.network = Network(
                problem.weights.arrays,
                recipe.taps,
                recipe.pooling,
                dtype=network_dtype,
                image_dtype=dtype,
                xla=xla,
                winograd=winograd,
            )
            self.coefficients = tf.constant(terms.coefficients(recipe), dtype)
            self._set_targets(problem)

    def _set_targets(self, problem: protocol.Problem) -> None:
        self.content_targets = terms.content_targets(problem, self.content_features(self.variable(problem.content)))
        grams = [self.grams(self.variable(style), terms.gram_divisors(problem, style)) for style in problem.styles]
        self.style_targets = terms.style_targets(
            problem, grams, lambda gram: float(np.square(gram, dtype=np.float64).sum())
        )

    def content_features(self, image: tf.Tensor) -> dict[str, tuple[tf.Tensor | tuple[tf.Tensor, ...], float]]:
        """Return the variable's features at the content taps, each with its energy, the sum of its squares."""
        features = self._features_of(image, list(self.recipe.content.taps))
        return {tap: (feature, self._energy(feature)) for tap, feature in features.items()}

    def _energy(self, features: tf.Tensor) -> float:
        return float(tf.reduce_sum(tf.square(tf.cast(features, self.dtype))))

    def grams(self, image: tf.Tensor, divisors: Mapping[str, float]) -> dict[str, tf.Tensor]:
        """Return the variable's Gram matrices, without a gradient, at the taps that have a divisor."""
        features = self._features_of(image, list(divisors))
        return {tap: losses.gram(features[tap], divisor) for tap, divisor in divisors.items()}

    def _features_of(self, image: tf.Tensor, taps: Sequence[str]) -> dict[str, tf.Tensor]:
        # Of any size, so that nothing is compiled for a style image's own.
        @tf.function(input_signature=[self._any_size], autograph=False)
        def features(x: tf.Tensor) -> dict[str, tf.Tensor]:
            return dict(self.network(self.to_network(x), taps))

        return features(image)

    @property
    def _any_size(self) -> tf.TensorSpec:
        return tf.TensorSpec((1, None, None, vgg19.IMAGE_CHANNELS), self.dtype)

    def variable(self, image: protocol.Image) -> tf.Tensor:
        """Return an image (H, W, 3) as the variable (1, H, W, 3) in the optimised space."""
        with tf.device(self.device):
            return self.to_space(tf.constant(np.asarray(image)[None], self.dtype))

    def terms(self, features: Iterable[tuple[str, tf.Tensor]]) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Return the taps' terms, in the order of Losses.of, their weighted sum, and the Gram matrices."""
        parts, grams = terms.by_tap(self.recipe, features, self._content_term, self._style_term)
        values = tf.stack(parts)
        return values, tf.tensordot(values, self.coefficients[:-1], axes=1), grams

    def _content_term(self, tap: str, features: tf.Tensor) -> tf.Tensor:
        target = self.content_targets[tap]
        return losses.squared_error(features, target.features, target.factor)

    def _style_term(self, tap: str, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        target = self.style_targets[tap]
        gram = losses.gram(features, target.divisor)
        return losses.squared_error(gram, target.gram, target.factor), gram

    def _loss_and_gradient(self, variable: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Return the terms' values, the gradient of the total loss by the variable, and the Gram matrices."""
        with tf.device(self.device):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variable)
                values, total, grams = self.terms(self.network(self.to_network(variable)))
            tv, slope = self.tv_and_gradient(variable)
            return tf.concat([values, [tv]], axis=0), tape.gradient(total, variable) + slope, grams

    def _tv_and_gradient(self, variable: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.device(self.device):
            form = self.recipe.tv.form
            # A recipe without the term is still told its value.
            if not self.recipe.tv.weight:
                return losses.total_variation(variable, form), tf.zeros_like(variable)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variable)
                value = losses.total_variation(variable, form)
                total = value * self.coefficients[-1]
            return value, tape.gradient(total, variable)

    @tf.function(autograph=False)
    def _passes(self, variable: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        # A graph, as the evaluation is one, so that both round alike.
        with tf.device(self.device):
            x = self.to_network(variable)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                outputs = {"input": x} | dict(self.network(x, list(self.network.layers)))
                in_full = {layer: tf.cast(output, x.dtype) for layer, output in outputs.items()}
                _, total, _ = self.terms(in_full.items())
            slopes = tape.gradient(total, outputs)
            return in_full, {layer: tf.cast(slope, x.dtype) for layer, slope in slopes.items()}

    def evaluate(self, image: protocol.Image) -> protocol.Evaluation:
        """Return losses, gradient and Gram matrices of an image."""
        values, gradient, grams = self.loss_and_gradient(self.variable(image))
        return protocol.Evaluation(
            protocol.Losses.of(self.recipe, values.numpy().tolist()),
            to_neutral(self.to_space.pull_back(gradient)),
            {tap: gram.numpy() for tap, gram in grams.items()},
            {tap: target.gram.numpy() for tap, target in self.style_targets.items()},
        )

    def passes(self, image: protocol.Image) -> protocol.Passes:
        """Return both passes' results at every layer."""
        outputs, gradients = self._passes(self.variable(image))
        layers = ("input", *self.network.layers)
        return protocol.Passes(*({layer: to_neutral(kind[layer]) for layer in layers} for kind in (outputs, gradients)))

    def descent(self, image: protocol.Image) -> "Descent":
        """Return an optimisation that starts from an image."""
        return Descent(self, image)


class Descent:
    """One optimisation at one size; nst_spec.backend.AdaptableDescent."""

    def __init__(self, objective: Objective, image: protocol.Image) -> None:
        self.objective = objective
        self.to_image = objective.to_image  # which outlives it, where memory runs out for the next
        low, high = preprocessing.box(objective.recipe.space)
        with tf.device(objective.device):
            self.current = tf.Variable(objective.variable(image))
            self.best = tf.Variable(self.current)
            self.low, self.high = (tf.constant(side, objective.dtype) for side in (low, high))
        self.optimize_by(objective.recipe.optimizer)

    def evaluate(self) -> protocol.Losses:
        """Compute losses and gradient of the current image."""
        values, self.gradient, _ = self.objective.loss_and_gradient(self.current.value())
        return protocol.Losses.of(self.objective.recipe, values.numpy().tolist())

    def update(self) -> None:
        """Take the optimiser's step, then clamp if the recipe clamps each step."""
        with tf.device(self.objective.device):
            # A step whose clamp ran out of memory is tried again, and must not be taken twice.
            if self.gradient is not None:
                self.optimizer.update(self.gradient)
                self.gradient = None  # it is as large as the image, and would lie beside the next one
            if self.objective.recipe.clamp == "each-step":
                self.current.assign(tf.clip_by_value(self.current, self.low, self.high))

    def place(self, image: protocol.Image) -> None:
        """Go on from another image, the optimiser's state as it is."""
        self.current.assign(self.objective.variable(image))

    def judge_by(self, make: Callable[[], Objective]) -> None:
        """Go on with another objective, made once this one's memory is free; image and optimiser's state stay."""
        del self.objective
        self.objective = make()

    def optimize_by(self, settings: recipes.Optimizer) -> None:
        """Go on with another optimiser, which begins anew."""
        with tf.device(self.objective.device):
            self.optimizer = optimizer_for(settings, self.current)

    def keep(self) -> None:
        """Remember the current image."""
        self.best.assign(self.current)

    def restore(self) -> None:
        """Go back to the remembered image and clear the optimiser's history."""
        with tf.device(self.objective.device):
            self.current.assign(self.best)
            self.optimizer.reset()

    def image(self) -> protocol.Image:
        """Return the current image, unclipped."""
        return to_neutral(self.to_image(self.current.value()))

    def kept(self) -> protocol.Image:
        """Return the remembered image, unclipped."""
        return to_neutral(self.to_image(self.best.value()))


def to_neutral(tensor: tf.Tensor) -> NDArray:
    """Return a tensor (1, H, W, C) as an array (H, W, C) of its own."""
    return tensor.numpy()[0]
