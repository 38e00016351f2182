"""The spec's update rules: torch.optim's, where it has them. Each updates `variable` in place from a gradient."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_spec import recipe as recipes
from nst_spec.optimizers import CURVATURE_FLOOR, adam_epsilon, sgd_rate

BLOCK = 10
"""Pairs of L-BFGS that memory of a GPU is taken for at a time."""


class Optimizer(Protocol):
    """An update rule with its state."""

    def update(self, gradient: Tensor) -> None:
        """Take one step."""

    def reset(self) -> None:
        """Forget everything but the constants."""


class Adam:
    """Adam in either epsilon convention; nst_spec.optimizers.Adam."""

    def __init__(self, settings: recipes.Adam, variable: Tensor) -> None:
        self.settings, self.variable = settings, variable
        self.reset()

    def reset(self) -> None:
        """Forget the moments."""
        s = self.settings
        self.t = 0
        self.optimizer = torch.optim.Adam([self.variable], lr=s.lr, betas=(s.beta1, s.beta2), eps=s.epsilon)

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        self.t += 1
        self.optimizer.param_groups[0]["eps"] = adam_epsilon(self.settings, self.t)
        _step(self.optimizer, self.variable, gradient)


class LBFGS:
    """L-BFGS without line search, one update per evaluation; nst_spec.optimizers.LBFGS."""

    def __init__(self, settings: recipes.LBFGS, variable: Tensor) -> None:
        self.settings, self.variable = settings, variable
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        s = self.settings
        self.optimizer = torch.optim.LBFGS(
            [self.variable],
            lr=s.lr,
            max_iter=1,
            history_size=s.history,
            tolerance_grad=s.tolerance_grad,
            tolerance_change=s.tolerance_change,
        )

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        # torch.optim's flattens it by a view.
        _step(self.optimizer, self.variable, gradient.contiguous())


class _CompactLBFGS:
    """LBFGS for a GPU, to which torch.optim's gives some hundred kernels a step, and waits for every other one.

    All pairs (s, y) are the rows of S and Y. What is read of them is their products with two vectors, and matrices of
    pairs by pairs are the host's: with R the upper triangle of S Y', D its diagonal, c = y.s / y.y of the latest pair,

        d = -(c g + S' p - c Y' u),   u = R^-1 S g,   p = R^-T (D u + c (Y Y' u - Y g)).

    Source: R. H. Byrd, J. Nocedal, R. B. Schnabel, "Representations of quasi-Newton matrices and their use in limited
    memory methods", Mathematical Programming 63 (1994), theorem 2.2.
    """

    def __init__(self, settings: recipes.LBFGS, variable: Tensor) -> None:
        self.settings, self.variable = settings, variable
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        size = self.settings.history
        self.blocks: list[Tensor] = []  # (BLOCK, 2, n), so that memory is taken as pairs come
        self.rows: list[int] = []  # of the pairs, the oldest first
        self.s_y, self.y_y = np.zeros((size, size)), np.zeros((size, size))
        self.scale = 1.0
        self.previous: tuple[Tensor, Tensor] | None = None

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        s = self.settings
        g = gradient.flatten().clone()
        facts = [g.abs().max(), g.abs().sum(), g @ g]
        if self.previous is not None:
            step, change = self.previous[1], g - self.previous[0]
            facts += [change @ step, change @ change]
        largest, total, square, *curvature = torch.stack(facts).tolist()
        if largest <= s.tolerance_grad:
            return
        if curvature and curvature[0] > CURVATURE_FLOOR:
            self._remember(step, change, *curvature)
        direction, slope = self._direction(g, square)
        step = direction * (s.lr if curvature else s.lr * min(1.0, 1.0 / total))
        self.previous = g, step
        if not slope > -s.tolerance_change:
            self.variable += step.view_as(self.variable)

    def _remember(self, step: Tensor, change: Tensor, s_y: float, y_y: float) -> None:
        full = len(self.rows) == self.settings.history
        latest = self.rows.pop(0) if full else len(self.rows)
        self.rows.append(latest)
        if latest == len(self.blocks) * BLOCK:
            self.blocks.append(step.new_empty(min(BLOCK, self.settings.history - latest), 2, step.numel()))
        self.blocks[latest // BLOCK][latest % BLOCK] = torch.stack([step, change])
        self.s_y[self.rows, latest], self.y_y[self.rows, latest] = self._products(change)
        self.s_y[latest, latest], self.y_y[latest, latest] = s_y, y_y
        self.y_y[latest] = self.y_y[:, latest]
        self.scale = s_y / y_y

    def _pairs(self) -> list[Tensor]:
        """Return s and y of the pairs (2 x pairs, n) by block, as they lie there."""
        count = len(self.rows)
        return [block[: count - number * BLOCK].flatten(0, 1) for number, block in enumerate(self.blocks)]

    def _products(self, vector: Tensor) -> NDArray[np.float64]:
        """Return the products (2, pairs) of a vector with every s and every y, the oldest pair's first."""
        found = torch.cat([pairs @ vector for pairs in self._pairs()]).double().cpu().numpy()
        return found.reshape(-1, 2)[self.rows].T

    def _direction(self, g: Tensor, square: float) -> tuple[Tensor, float]:
        """Return the direction and its product with the gradient."""
        direction, slope = -self.scale * g, -self.scale * square
        if not self.rows:
            return direction, slope
        by_age = np.ix_(self.rows, self.rows)
        s_g, y_g = self._products(g)
        r, y_y = np.triu(self.s_y[by_age]), self.y_y[by_age]
        u = np.linalg.solve(r, s_g)
        p = np.linalg.solve(r.T, np.diag(r) * u + self.scale * (y_y @ u - y_g))
        shares = np.zeros((len(self.rows), 2))
        shares[self.rows] = np.stack([-p, self.scale * u], axis=1)
        pairs = self._pairs()
        for block, share in zip(pairs, g.new_tensor(shares.ravel()).split([len(b) for b in pairs]), strict=True):
            direction += share @ block
        return direction, float(slope + self.scale * (u @ y_g) - p @ s_g)


class SGD:
    """Gradient descent with exponential decay; nst_spec.optimizers.SGD."""

    def __init__(self, settings: recipes.SGD, variable: Tensor) -> None:
        self.settings, self.variable = settings, variable
        self.reset()

    def reset(self) -> None:
        """Begin the decay anew."""
        self.t = 0
        self.optimizer = torch.optim.SGD([self.variable], lr=self.settings.lr)

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        self.t += 1
        self.optimizer.param_groups[0]["lr"] = sgd_rate(self.settings, self.t)
        _step(self.optimizer, self.variable, gradient)


def _step(optimizer: torch.optim.Optimizer, variable: Tensor, gradient: Tensor) -> None:
    variable.grad = gradient
    # L-BFGS's one call of the closure is for a gradient that is there already; it uses no loss without line search.
    optimizer.step(lambda: 0.0)
    variable.grad = None


def optimizer_for(settings: recipes.Optimizer, variable: Tensor) -> Optimizer:
    """Return the update rule that the settings describe, for a variable."""
    if isinstance(settings, recipes.Adam):
        return Adam(settings, variable)
    if isinstance(settings, recipes.LBFGS):
        return _CompactLBFGS(settings, variable) if variable.is_cuda else LBFGS(settings, variable)
    return SGD(settings, variable)
