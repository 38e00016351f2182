"""The oracle: the whole computation in float64 NumPy, short, slow and obviously right."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from nst_spec import backend as protocol
from nst_spec import losses, preprocessing, tiles, vgg19
from nst_spec import recipe as recipes
from nst_spec.errors import NstError
from nst_spec.memory import Plan
from nst_spec.optimizers import optimizer_for
from nst_spec.recipe import Pooling
from nst_spec.settings import Settings

Array = NDArray[np.float64]
KERNEL_OFFSETS = [(dy, dx) for dy in range(vgg19.KERNEL_SIZE) for dx in range(vgg19.KERNEL_SIZE)]


def convolve(x: Array, weight: Array, bias: Array) -> Array:
    """Return the 3 x 3 cross-correlation, stride 1, zero padding 1: x (H, W, I), weight (O, I, 3, 3) -> (H, W, O)."""
    h, w, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return sum((padded[dy : dy + h, dx : dx + w] @ weight[:, :, dy, dx].T for dy, dx in KERNEL_OFFSETS), bias)


def convolve_pull_back(gradient: Array, weight: Array) -> Array:
    """Return dL/dx (H, W, I) of `convolve` from dL/dy (H, W, O)."""
    h, w, _ = gradient.shape
    padded = np.zeros((h + 2, w + 2, weight.shape[1]))
    for dy, dx in KERNEL_OFFSETS:
        padded[dy : dy + h, dx : dx + w] += gradient @ weight[:, :, dy, dx]
    return padded[1:-1, 1:-1]


def windows(x: Array, pooling: Pooling, fill: float) -> Array:
    """Return the four members of each 2 x 2 window (H', W', 4, C) in row-major order; `ceil` completes with `fill`."""
    h, w, c = x.shape
    if pooling.rounding == "ceil":
        x = np.pad(x, ((0, h % 2), (0, w % 2), (0, 0)), constant_values=fill)
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, c).transpose(0, 2, 1, 3, 4).reshape(h, w, 4, c)


def _shares(x: Array, pooling: Pooling) -> Array:
    # dy/dx of each window's members (H', W', 4, C).
    if pooling.kind == "average":
        members = windows(np.ones_like(x), pooling, fill=0.0)
        return np.asarray(members / members.sum(axis=2, keepdims=True))
    candidates = windows(x, pooling, fill=-np.inf)
    # argmax takes the first of equals in row-major order, as both frameworks do on a CPU.
    return np.asarray(np.arange(4)[:, None] == candidates.argmax(axis=2)[:, :, None, :], np.float64)


def pool(x: Array, pooling: Pooling) -> Array:
    """Return x (H, W, C) pooled 2 x 2 at stride 2; the average at a completed border is over the real members."""
    shares = _shares(x, pooling)
    return np.asarray((shares * windows(x, pooling, fill=0.0)).sum(axis=2))


def pool_pull_back(gradient: Array, x: Array, pooling: Pooling) -> Array:
    """Return dL/dx (H, W, C) of `pool` from dL/dy (H', W', C); of equal maxima the first receives it."""
    h, w, c = x.shape
    parts = _shares(x, pooling) * gradient[:, :, None, :]
    rows, columns = gradient.shape[:2]
    whole = parts.reshape(rows, columns, 2, 2, c).transpose(0, 2, 1, 3, 4).reshape(2 * rows, 2 * columns, c)
    back = np.zeros((max(h, 2 * rows), max(w, 2 * columns), c))
    back[: 2 * rows, : 2 * columns] = whole
    return back[:h, :w]


class Network:
    """VGG19 up to the deepest tap."""

    def __init__(self, weights: Mapping[str, NDArray[np.floating]], taps: tuple[str, ...], pooling: Pooling) -> None:
        self.taps, self.pooling = taps, pooling
        self.layers = vgg19.layers_to(taps)
        needed = vgg19.weight_names([layer for layer in self.layers if layer in vgg19.CONVOLUTIONS])
        self.weights = {name: np.asarray(weights[name], np.float64) for name in needed}

    def forward(self, x: Array) -> dict[str, Array]:
        """Return every layer's output (H, W, C) for a preprocessed image (H, W, 3); `input` is the image itself."""
        outputs = {"input": x}
        for layer in self.layers:
            if layer.startswith("conv"):
                x = convolve(x, self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"])
            elif layer.startswith("relu"):
                x = np.maximum(x, 0.0)
            else:
                x = pool(x, self.pooling)
            outputs[layer] = x
        return outputs

    def backward(self, outputs: Mapping[str, Array], tap_gradients: Mapping[str, Array]) -> dict[str, Array]:
        """Return dL/d(output) of every layer from dL/d(features) at each tap alone, given what `forward` returned."""
        gradient = np.zeros_like(outputs[self.layers[-1]])
        gradients = {}
        below = ("input", *self.layers)
        for previous, layer in reversed(list(zip(below, self.layers, strict=False))):
            gradients[layer] = gradient = gradient + tap_gradients.get(layer, 0.0)
            if layer.startswith("conv"):
                gradient = convolve_pull_back(gradient, self.weights[f"{layer}.weight"])
            elif layer.startswith("relu"):
                gradient = gradient * (outputs[previous] > 0.0)
            else:
                gradient = pool_pull_back(gradient, outputs[previous], self.pooling)
        gradients["input"] = gradient
        return {layer: gradients[layer] for layer in below}


class Objective:
    """The total loss of an image and its analytic gradient; the targets are computed once."""

    plan = Plan()

    def __init__(self, problem: protocol.Problem) -> None:
        self.recipe = recipe = problem.recipe
        self.network = Network(problem.weights.arrays, recipe.taps, recipe.pooling)
        self.to_network = preprocessing.affine(recipe.space, problem.preprocessing)
        self.to_space = preprocessing.affine("unit", recipe.space)
        self.to_image = preprocessing.affine(recipe.space, "unit")
        content = self._forward(self.to_space(np.asarray(problem.content, np.float64)))
        styles = [self._forward(self.to_space(np.asarray(style, np.float64))) for style in problem.styles]
        image_positions = problem.content.shape[0] * problem.content.shape[1]
        self.shapes = {
            tap: losses.Shape(content[tap].shape[2], content[tap].shape[0] * content[tap].shape[1], image_positions)
            for tap in recipe.taps
        }
        self.content_targets = {tap: content[tap] for tap in recipe.content.taps}
        self.style_targets = {
            tap: losses.blended([self._style_gram(style[tap]) for style in styles], recipe.style.shares(len(styles)))
            for tap in recipe.style.taps
        }
        self.content_factors = {
            tap: weight * losses.content_factor(recipe.content.term, self.shapes[tap], _energy(content[tap]))
            for tap, weight in recipe.content.taps.items()
        }
        self.style_factors = {
            tap: weight * losses.style_factor(recipe.style.term, self.shapes[tap], _energy(self.style_targets[tap]))
            for tap, weight in recipe.style.taps.items()
        }

    def _forward(self, variable: Array) -> dict[str, Array]:
        return self.network.forward(self.to_network(variable))

    def _style_gram(self, features: Array) -> Array:
        height, width, channels = features.shape
        return self._gram(features, losses.Shape(channels, height * width, 0))

    def _gram(self, features: Array, shape: losses.Shape) -> Array:
        return losses.gram(features, losses.gram_divisor(self.recipe.style.gram, shape))

    def loss_and_gradient(self, variable: Array) -> tuple[protocol.Losses, Array, dict[str, Array]]:
        """Return losses, the gradient by the optimised variable (H, W, 3), and the Gram matrices."""
        with np.errstate(over="ignore", invalid="ignore"):  # an explosion is for the run to judge
            values, grams, passes = self._both_passes(variable)
            tv, tv_slope = losses.total_variation(variable, self.recipe.tv.form)
            gradient = self.to_network.pull_back(passes.gradients["input"]) + self.recipe.tv.weight * tv_slope
        return protocol.Losses.of(self.recipe, [*values, tv]), gradient, grams

    def _both_passes(self, variable: Array) -> tuple[list[float], dict[str, Array], protocol.Passes]:
        recipe = self.recipe
        alpha, beta, _ = recipe.term_weights
        outputs = self._forward(variable)
        tap_gradients = {tap: np.zeros_like(outputs[tap]) for tap in recipe.taps}
        values: list[float] = []
        for tap, target in self.content_targets.items():
            value, slope = losses.squared_error(outputs[tap], target, self.content_factors[tap])
            values.append(value)
            tap_gradients[tap] += alpha * slope
        grams = {tap: self._gram(outputs[tap], self.shapes[tap]) for tap in recipe.style.taps}
        for tap, target in self.style_targets.items():
            value, slope = losses.squared_error(grams[tap], target, self.style_factors[tap])
            values.append(value)
            divisor = losses.gram_divisor(recipe.style.gram, self.shapes[tap])
            tap_gradients[tap] += beta * losses.gram_pull_back(outputs[tap], divisor, slope)
        return values, grams, protocol.Passes(outputs, self.network.backward(outputs, tap_gradients))

    def evaluate(self, image: protocol.Image) -> protocol.Evaluation:
        """Return losses, gradient and Gram matrices of an image."""
        variable = self.to_space(np.asarray(image, np.float64))
        values, gradient, grams = self.loss_and_gradient(variable)
        targets = {tap: target.copy() for tap, target in self.style_targets.items()}
        return protocol.Evaluation(values, self.to_space.pull_back(gradient), grams, targets)

    def passes(self, image: protocol.Image) -> protocol.Passes:
        """Return both passes' results at every layer."""
        return self._both_passes(self.to_space(np.asarray(image, np.float64)))[2]

    def descent(self, image: protocol.Image) -> "Descent":
        """Return an optimisation that starts from an image."""
        return Descent(self, image)


class Descent:
    """One optimisation: the variable, its gradient, the optimiser and the kept image; backend.AdaptableDescent."""

    def __init__(self, objective: Objective, image: protocol.Image) -> None:
        self.objective = objective
        self.to_image = objective.to_image
        self.variable = np.array(objective.to_space(np.asarray(image, np.float64)))
        self.optimize_by(objective.recipe.optimizer)
        self.box = preprocessing.box(objective.recipe.space)
        self.gradient = np.zeros_like(self.variable)
        self.best = self.variable

    def evaluate(self) -> protocol.Losses:
        """Compute losses and gradient of the current image."""
        values, self.gradient, _ = self.objective.loss_and_gradient(self.variable)
        return values

    def update(self) -> None:
        """Take the optimiser's step, then clamp if the recipe clamps each step."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.variable = self.optimizer.update(self.variable, self.gradient)
        if self.objective.recipe.clamp == "each-step":
            self.variable = np.clip(self.variable, *self.box)

    def place(self, image: protocol.Image) -> None:
        """Go on from another image, the optimiser's state as it is."""
        self.variable = np.array(self.objective.to_space(np.asarray(image, np.float64)))

    def judge_by(self, make: Callable[[], Objective]) -> None:
        """Go on with another objective, made once this one's memory is free; image and optimiser's state stay."""
        del self.objective
        self.objective = make()

    def optimize_by(self, settings: recipes.Optimizer) -> None:
        """Go on with another optimiser, which begins anew."""
        self.optimizer = optimizer_for(settings)

    def keep(self) -> None:
        """Remember the current image."""
        self.best = self.variable

    def restore(self) -> None:
        """Go back to the remembered image and clear the optimiser's history."""
        self.variable = self.best
        self.optimizer.reset()

    def image(self) -> protocol.Image:
        """Return the current image, unclipped."""
        return np.array(self.to_image(self.variable))

    def kept(self) -> protocol.Image:
        """Return the remembered image, unclipped."""
        return np.array(self.to_image(self.best))


def _energy(values: Array) -> float:
    return float(np.sum(values**2))


class Backend(protocol.Configured):
    """The oracle as a backend: it computes in float64 on the CPU; `dtype` is what its images were rounded to."""

    name = "reference"

    def __init__(self, settings: Settings) -> None:
        super().__init__(dataclasses.replace(settings, precision="fp32", fast=False), ("cpu",))
        _check_untiled(self.tile)

    def versions(self) -> dict[str, str]:
        """Return the version of NumPy."""
        return {"numpy": np.__version__}

    def switches(self) -> dict[str, int | bool | str]:
        """Return the arithmetic, which nothing can switch."""
        return {"arithmetic": "float64"}

    def objective(self, problem: protocol.Problem, tile: tiles.Tile | None = None) -> Objective:
        """Return the problem with the network built and the targets computed."""
        _check_untiled(tile)
        return Objective(problem)

    def workload(self, problem: protocol.Problem, tile: tiles.Tile | None = None) -> protocol.Workload:
        """Raise NstError: the oracle is slow on purpose."""
        raise NstError("reference: the oracle is to be right, not fast, and is not measured; use torch or tf")

    def ran_out_of_memory(self, error: BaseException) -> bool:
        """Return False: the oracle has no smaller tiles to go on with."""
        return False


def _check_untiled(tile: tiles.Tile | None) -> None:
    if isinstance(tile, int):
        raise NstError(f"tile: received {tile}, but the oracle computes the whole image; accepted: auto, off")
