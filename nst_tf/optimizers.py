"""The spec's update rules, which Keras has only in part. Each updates `variable` in place from a gradient."""

from typing import Protocol

import tensorflow as tf

from nst_spec import recipe as recipes
from nst_spec.optimizers import CURVATURE_FLOOR, adam_epsilon, sgd_rate


class Optimizer(Protocol):
    """An update rule with its state."""

    def update(self, gradient: tf.Tensor) -> None:
        """Take one step."""

    def reset(self) -> None:
        """Forget everything but the constants."""


class Adam:
    """Adam in either epsilon convention; nst_spec.optimizers.Adam."""

    def __init__(self, settings: recipes.Adam, variable: tf.Variable) -> None:
        self.settings, self.variable = settings, variable
        self.m, self.v = (tf.Variable(tf.zeros_like(variable)) for _ in range(2))
        self._step = tf.function(self._apply)
        self.reset()

    def reset(self) -> None:
        """Forget the moments."""
        self.t = 0
        for moment in (self.m, self.v):
            moment.assign(tf.zeros_like(moment))

    def update(self, gradient: tf.Tensor) -> None:
        """Take one step."""
        s = self.settings
        self.t += 1
        # What changes from step to step goes in as tensors, so that the graph is traced once.
        numbers = s.lr / (1 - s.beta1**self.t), (1 - s.beta2**self.t) ** 0.5, adam_epsilon(s, self.t)
        self._step(gradient, *(tf.constant(number, gradient.dtype) for number in numbers))

    def _apply(self, gradient: tf.Tensor, length: tf.Tensor, correction: tf.Tensor, epsilon: tf.Tensor) -> None:
        s = self.settings
        self.m.assign(s.beta1 * self.m + (1 - s.beta1) * gradient)
        self.v.assign(s.beta2 * self.v + (1 - s.beta2) * tf.square(gradient))
        self.variable.assign_sub(length * self.m / (tf.sqrt(self.v) / correction + epsilon))


class LBFGS:
    """L-BFGS without line search, one update per evaluation; nst_spec.optimizers.LBFGS."""

    def __init__(self, settings: recipes.LBFGS, variable: tf.Variable) -> None:
        self.settings, self.variable = settings, variable
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        self.pairs: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]] = []
        self.previous: tuple[tf.Tensor, tf.Tensor] | None = None
        self.scale: tf.Tensor | float = 1.0

    def update(self, gradient: tf.Tensor) -> None:
        """Take one step."""
        s = self.settings
        g = tf.reshape(gradient, [-1])
        if tf.reduce_max(tf.abs(g)) <= s.tolerance_grad:
            return
        length: tf.Tensor | float = s.lr
        if self.previous is None:
            length *= tf.minimum(1.0, 1.0 / tf.reduce_sum(tf.abs(g)))
        else:
            self._remember(g)
        direction = self._direction(g)
        step = length * direction
        self.previous = (g, step)
        if _dot(g, direction) > -s.tolerance_change:
            return
        self.variable.assign_add(tf.reshape(step, self.variable.shape))

    def _remember(self, g: tf.Tensor) -> None:
        old_g, step = self.previous
        change = g - old_g
        curvature = _dot(change, step)
        if curvature > CURVATURE_FLOOR:
            self.pairs = [*self.pairs, (step, change, 1.0 / curvature)][-self.settings.history :]
            self.scale = curvature / _dot(change, change)

    def _direction(self, g: tf.Tensor) -> tf.Tensor:
        q = -g
        shares = []
        for step, change, rho in reversed(self.pairs):
            share = rho * _dot(step, q)
            shares.append(share)
            q = q - share * change
        q = q * self.scale
        for (step, change, rho), share in zip(self.pairs, reversed(shares), strict=True):
            q = q + step * (share - rho * _dot(change, q))
        return q


class SGD:
    """Gradient descent with exponential decay; nst_spec.optimizers.SGD."""

    def __init__(self, settings: recipes.SGD, variable: tf.Variable) -> None:
        self.settings, self.variable = settings, variable
        self.reset()

    def reset(self) -> None:
        """Begin the decay anew."""
        self.t = 0

    def update(self, gradient: tf.Tensor) -> None:
        """Take one step."""
        self.t += 1
        self.variable.assign_sub(sgd_rate(self.settings, self.t) * gradient)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.tensordot(a, b, axes=1)


def optimizer_for(settings: recipes.Optimizer, variable: tf.Variable) -> Optimizer:
    """Return the update rule that the settings describe, for a variable."""
    if isinstance(settings, recipes.Adam):
        return Adam(settings, variable)
    if isinstance(settings, recipes.LBFGS):
        return LBFGS(settings, variable)
    return SGD(settings, variable)
