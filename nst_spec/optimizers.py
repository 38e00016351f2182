"""Every update rule, in float64 NumPy; L-BFGS, in either form, is what the frameworks run too.

x is the optimised variable, g the gradient of the total loss, t the number of the step, from 1.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nst_spec import recipe as recipes

Array = NDArray[np.float64]

CURVATURE_FLOOR = 1e-10
"""L-BFGS remembers a pair (s, y) only where y.s is above this; torch.optim.LBFGS."""
FIRST_REACH, REACH_GROWTH = 1.0, 10.0
"""Until L-BFGS has remembered a pair: the 1-norm that a step of rate 1 may have, and its growth from step to step."""


def length_within(reach: float, total: float) -> float:
    """Return min(1, reach / |g|_1), the length of a step before there is a pair; `total` is |g|_1."""
    return reach / total if total > reach else 1.0


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

    Two things are ours. The inverse Hessian that the pairs amend is scaling * y.s / y.y of the latest; torch.optim's
    has no factor. And the first step may teach no curvature: it is too short for the digits of float32 or of a gradient
    from bfloat16, or the loss curves down there. torch.optim's next one then takes the whole gradient, and a loss
    explodes; here its length is min(1, 10/|g|_1) * lr, then min(1, 100/|g|_1) * lr, until there is a pair.
    """

    def __init__(self, settings: recipes.LBFGS) -> None:
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        self.pairs: list[tuple[Array, Array, float]] = []
        self.previous: tuple[Array, Array] | None = None
        self.scale = 1.0
        self.reach = FIRST_REACH

    def update(self, x: Array, g: Array) -> Array:
        """Return the variable after one step."""
        step = self.step(g.ravel())
        return x if step is None else x + step.reshape(x.shape)

    def step(self, g: Array) -> Array | None:
        """Return the step (n,) for a gradient (n,), or None where nothing moves. A framework's tensors will do too."""
        s = self.settings
        if abs(g).max() <= s.tolerance_grad:
            return None
        if self.previous is not None:
            self._remember(g)
        length = s.lr
        if not self.pairs:
            length *= length_within(self.reach, float(abs(g).sum()))
            self.reach *= REACH_GROWTH
        direction = self._direction(g)
        step = direction * length
        self.previous = (g, step)
        return None if g @ direction > -s.tolerance_change else step

    def _remember(self, g: Array) -> None:
        assert self.previous is not None
        old_g, step = self.previous
        change = g - old_g
        curvature = float(change @ step)
        if curvature > CURVATURE_FLOOR:
            self.pairs = [*self.pairs, (step, change, 1.0 / curvature)][-self.settings.history :]
            self.scale = self.settings.scaling * curvature / _square(change)

    def _direction(self, g: Array) -> Array:
        q = -g
        shares = []
        for step, change, rho in reversed(self.pairs):
            share = rho * float(step @ q)
            shares.append(share)
            q = self._sum(q, change, -share)
        q = q * self.scale
        for (step, change, rho), share in zip(self.pairs, reversed(shares), strict=True):
            q = self._sum(q, step, share - rho * float(change @ q))
        return q

    @staticmethod
    def _sum(q: Array, vector: Array, factor: float) -> Array:
        """Return q + factor * vector; q is not needed any more."""
        return q + factor * vector


def _square(vector: Array) -> float:
    """Return the sum of a vector's squares, also where a framework's own is more than float32 holds."""
    square = float(vector @ vector)
    if not math.isinf(square):
        return square
    unit = float(abs(vector).max())
    return _square(vector / unit) * unit**2 if math.isfinite(unit) else square


@dataclass(frozen=True)
class CompactStep:
    """A step of CompactLBFGS, for a framework to take: `of_gradient * g + sum of shares * pairs`.

    `shares` (pairs, 2) are those of every s and y as they lie; `row` is where the latest pair is to be put before that
    (None: nowhere); `moves` is whether the variable is to take the step, or only to have it remembered.
    """

    row: int | None
    of_gradient: float
    shares: Array
    moves: bool


