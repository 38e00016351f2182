"""The spec's update rules: torch.optim's, where it has them. Each updates `variable` in place from a gradient."""

import math
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

    All pairs (s, y) are the rows of S and Y. What is read of them is their products with two vectors, in one go, and
    matrices of pairs by pairs are the host's: with R the upper triangle of S Y', D its diagonal, c = y.s / y.y of the
    latest pair,

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
        self.inverse, self.y_y = np.zeros((size, size)), np.zeros((size, size))  # of R, and Y Y', both by age
        self.scale = 1.0
        self.previous: tuple[Tensor, Tensor] | None = None

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        s = self.settings
        g = gradient.flatten().clone()
        is_first = self.previous is None
        latest = g.new_empty(0, g.numel()) if is_first else torch.stack([self.previous[1], g - self.previous[0]])
        (largest, total, square), of_g, of_y = self._read(g, latest)
        if largest <= s.tolerance_grad:
            return
        columns = self.rows
        if not is_first and of_y[0, -1] > CURVATURE_FLOOR:
            columns = self._remember(latest, of_y)
        direction, slope = self._direction(g, square, *of_g[:, columns])
        step = direction * (s.lr * min(1.0, 1.0 / total) if is_first else s.lr)
        self.previous = g, step
        if not slope > -s.tolerance_change:
            self.variable += step.view_as(self.variable)

    def _pairs(self) -> list[Tensor]:
        """Return s and y of the pairs (2 x pairs, n) by block, as they lie there."""
        count = len(self.rows)
        return [block[: count - number * BLOCK].flatten(0, 1) for number, block in enumerate(self.blocks)]

    def _read(self, g: Tensor, latest: Tensor) -> tuple[NDArray, NDArray, NDArray]:
        """Return the gradient's max-norm, 1-norm and square, then its products and the latest y's.

        These are (2, pairs), with every s and every y as they lie there, the latest pair's at the end.
        """
        rows = [*self._pairs(), latest]
        norms = torch.stack([torch.linalg.vector_norm(g, math.inf), torch.linalg.vector_norm(g, 1), g @ g])
        products = [pairs @ vector for vector in (g, *latest[1:]) for pairs in rows]
        read = torch.cat([norms, *products]).cpu().double().numpy()
        return read[:3], *(half.reshape(-1, 2).T for half in np.split(read[3:], 2))

    def _remember(self, latest: Tensor, of_y: NDArray) -> list[int]:
        """Put the latest pair where there is room or the oldest was; return the columns of what was read by age."""
        row = last = len(self.rows)
        if row == self.settings.history:
            row, last = self.rows.pop(0), last - 1
            for matrix in (self.inverse, self.y_y):
                matrix[:-1, :-1] = matrix[1:, 1:].copy()
        columns = [*self.rows, -1]
        self.rows.append(row)
        if row == len(self.blocks) * BLOCK:
            self.blocks.append(latest.new_empty(min(BLOCK, self.settings.history - row), *latest.shape))
        self.blocks[row // BLOCK][row % BLOCK] = latest
        s_y, y_y = of_y[:, columns]
        self.inverse[last, last] = 1 / s_y[last]
        self.inverse[:last, last] = self.inverse[:last, :last] @ s_y[:last] / -s_y[last]
        self.y_y[last, : last + 1] = self.y_y[: last + 1, last] = y_y
        self.scale = s_y[last] / y_y[last]
        return columns

    def _direction(self, g: Tensor, square: float, s_g: NDArray, y_g: NDArray) -> tuple[Tensor, float]:
        """Return the direction and its product with the gradient; `s_g` and `y_g` are the pairs' with it, by age."""
        direction, slope = -self.scale * g, -self.scale * square
        count = len(self.rows)
        if not count:
            return direction, slope
        inverse, y_y = self.inverse[:count, :count], self.y_y[:count, :count]
        u = inverse @ s_g
        p = inverse.T @ (u / np.diag(inverse) + self.scale * (y_y @ u - y_g))
        shares = np.zeros((count, 2))
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
