"""What a backend promises, in neutral arrays, and how one is found.

An image is (H, W, 3), RGB, [0, 1]; features are (H, W, C); Gram matrices (C, C). Layout and device are a backend's
private matter. A new backend is one folder and one entry point in the group `nst.backends`.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from nst_spec import memory, tiles, vgg19, winograd
from nst_spec.errors import NstError, install, not_accepted, reason
from nst_spec.losses import Shape, total_loss
from nst_spec.recipe import Optimizer, Recipe, own
from nst_spec.settings import AUTO, DType, Precision, Settings, backends
from nst_spec.weights import WeightSet

Image = NDArray[np.floating]
BF16_CAPABILITY = (8, 0)
"""The CUDA compute capability (Ampere) from which on a GPU multiplies bfloat16 numbers natively."""
PREFERENCE = ("torch", "tf")
"""The order in which an unnamed backend is chosen among the installed ones."""
TERMS = ("content", "style", "tv")
"""What the total is of, as fields of Losses, in the order of a recipe's `term_weights`."""


@dataclass(frozen=True)
class Problem:
    """What is minimised: a recipe, the network's weights and input space, and the images at the scale's size.

    `steps` are those that this scale is to take, for whose state memory is planned; 0 where images are only judged.
    """

    recipe: Recipe
    weights: WeightSet
    preprocessing: str
    content: Image
    styles: tuple[Image, ...]
    steps: int

    @property
    def pixels(self) -> int:
        """The pixels of the content image."""
        return math.prod(self.content.shape[:2])

    @property
    def is_wide(self) -> bool:
        """Whether the network is as wide as the published one; a narrower one has little to multiply."""
        return self.weights.widths[0] >= vgg19.WIDTHS[0]

    @property
    def channels(self) -> dict[str, int]:
        """The channels of every tap."""
        return {tap: vgg19.channels_of(self.weights.widths, tap) for tap in self.recipe.taps}

    def shape(self, tap: str, image: Image) -> Shape:
        """Return what divisors and factors may depend on, for the tap's features of one of the problem's images."""
        sides = [vgg19.map_side(tap, side, self.recipe.pooling.rounding) for side in image.shape[:2]]
        return Shape(self.channels[tap], math.prod(sides), self.pixels)


@dataclass(frozen=True)
class Losses:
    """The loss and its parts.

    A term includes its tap's weight, `content` and `style` are the sums of their terms, `tv` is without its weight.
    """

    content_terms: Mapping[str, float]
    style_terms: Mapping[str, float]
    tv: float
    content: float
    style: float
    total: float

    @classmethod
    def of(cls, recipe: Recipe, values: Sequence[float]) -> "Losses":
        """Return the losses for the terms' values: the content taps, the style taps, the total variation."""
        content = dict(zip(recipe.content.taps, values, strict=False))
        style = dict(zip(recipe.style.taps, values[len(content) :], strict=False))
        sums = math.fsum(content.values()), math.fsum(style.values()), values[-1]
        return cls(content, style, sums[2], sums[0], sums[1], total_loss(*sums, recipe.term_weights))

    def as_record(self) -> dict[str, float | None]:
        """Return the sums as JSON has them, None for what is not finite."""
        return {name: finite_or_none(getattr(self, name)) for name in (*TERMS, "total")}

    @property
    def not_finite(self) -> str | None:
        """The first term that is infinite or not a number, as a user would call it, or None."""
        for kind, terms in (("content", self.content_terms), ("style", self.style_terms)):
            for tap, value in terms.items():
                if not math.isfinite(value):
                    return f"the {kind} term of {tap}"
        if not math.isfinite(self.tv):
            return "the total variation"
        return None if math.isfinite(self.total) else "the total loss"


def finite_or_none(value: float) -> float | None:
    """Return the value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Evaluation:
    """One image judged: losses, gradient of the total loss (H, W, 3) by the image in [0, 1] RGB, Grams, targets."""

    losses: Losses
    gradient: Image
    grams: Mapping[str, Image]
    targets: Mapping[str, Image]


@dataclass(frozen=True)
class Passes:
    """Both passes through the network for one image, layer by layer in network order, `input` first.

    `outputs` are the layers' outputs (H, W, C), that of `input` the preprocessed image; `gradients` those of the total
    loss, the total variation left out, by each of them.
    """

    outputs: Mapping[str, Image]
    gradients: Mapping[str, Image]


class Descent(Protocol):
    """One optimisation at one size. The variable, its gradient and the optimiser's state stay on the device."""

    def evaluate(self) -> Losses:
        """Compute losses and gradient of the current image."""

    def update(self) -> None:
        """Take the optimiser's step from the last evaluation, then clamp if the recipe clamps each step."""

    def place(self, image: Image) -> None:
        """Go on from another image, the optimiser's state as it is."""

    def keep(self) -> None:
        """Remember the current image."""

    def restore(self) -> None:
        """Go back to the remembered image and clear the optimiser's history."""

    def image(self) -> Image:
        """Return the current image, unclipped."""

    def kept(self) -> Image:
        """Return the remembered image, unclipped."""


