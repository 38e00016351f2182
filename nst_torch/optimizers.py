"""The spec's update rules. Each updates `variable` in place from a gradient.

torch.optim has them too, and rounds alike, but its first optimiser loads PyTorch's compiler, which takes as long as
loading PyTorch.
"""

import math
from typing import Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_spec import optimizers
from nst_spec import recipe as recipes
from nst_spec.optimizers import CompactLBFGS, adam_epsilon, overflows, sgd_rate, undivided

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
        self.m, self.v = (torch.zeros_like(self.variable) for _ in range(2))
        self.t = 0

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        s = self.settings
        self.t += 1
        self.m.lerp_(gradient, 1 - s.beta1)
        self.v.mul_(s.beta2).addcmul_(gradient, gradient, value=1 - s.beta2)
        root = self.v.sqrt().div_((1 - s.beta2**self.t) ** 0.5).add_(adam_epsilon(s, self.t))
        self.variable.addcdiv_(self.m, root, value=-s.lr / (1 - s.beta1**self.t))


class LBFGS:
    """L-BFGS without line search, one update per evaluation; nst_spec.optimizers.LBFGS."""

    def __init__(self, settings: recipes.LBFGS, variable: Tensor) -> None:
        self.loops, self.variable = _TwoLoops(settings), variable

    def reset(self) -> None:
        """Forget the history."""
        self.loops.reset()

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        step = self.loops.step(gradient.flatten())
        if step is not None:
            self.variable += step.view_as(self.variable)


class _TwoLoops(optimizers.LBFGS):
    # In place: an array for every term takes half as long again, and twice as long at 1024 px.
    @staticmethod
    def _sum(q: Tensor, vector: Tensor, factor: float) -> Tensor:
        return q.add_(vector, alpha=factor)


class _CompactLBFGS:
    """LBFGS for a GPU, to which the other gives some hundred kernels a step, and waits for every other one.

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
        changes = latest[1:]
        norms, products = self._products(g, changes, latest)
        if overflows(norms, products):
            unit = max(float(vector.abs().max()) for vector in (g, *changes))
            return undivided(*self._products(g / unit, changes / unit, latest), unit)
        return norms, products

    def _products(self, g: Tensor, changes: Tensor, latest: Tensor) -> tuple[NDArray, NDArray]:
        norms = torch.stack([torch.linalg.vector_norm(g, math.inf), torch.linalg.vector_norm(g, 1), g @ g])
        products = [pairs @ vector for vector in (g, *changes) for pairs in (*self._pairs(), latest)]
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

    def update(self, gradient: Tensor) -> None:
        """Take one step."""
        self.t += 1
        self.variable.sub_(gradient, alpha=sgd_rate(self.settings, self.t))


def optimizer_for(settings: recipes.Optimizer, variable: Tensor) -> Optimizer:
    """Return the update rule that the settings describe, for a variable."""
    if isinstance(settings, recipes.Adam):
        return Adam(settings, variable)
    if isinstance(settings, recipes.LBFGS):
        return _CompactLBFGS(settings, variable) if variable.is_cuda else LBFGS(settings, variable)
    return SGD(settings, variable)
