"""Every update rule, in float64 NumPy.

x is the optimised variable, g the gradient of the total loss, t the number of the step, from 1.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nst_spec import recipe as recipes

Array = NDArray[np.float64]

CURVATURE_FLOOR = 1e-10
"""L-BFGS remembers a pair (s, y) only where y.s is above this; torch.optim.LBFGS."""


class Optimizer(Protocol):
    """An update rule with its state."""

    def update(self, x: Array, g: Array) -> Array:
        """Return the variable after one step."""

    def reset(self) -> None:
        """Forget everything but the constants."""


class Adam:
    """Adam (Kingma & Ba, ICLR 2015), its epsilon in either convention.

    m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2.
    "torch" (Algorithm 1): x -= lr * m_hat / (sqrt(v_hat) + epsilon), m_hat = m/(1-beta1^t), v_hat = v/(1-beta2^t).
    "hat" (section 2; Keras, TF1): x -= lr * sqrt(1-beta2^t)/(1-beta1^t) * m / (sqrt(v) + epsilon).
    """

    def __init__(self, settings: recipes.Adam) -> None:
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Set m, v and t to zero."""
        self.m: Array | float = 0.0
        self.v: Array | float = 0.0
        self.t = 0

    def update(self, x: Array, g: Array) -> Array:
        """Return the variable after one step."""
        s = self.settings
        self.t += 1
        self.m = s.beta1 * self.m + (1 - s.beta1) * g
        self.v = s.beta2 * self.v + (1 - s.beta2) * g**2
        return x - s.lr / (1 - s.beta1**self.t) * self.m / (
            np.sqrt(self.v / (1 - s.beta2**self.t)) + adam_epsilon(s, self.t)
        )


def adam_epsilon(settings: recipes.Adam, t: int) -> float:
    """Return the epsilon which, in the "torch" form at step t, gives the settings' own convention."""
    if settings.convention == "hat":
        return float(settings.epsilon / np.sqrt(1 - settings.beta2**t))
    return settings.epsilon


class LBFGS:
    """Limited-memory BFGS without line search: one evaluation and one update a step, its state kept.

    The semantics of torch.optim.LBFGS with max_iter=1 (Nocedal & Wright, "Numerical Optimization", algorithm 7.4):
    step length min(1, 1/|g|_1) * lr at first, lr afterwards; a pair (s, y) is remembered where y.s > 1e-10; nothing
    moves when max|g| <= tolerance_grad or when g.d > -tolerance_change.
    """

    def __init__(self, settings: recipes.LBFGS) -> None:
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        self.pairs: list[tuple[Array, Array, float]] = []
        self.previous: tuple[Array, Array] | None = None
        self.scale = 1.0

    def update(self, x: Array, g: Array) -> Array:
        """Return the variable after one step."""
        s = self.settings
        g = g.ravel()
        if np.abs(g).max() <= s.tolerance_grad:
            return x
        length = s.lr
        if self.previous is None:
            length *= min(1.0, 1.0 / np.abs(g).sum())
        else:
            self._remember(g)
        direction = self._direction(g)
        self.previous = (g, direction * length)
        if g @ direction > -s.tolerance_change:
            return x
        return x + (length * direction).reshape(x.shape)

    def _remember(self, g: Array) -> None:
        assert self.previous is not None
        old_g, step = self.previous
        change = g - old_g
        curvature = float(change @ step)
        if curvature > CURVATURE_FLOOR:
            self.pairs = [*self.pairs, (step, change, 1.0 / curvature)][-self.settings.history :]
            self.scale = curvature / float(change @ change)

    def _direction(self, g: Array) -> Array:
        q = -g
        shares = []
        for step, change, rho in reversed(self.pairs):
            share = rho * float(step @ q)
            shares.append(share)
            q = q - share * change
        q = q * self.scale
        for (step, change, rho), share in zip(self.pairs, reversed(shares), strict=True):
            q = q + step * (share - rho * float(change @ q))
        return q


class SGD:
    """Gradient descent, lr decaying exponentially: x -= lr * decay_rate^((t-1)/decay_steps) * g.

    Source: keras.optimizers.schedules.ExponentialDecay, staircase=False, as the keras-io example uses it.
    """

    def __init__(self, settings: recipes.SGD) -> None:
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Set t to zero."""
        self.t = 0

    def update(self, x: Array, g: Array) -> Array:
        """Return the variable after one step."""
        self.t += 1
        return x - sgd_rate(self.settings, self.t) * g


def sgd_rate(settings: recipes.SGD, t: int) -> float:
    """Return the learning rate of step t, counted from 1."""
    return float(settings.lr * settings.decay_rate ** ((t - 1) / settings.decay_steps))


def optimizer_for(settings: recipes.Optimizer) -> Optimizer:
    """Return the update rule that the settings describe."""
    if isinstance(settings, recipes.Adam):
        return Adam(settings)
    if isinstance(settings, recipes.LBFGS):
        return LBFGS(settings)
    return SGD(settings)