class AdaptableDescent(Descent, Protocol):
    """A descent that can go on in another way where memory has run out."""

    def judge_by(self, make: Callable[[], "Objective"]) -> None:
        """Go on with another objective, made once this one's memory is free; image and optimiser's state stay.

        Where it cannot be made, the images can still be had.
        """

    def optimize_by(self, settings: Optimizer) -> None:
        """Go on with another optimiser, which begins anew."""


class Objective(Protocol):
    """A problem whose targets have been computed, ready to judge images of the content image's size.

    `plan` says in which tiles; `recipe` is the problem's, with what the plan changes.
    """

    plan: memory.Plan
    recipe: Recipe

    def evaluate(self, image: Image) -> Evaluation:
        """Return losses, gradient and Gram matrices of an image."""

    def passes(self, image: Image) -> Passes:
        """Return both passes' results at every layer; raises NstError where the objective is tiled."""

    def descent(self, image: Image) -> AdaptableDescent:
        """Return an optimisation that starts from an image."""


Work = Callable[[], object]


class Workload(Protocol):
    """What is timed of a problem, beside the steps of a descent of its `objective`.

    The first four methods prepare a piece of work and return what does it once. On a device that computes on its own
    the work may be under way when that returns; `finish` waits for it.
    """

    objective: Objective

    def loss_pass(self) -> Work:
        """Losses and gradient of the content image, as a step computes them, nothing read from the device."""

    def bare_pass(self) -> Work:
        """The network to its deepest tap and back to the image, with the plain sum of that tap for a loss."""

    def tutorial_step(self) -> Work:
        """A step of the loop in the framework's own tutorial, in float32, with the recipe's taps and pooling."""

    def matrix_product(self, side: int) -> Work:
        """The product of two (side, side) matrices, in what the network computes in."""

    def finish(self) -> None:
        """Wait until the device has done all that it was given."""

    def peak_memory(self) -> int | None:
        """Return the most bytes that the device has held at a time, or None where the framework does not count."""


class Backend(Protocol):
    """A framework on a device, in a precision; `plan` is that of the last objective that was begun."""

    name: str
    device: str
    dtype: DType
    precision: Precision
    fast: bool
    tile: tiles.Tile
    plan: memory.Plan

    def undisturbed(self) -> AbstractContextManager[object]:
        """Return a context in which no mode that the calling program has put its framework into changes a run.

        Raises NstError in a mode that cannot be left.
        """

    def versions(self) -> dict[str, str]:
        """Return what produced the numbers: framework and libraries with their versions."""

    def switches(self) -> dict[str, int | bool | str]:
        """Return the framework's switches that change numbers, as they stand: threads, tf32, deterministic, ..."""

    def objective(self, problem: Problem, tile: tiles.Tile | None = None) -> Objective:
        """Return the problem with the network built and the targets computed; `tile` takes the settings' place."""

    def ran_out_of_memory(self, error: BaseException) -> bool:
        """Return whether the error says that memory has run out, the host's or the device's."""

    def workload(self, problem: Problem, tile: tiles.Tile | None = None) -> Workload:
        """Return what is timed of a problem, `tile` as for `objective`; raises NstError where speed is no question."""


def _package(entry: EntryPoint) -> Any:
    # It has the backend's FRAMEWORK and, where something must be settled before that is imported, `prepare(settings)`.
    return importlib.import_module(entry.module.partition(".")[0])


def _framework(entry: EntryPoint) -> str | None:
    framework: str | None = getattr(_package(entry), "FRAMEWORK", None)
    return framework


def _missing_framework(entry: EntryPoint) -> str | None:
    framework = _framework(entry)
    return framework if framework and importlib.util.find_spec(framework) is None else None


def installed() -> tuple[str, ...]:
    """Return the backends whose framework is installed, the preferred one first; imports no framework."""
    found = [name for name, entry in backends().items() if _missing_framework(entry) is None]
    return tuple(sorted(found, key=lambda n: (PREFERENCE.index(n) if n in PREFERENCE else len(PREFERENCE), n)))


def default_name() -> str:
    """Return the backend to use when none is named: torch, else tf.

    Raises NstError naming the extras to install when there is neither.
    """
    for name in installed():
        if name in PREFERENCE:
            return name
    raise NstError(f"no backend is installed: {' or '.join(map(install, PREFERENCE))}")


