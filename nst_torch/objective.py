"""Image to terms, total loss and gradient; targets computed once, the network cut at the deepest tap."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_spec import backend as protocol
from nst_spec import preprocessing, terms
from nst_spec import recipe as recipes
from nst_spec.memory import Plan
from nst_torch import losses
from nst_torch.network import Network
from nst_torch.optimizers import optimizer_for


class PixelMap:
    """A spec affine map between pixel spaces on tensors (1, 3, H, W)."""

    def __init__(self, affine: preprocessing.Affine, like: Tensor) -> None:
        self.affine = affine
        self.scale = like.new_tensor(affine.scale).view(1, 3, 1, 1)
        self.offset = like.new_tensor(affine.offset).view(1, 3, 1, 1)
        self.order = torch.tensor(affine.order, device=like.device)

    def __call__(self, x: Tensor) -> Tensor:
        """Map an image."""
        if self.affine.is_identity:
            return x
        return x.index_select(1, self.order) * self.scale + self.offset

    def pull_back(self, gradient: Tensor) -> Tensor:
        """Map a gradient by the target to one by the source."""
        return (gradient * self.scale).index_select(1, self.order.argsort())


class Recorded:
    """What a function of one tensor does, as a CUDA graph: one by one small kernels take longer to start than to run.

    Its results are overwritten by the next call.
    """

    graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, function: Callable[[Tensor], Any], x: Tensor) -> Any:
        """Return the function's results; the first call records it, for tensors of this shape."""
        if self.graph is None:
            self._record(function, x)
        self.given.copy_(x)
        self.graph.replay()
        return self.results

    def _record(self, function: Callable[[Tensor], Any], x: Tensor) -> None:
        self.given = x.detach().clone()
        # Libraries make their handles and choose their algorithms in a first call, which cannot be recorded.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function(self.given)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.results = function(self.given)
        self.graph = graph


