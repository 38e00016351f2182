"""The spec's update rules: torch.optim's, where it has them. Each updates `variable` in place from a gradient."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_spec import recipe as recipes
from nst_spec.optimizers import (
    CURVATURE_FLOOR,
    FIRST_REACH,
    REACH_GROWTH,
    CompactLBFGS,
    adam_epsilon,
    length_within,
    sgd_rate,
)

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
    """L-BFGS without line search, one update per evaluation; nst_spec.optimizers.LBFGS.

    torch.optim's, which begins anew as long as there is no pair.
    """

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
        self.reach = FIRST_REACH

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        g = gradient.contiguous()  # torch.optim's flattens it by a view
        state, (group,) = self.optimizer.state[self.variable], self.optimizer.param_groups
        group["lr"] = self.settings.lr
        if state.get("d") is not None and not state["old_dirs"] and self._has_learnt_nothing(g, state):
            state.clear()
            self.reach *= REACH_GROWTH
            total = float(g.abs().sum())
            group["lr"] *= length_within(self.reach, total) / length_within(FIRST_REACH, total)  # torch.optim's own
        _step(self.optimizer, self.variable, g)

    def _has_learnt_nothing(self, gradient: Tensor, state: Mapping[str, Any]) -> bool:
        """Return whether the last step makes no pair to remember, and another will be taken."""
        change = gradient.flatten() - state["prev_flat_grad"]
        curvature = change @ (state["d"] * state["t"])
        return bool(curvature <= CURVATURE_FLOOR and gradient.abs().max() > self.settings.tolerance_grad)


class _CompactLBFGS:
    """LBFGS for a GPU, to which torch.optim's gives some hundred kernels a step, and waits for every other one.

    nst_spec.optimizers.CompactLBFGS.
    """

    def __init__(self, settings: recipes.LBFGS, variable: Tensor) -> None:
        self.compact, self.variable = CompactLBFGS(settings), variable
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        self.compact.reset()
        self.blocks: list[Tensor] = []  # (BLOCK, 2, n), so that memory is taken as pairs come
        self.previous: tuple[Tensor, Tensor] | None = None

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        g = gradient.flatten().clone()
        is_first = self.previous is None
        latest = g.new_empty(0, g.numel()) if is_first else torch.stack([self.previous[1], g - self.previous[0]])
        step = self.compact.step(*self._read(g, latest))
        if step is None:
            return
        if step.row is not None:
            self._put(latest, step.row)
        moved = step.of_gradient * g
        pairs = self._pairs()
        shares = g.new_tensor(step.shares.ravel()).split([len(block) for block in pairs])
        for block, share in zip(pairs, shares, strict=True):
            moved += share @ block
        self.previous = g, moved
        if step.moves:
            self.variable += moved.view_as(self.variable)

    def _pairs(self) -> list[Tensor]:
        """Return s and y of the pairs (2 x pairs, n) by block, as they lie there."""
        count = len(self.compact.rows)
        return [block[: count - number * BLOCK].flatten(0, 1) for number, block in enumerate(self.blocks)]

    def _read(self, g: Tensor, latest: Tensor) -> tuple[NDArray, NDArray]:
        """Return the gradient's norms and the products, as the spec's wants them."""
        norms = torch.stack([torch.linalg.vector_norm(g, math.inf), torch.linalg.vector_norm(g, 1), g @ g])
        products = [pairs @ vector for vector in (g, *latest[1:]) for pairs in (*self._pairs(), latest)]
        read = torch.cat([norms, *products]).cpu().double().numpy()
        return read[:3], read[3:].reshape(2, -1, 2)

    def _put(self, latest: Tensor, row: int) -> None:
        if row == len(self.blocks) * BLOCK:
            self.blocks.append(latest.new_empty(min(BLOCK, self.compact.settings.history - row), *latest.shape))
        self.blocks[row // BLOCK][row % BLOCK] = latest


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