class Configured:
    """What every backend has in common: settings resolved for this machine, and the last problem's plan."""

    name: str
    plan = memory.Plan()
    winograd = False
    """Whether the last objective takes Winograd's algorithm."""

    def __init__(
        self,
        settings: Settings,
        available: Iterable[str],
        gains_by_bf16: Callable[[str], bool] = lambda device: False,
    ) -> None:
        """Take the settings; `gains_by_bf16` says of a device whether it is faster in bf16.

        Raises NstError where none of the available devices can compute as asked.
        """
        self.device = choose_device(settings.device, available, settings.dtype, backend=self.name)
        self.precision = choose_precision(settings.precision, self.device, settings.dtype, gains_by_bf16)
        self.dtype, self.fast = settings.dtype, settings.fast
        self.tile = settings.tile

    def undisturbed(self) -> AbstractContextManager[object]:
        """Return a context that changes nothing, for what has no modes; nst_spec.backend.Backend."""
        return nullcontext()

    def gains_by_winograd(self, problem: Problem) -> bool:
        """Return whether Winograd's algorithm, which rounds otherwise than a plain sum, may be taken and pays."""
        fits = self.fast and self.is_single_on_cpu
        return fits and problem.is_wide and problem.pixels >= winograd.PIXELS

    @property
    def is_single_on_cpu(self) -> bool:
        """Whether a CPU computes in float32 throughout, where algorithms and layouts differ in what they round."""
        return (self.device, self.dtype, self.precision) == ("cpu", "float32", "fp32")

    def planned(self, problem: Problem, tile: tiles.Tile | None, free: int, workspace: int) -> memory.Plan:
        """Set and return in which tiles, if any, to compute a problem; `tile` takes the place of the settings'."""
        recipe = problem.recipe
        if self.winograd:
            free -= winograd.kernel_bytes(problem.weights.arrays, recipe.taps)
        needs = memory.Needs(
            recipe,
            problem.steps,
            problem.weights.widths,
            problem.content.shape[:2],
            [style.shape[:2] for style in problem.styles],
            np.dtype(self.dtype).itemsize,
            [problem.shape(tap, problem.content) for tap in recipe.content.taps],
            workspace,
            on_gpu=self.device != "cpu",
        )
        self.plan = memory.plan(needs, self.tile if tile is None else tile, free)
        return self.plan


def load(name: str | None = None, **settings: Any) -> Backend:
    """Return a backend, importing its framework; the keywords are the fields of Settings.

    Raises NstError for an unknown name, for a value that Settings does not accept, and for a missing framework, naming
    the extra to install.
    """
    name = name or default_name()
    entries = backends()
    if not isinstance(name, str) or name not in entries:
        raise not_accepted("backend", name, entries)
    asked = Settings(**{name: own(value) for name, value in settings.items()})
    framework = _missing_framework(entries[name])
    if framework:
        raise NstError(f"backend {name}: {framework} is not installed; {install(name)}")
    prepare = getattr(_package(entries[name]), "prepare", None)
    if prepare:
        prepare(asked)
    try:
        module: Any = entries[name].load()
    except Exception as error:
        # A framework's libraries raise errors of its own, too; any other kind is a mistake of ours.
        is_theirs = type(error).__module__.partition(".")[0] == _framework(entries[name])
        if not is_theirs and not isinstance(error, ImportError | OSError | RuntimeError):
            raise
        raise NstError(
            f"backend {name}: cannot be loaded ({reason(error)}); {install(name)} installs what it needs"
        ) from error
    backend: Backend = module.Backend(asked)
    return backend


def choose_precision(requested: str, device: str, dtype: str, gains_by_bf16: Callable[[str], bool]) -> Precision:
    """Return the precision to use: the one requested, or for AUTO bf16 where the device gains by it.

    Raises NstError where the device cannot compute as it is asked to, naming what would do.
    """
    if requested == AUTO:
        requested = "bf16" if dtype == "float32" and gains_by_bf16(device) else "fp32"
    if not _computes_in(device, dtype):
        raise NstError("device mps computes in float32 alone; use --dtype float32 or --device cpu")
    if requested == "tf32" and device != "cuda":
        raise NstError(f"precision tf32: expected device cuda, received {device}; use --precision fp32")
    if requested != "fp32" and dtype != "float32":
        raise NstError(f"precision {requested}: expected dtype float32, received {dtype}")
    return cast(Precision, requested)


def choose_device(requested: str, available: Iterable[str], dtype: str, *, backend: str) -> str:
    """Return the device to use: the one requested, or for `auto` the first available one that computes in the dtype.

    Raises NstError naming the devices that the backend can use here.
    """
    available = tuple(available)
    if requested == AUTO:
        return next(device for device in available if _computes_in(device, dtype))
    if requested not in available:
        raise not_accepted(f"device for {backend} on this machine", requested, (AUTO, *available))
    return requested


def _computes_in(device: str, dtype: str) -> bool:
    return (device, dtype) != ("mps", "float64")