class CompactLBFGS:
    """LBFGS for frameworks, whose time goes into the many small pieces that it is made of.

    All pairs (s, y) are the rows of S and Y. What is read of them is their products with two vectors, in one go, and
    matrices of pairs by pairs are the host's: with R the upper triangle of S Y', D its diagonal, c = scaling y.s / y.y
    of the latest pair,

        d = -(c g + S' p - c Y' u),   u = R^-1 S g,   p = R^-T (D u + c (Y Y' u - Y g)).

    Source: R. H. Byrd, J. Nocedal, R. B. Schnabel, "Representations of quasi-Newton matrices and their use in limited
    memory methods", Mathematical Programming 63 (1994), theorem 2.2.
    """

    def __init__(self, settings: recipes.LBFGS) -> None:
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        self.rows: list[int] = []  # where the pairs lie, the oldest first
        self.inverse = self.y_y = np.zeros((0, 0))  # of R, and Y Y', both by age
        self.scale = 1.0
        self.reach = FIRST_REACH

    @np.errstate(over="ignore", invalid="ignore")  # an explosion is for the run to judge
    def step(self, norms: Array, products: Array) -> CompactStep | None:
        """Return the step, or None where the gradient is too small for one.

        `norms` are the gradient's max-norm, 1-norm and square. `products` (2, pairs, 2) are the gradient's, then the
        latest y's, with s and y of every pair as they lie, the latest pair at the end; there are none at first.
        """
        s = self.settings
        largest, total, square = norms
        if largest <= s.tolerance_grad:
            return None
        row, columns = None, self.rows
        if products.size and products[1, -1, 0] > CURVATURE_FLOOR:
            row, columns = self._remember(products[1])
        count = len(columns)
        s_g, y_g = products[0, columns].T
        u = self.inverse @ s_g
        p = self.inverse.T @ (u / np.diag(self.inverse) + self.scale * (self.y_y @ u - y_g))
        shares = np.zeros((count, 2))
        shares[self.rows] = np.stack([-p, self.scale * u], axis=1)
        slope = self.scale * (u @ y_g - square) - p @ s_g
        length = s.lr
        if not count:
            length *= length_within(self.reach, total)
            self.reach *= REACH_GROWTH
        return CompactStep(row, -length * self.scale, length * shares, not slope > -s.tolerance_change)

    def _remember(self, of_y: Array) -> tuple[int, list[int]]:
        """Return where the latest pair is put, and where among the products every pair's are, by age."""
        row = last = len(self.rows)
        if row == self.settings.history:
            row, last = self.rows.pop(0), last - 1
            self.inverse, self.y_y = self.inverse[1:, 1:], self.y_y[1:, 1:]
        self.inverse, self.y_y = (np.pad(matrix, (0, 1)) for matrix in (self.inverse, self.y_y))
        columns = [*self.rows, -1]
        self.rows.append(row)
        s_y, y_y = of_y[columns].T
        self.inverse[last, last] = 1 / s_y[last]
        self.inverse[:last, last] = self.inverse[:last, :last] @ s_y[:last] / -s_y[last]
        self.y_y[last, : last + 1] = self.y_y[: last + 1, last] = y_y
        self.scale = self.settings.scaling * float(s_y[last] / y_y[last])
        return row, columns


def overflows(norms: Array, products: Array) -> bool:
    """Return whether what CompactLBFGS.step takes is more than a framework's numbers hold, though the gradient is not.

    Then gradient and latest y are to be divided by a number, and what is read of them is `undivided`.
    """
    return bool(np.isfinite(norms[0]) and not (np.isfinite(norms).all() and np.isfinite(products).all()))


def undivided(norms: Array, products: Array, unit: float) -> tuple[Array, Array]:
    """Return what CompactLBFGS.step takes, of what was read of a gradient and a latest y divided by `unit`."""
    return norms * (unit, unit, unit**2), products * unit


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