class Objective:
    """A problem on a device; nst_spec.backend.Objective.

    `recorded` is whether a GPU replays a step that it has recorded, `winograd` whether the network takes Winograd's
    algorithm, `exact` whether it keeps to the layout in which a CPU rounds least.
    """

    def __init__(
        self,
        problem: protocol.Problem,
        plan: Plan,
        *,
        dtype: torch.dtype,
        network_dtype: torch.dtype,
        device: torch.device,
        recorded: bool,
        winograd: bool,
        exact: bool,
    ) -> None:
        self.recipe = recipe = problem.recipe
        self.content = problem.content
        self.plan = plan
        self.recorded = Recorded() if recorded else None
        self.network_dtype = network_dtype
        self.like = torch.zeros((), dtype=dtype, device=device)
        self.to_space = PixelMap(preprocessing.affine("unit", recipe.space), self.like)
        self.to_image = PixelMap(preprocessing.affine(recipe.space, "unit"), self.like)
        self.to_network = PixelMap(preprocessing.affine(recipe.space, problem.preprocessing), self.like)
        self.network = Network(
            problem.weights.arrays,
            recipe.taps,
            recipe.pooling,
            dtype=network_dtype,
            image_dtype=dtype,
            device=device,
            winograd=winograd,
            exact=exact,
        )
        self.coefficients = self.like.new_tensor(terms.coefficients(recipe))
        with torch.no_grad():
            self._set_targets(problem)

    def _set_targets(self, problem: protocol.Problem) -> None:
        self.content_targets = terms.content_targets(problem, self.content_features(self.variable(problem.content)))
        grams = [self.grams(self.variable(style), terms.gram_divisors(problem, style)) for style in problem.styles]
        self.style_targets = terms.style_targets(problem, grams, lambda gram: float(gram.cpu().double().square().sum()))

    def content_features(self, image: Tensor) -> dict[str, tuple[Tensor | tuple[Tensor, ...], float]]:
        """Return the variable's features at the content taps, each with its energy, the sum of its squares."""
        features = self.network(self.to_network(image), list(self.recipe.content.taps))
        return {tap: (feature, float(feature.to(self.like.dtype).square().sum())) for tap, feature in features}

    def grams(self, image: Tensor, divisors: Mapping[str, float]) -> dict[str, Tensor]:
        """Return the variable's Gram matrices, without a gradient, at the taps that have a divisor."""
        features = self.network(self.to_network(image), list(divisors))
        return {tap: losses.gram(feature, divisors[tap]) for tap, feature in features}

    def variable(self, image: protocol.Image) -> Tensor:
        """Return an image (H, W, 3) as the variable (1, 3, H, W) in the optimised space."""
        tensor = torch.tensor(np.asarray(image), dtype=self.like.dtype, device=self.like.device)
        return self.to_space(tensor[None].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last))

    def terms(self, features: Iterable[tuple[str, Tensor]]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the taps' terms, in the order of Losses.of, their weighted sum, and the Gram matrices."""
        parts, grams = terms.by_tap(self.recipe, features, self._content_term, self._style_term)
        values = torch.stack(parts)
        return values, values @ self.coefficients[:-1], grams

    def _content_term(self, tap: str, features: Tensor) -> Tensor:
        target = self.content_targets[tap]
        return losses.squared_error(features, target.features, target.factor)

    def _style_term(self, tap: str, features: Tensor) -> tuple[Tensor, Tensor]:
        target = self.style_targets[tap]
        gram = losses.gram(features, target.divisor)
        return losses.squared_error(gram, target.gram, target.factor), gram

    def loss_and_gradient(self, variable: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the terms' values, the gradient of the total loss by the variable, and the Gram matrices."""
        if self.recorded:
            return self.recorded(self._loss_and_gradient, variable)
        return self._loss_and_gradient(variable)

    @torch.enable_grad()  # a program that calls may have switched gradients off
    def _loss_and_gradient(self, variable: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x = variable.detach().requires_grad_(True)
        values, total, grams = self.terms(self.network(self.to_network(x)))
        (gradient,) = torch.autograd.grad(total, x)
        tv, slope = self._tv_and_gradient(variable)
        return torch.cat([values.detach(), tv[None]]), gradient + slope, grams

    @torch.enable_grad()
    def _tv_and_gradient(self, variable: Tensor) -> tuple[Tensor, Tensor]:
        """Return the total variation and the gradient of its weighted term by the variable."""
        x = variable.detach()
        # A recipe without the term is still told its value.
        if not self.recipe.tv.weight:
            return losses.total_variation(x, self.recipe.tv.form), torch.zeros_like(x)
        x.requires_grad_(True)
        value = losses.total_variation(x, self.recipe.tv.form)
        (gradient,) = torch.autograd.grad(value * self.coefficients[-1], x)
        return value.detach(), gradient

    def evaluate(self, image: protocol.Image) -> protocol.Evaluation:
        """Return losses, gradient and Gram matrices of an image."""
        values, gradient, grams = self.loss_and_gradient(self.variable(image))
        return protocol.Evaluation(
            protocol.Losses.of(self.recipe, values.tolist()),
            to_neutral(self.to_space.pull_back(gradient)),
            {tap: gram.detach().cpu().numpy() for tap, gram in grams.items()},
            {tap: target.gram.cpu().numpy().copy() for tap, target in self.style_targets.items()},
        )

    @torch.enable_grad()
    def passes(self, image: protocol.Image) -> protocol.Passes:
        """Return both passes' results at every layer."""
        variable = self.variable(image)
        # A copy, since without a preprocessing the network's input is the variable itself.
        x = self.to_network(variable).clone().requires_grad_(True)
        outputs = {"input": x} | dict(self.network(x, list(self.network.layers)))
        in_full = {layer: output.to(x.dtype) for layer, output in outputs.items()}
        _, total, _ = self.terms(in_full.items())
        gradients = torch.autograd.grad(total, list(outputs.values()))
        return protocol.Passes(
            {layer: to_neutral(output) for layer, output in in_full.items()},
            {layer: to_neutral(slope.to(x.dtype)) for layer, slope in zip(outputs, gradients, strict=True)},
        )

    def descent(self, image: protocol.Image) -> "Descent":
        """Return an optimisation that starts from an image."""
        return Descent(self, image)


class Descent:
    """One optimisation at one size; nst_spec.backend.AdaptableDescent."""

    def __init__(self, objective: Objective, image: protocol.Image) -> None:
        self.objective = objective
        self.to_image = objective.to_image  # which outlives it, where memory runs out for the next
        self.current = objective.variable(image)
        self.best = self.current.clone()
        low, high = preprocessing.box(objective.recipe.space)
        self.low, self.high = (objective.like.new_tensor(side).view(1, 3, 1, 1) for side in (low, high))
        self.optimize_by(objective.recipe.optimizer)

    def evaluate(self) -> protocol.Losses:
        """Compute losses and gradient of the current image."""
        values, self.gradient, _ = self.objective.loss_and_gradient(self.current)
        return protocol.Losses.of(self.objective.recipe, values.tolist())

    def update(self) -> None:
        """Take the optimiser's step, then clamp if the recipe clamps each step."""
        self.optimizer.update(self.gradient)
        if self.objective.recipe.clamp == "each-step":
            torch.clamp(self.current, self.low, self.high, out=self.current)
        del self.gradient  # it is as large as the image, and would lie beside the next one

    def place(self, image: protocol.Image) -> None:
        """Go on from another image, the optimiser's state as it is."""
        self.current.copy_(self.objective.variable(image))

    def judge_by(self, make: Callable[[], Objective]) -> None:
        """Go on with another objective, made once this one's memory is free; image and optimiser's state stay."""
        del self.objective
        self.objective = make()

    def optimize_by(self, settings: recipes.Optimizer) -> None:
        """Go on with another optimiser, which begins anew."""
        self.optimizer = optimizer_for(settings, self.current)

    def keep(self) -> None:
        """Remember the current image."""
        self.best.copy_(self.current)

    def restore(self) -> None:
        """Go back to the remembered image and clear the optimiser's history."""
        self.current.copy_(self.best)
        self.optimizer.reset()

    def image(self) -> protocol.Image:
        """Return the current image, unclipped."""
        return to_neutral(self.to_image(self.current))

    def kept(self) -> protocol.Image:
        """Return the remembered image, unclipped."""
        return to_neutral(self.to_image(self.best))


def to_neutral(tensor: Tensor) -> NDArray:
    """Return a tensor (1, C, H, W) as an array (H, W, C) of its own."""
    return tensor.detach()[0].permute(1, 2, 0).cpu().numpy().copy()
