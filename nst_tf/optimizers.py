"""The spec's update rules, which Keras has only in part. Each updates `variable` in place from a gradient."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nst_spec import recipe as recipes
from nst_spec.optimizers import CompactLBFGS, adam_epsilon, overflows, sgd_rate, undivided

BLOCK, BLOCK_BYTES = 5, 2**27
"""Pairs of L-BFGS in one array, and its bytes, at most: a few large products take less time than many small ones, but
for every new pair its array is copied."""


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
        self._step = tf.function(self._apply, autograph=False)
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
    """L-BFGS without line search, one update per evaluation; nst_spec.optimizers.CompactLBFGS."""

    def __init__(self, settings: recipes.LBFGS, variable: tf.Variable) -> None:
        self.compact, self.variable = CompactLBFGS(settings), variable
        bytes_of_pair = 2 * variable.shape.num_elements() * variable.dtype.size
        self.pairs_together = max(1, min(BLOCK, BLOCK_BYTES // bytes_of_pair))
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        self.compact.reset()
        self.blocks: list[tf.Tensor] = []  # (2 x pairs together, n): s and y of each
        self.previous: tuple[tf.Tensor, tf.Tensor] | None = None

    def update(self, gradient: tf.Tensor) -> None:
        """Take one step."""
        g = tf.reshape(gradient, [-1])
        latest = None if self.previous is None else tf.stack([self.previous[1], g - self.previous[0]])
        step = self.compact.step(*self._read(g, latest))
        if step is None:
            return
        if step.row is not None:
            self._put(latest, step.row)
        moved = step.of_gradient * g
        for number, block in enumerate(self.blocks):
            shares = step.shares[number * self.pairs_together :][: self.pairs_together].reshape(1, -1)
            moved += tf.matmul(tf.constant(shares, g.dtype), block)[0]
        self.previous = g, moved
        if step.moves:
            self.variable.assign_add(tf.reshape(moved, self.variable.shape))

    def _read(self, g: tf.Tensor, latest: tf.Tensor | None) -> tuple[NDArray, NDArray]:
        """Return the gradient's norms and the products, as the spec's wants them."""
        changes = () if latest is None else (latest[1],)
        norms, products = self._products(g, changes, latest)
        if overflows(norms, products):
            unit = max(float(tf.reduce_max(tf.abs(vector))) for vector in (g, *changes))
            return undivided(*self._products(g / unit, [change / unit for change in changes], latest), unit)
        return norms, products

    def _products(
        self, g: tf.Tensor, changes: Sequence[tf.Tensor], latest: tf.Tensor | None
    ) -> tuple[NDArray, NDArray]:
        magnitudes = tf.abs(g)
        norms = tf.reduce_max(magnitudes), tf.reduce_sum(magnitudes), tf.reduce_sum(g * g)
        numbers = [tf.stack(norms)]
        if latest is not None:
            # As columns: of two long rows with two others, a product takes a CPU three times as long.
            vectors = tf.stack([g, *changes], axis=1)
            numbers += [tf.reshape(tf.matmul(pairs, vectors), [-1]) for pairs in (*self.blocks, latest)]
        read = tf.concat(numbers, axis=0).numpy().astype(np.float64)
        return read[:3], read[3:].reshape(-1, 2, 2).transpose(2, 0, 1)

    def _put(self, latest: tf.Tensor, row: int) -> None:
        number, place = divmod(row, self.pairs_together)
        if number == len(self.blocks):
            self.blocks.append(latest)
            return
        held = self.blocks[number]
        parts = held[: 2 * place], latest, held[2 * place + 2 :]
        self.blocks[number] = tf.concat([part for part in parts if len(part)], axis=0)


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


def optimizer_for(settings: recipes.Optimizer, variable: tf.Variable) -> Optimizer:
    """Return the update rule that the settings describe, for a variable."""
    if isinstance(settings, recipes.Adam):
        return Adam(settings, variable)
    if isinstance(settings, recipes.LBFGS):
        return LBFGS(settings, variable)
    return SGD(settings, variable)
