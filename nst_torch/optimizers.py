"""The spec's update rules: torch.optim's, where it has them. Each updates `variable` in place from `variable.grad`."""

from typing import Protocol

import torch
from torch import Tensor

from nst_spec import recipe as recipes
from nst_spec.optimizers import adam_epsilon, sgd_rate


class Optimizer(Protocol):
    """An update rule with its state."""

    def update(self) -> None:
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

    def update(self) -> None:
        """Take one step."""
        self.t += 1
        self.optimizer.param_groups[0]["eps"] = adam_epsilon(self.settings, self.t)
        self.optimizer.step()


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

    def update(self) -> None:
        """Take one step."""
        # Its one call of the closure is for a gradient that is there already; the loss is not used without line search.
        self.optimizer.step(lambda: 0.0)


class SGD:
    """Gradient descent with exponential decay; nst_spec.optimizers.SGD."""

    def __init__(self, settings: recipes.SGD, variable: Tensor) -> None:
        self.settings, self.variable = settings, variable
        self.reset()

    def reset(self) -> None:
        """Begin the decay anew."""
        self.t = 0
        self.optimizer = torch.optim.SGD([self.variable], lr=self.settings.lr)

    def update(self) -> None:
        """Take one step."""
        self.t += 1
        self.optimizer.param_groups[0]["lr"] = sgd_rate(self.settings, self.t)
        self.optimizer.step()


def optimizer_for(settings: recipes.Adam | recipes.LBFGS | recipes.SGD, variable: Tensor) -> Optimizer:
    """Return the update rule that the settings describe, for a variable."""
    if isinstance(settings, recipes.Adam):
        return Adam(settings, variable)
    if isinstance(settings, recipes.LBFGS):
        return LBFGS(settings, variable)
    return SGD(settings, variable)
