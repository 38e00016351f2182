"""What a comparison finds, as `--json` prints it, and the words for it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from compare.trace import Environment


class Quantity(NamedTuple):
    """What is compared at a layer: its field of a Layer, what a sentence calls it there, a heading, and a short one."""

    field: str
    at: str
    heading: str
    short: str


OUTPUT = Quantity("output", "output of", "output", "output")
TARGET = Quantity("target", "target Gram matrix of", "style image’s Gram matrix", "target")
GRAM = Quantity("gram", "Gram matrix of", "Gram matrix", "Gram")
CONTENT_TERM = Quantity("content_term", "content term of", "content term", "content")
STYLE_TERM = Quantity("style_term", "style term of", "style term", "style")
SLOPE = Quantity("slope", "gradient by", "gradient by the layer", "gradient")
SLOPE_LENGTH = Quantity("slope_length", "length of the gradient by", "its length", "its length")
FORWARD = (OUTPUT, TARGET, GRAM, CONTENT_TERM, STYLE_TERM)
"""In the order of computation."""

TOTAL, IMAGE, LENGTH, PICTURE = "total", "image after", "length of", "picture of"
"""First's names for what is no layer's."""
BY_IMAGE, RUN, FIRST_UPDATE = "the image", "the run", "the first update"
"""Where that may be."""
FIRST_LOSS = "loss of the run's first step"
TOTALS = {"tv": "total variation", "content": "content loss", "style": "style loss", "loss": "total loss"}
"""What a reader calls the totals; FIRST_LOSS, among them, is its own name."""


class Part(BaseModel):
    """A part of the result; where a number is not finite, JSON has null."""

    model_config = ConfigDict(frozen=True)


class Measure(Part):
    """An error beside its limit; None for an error that is no finite number, or between arrays of other shapes."""

    error: float | None
    limit: float
    ok: bool

    @property
    def text(self) -> str:
        """The error as a reader is told it."""
        if self.error is None:
            return "not comparable"
        # What is held to a limit over 1 is a ratio, and to one of 0, a number of steps.
        return f"{self.error:.1e}" if self.error and 0 < self.limit < 1 else f"{self.error:.3g}"


def limit_text(limit: float) -> str:
    """Return a limit as a reader is told it."""
    return f"{limit:.0e}" if 0 < limit < 1 else f"{limit:g}"


class Choices(Part):
    """How many of a layer's choices (signs at a ReLU, winners at a maximum pooling) the two sides make otherwise."""

    differing: int
    of: int


class Layer(Part):
    """One layer: its output, the gradient by it (`slope`) and how long that is, and what a tap adds."""

    layer: str
    output: Measure
    slope: Measure
    slope_length: Measure
    choices: Choices | None = None
    target: Measure | None = None
    gram: Measure | None = None
    content_term: Measure | None = None
    style_term: Measure | None = None


def limit_of(layers: Sequence[Layer], field: str) -> float | None:
    """Return the limit of a quantity that has the same one at all layers; None where no layer has it."""
    measures = (getattr(layer, field) for layer in layers)
    return next((measure.limit for measure in measures if measure), None)


class Step(Part):
    """A step of both runs: how far apart the images are, how far each from its own nudged run, and the ratio of these.

    `allowed` is the greatest distance that passes, None where the step is not judged.
    """

    step: int
    distance: float | None
    own_distances: tuple[float | None, float | None]
    ratio: float | None
    allowed: float | None
    ok: bool


class Trajectory(Part):
    """The runs: total losses of each side, the steps at which both have images, the final picture, the greatest ratio.

    `first_update` is how far the length of the first update is off, None where a side does not know it or neither is
    finite, and where the limits are not the dtype's own: a faster arithmetic rounds by more than a nudge.
    `judged` is False there too, and for a run too short to be, or that is far from its own nudged run from the
    beginning.
    """

    losses: tuple[list[float | None], list[float | None]]
    steps: list[Step]
    picture: Step | None
    first_update: Measure | None
    judged: bool
    ratio: Measure


class First(Part):
    """The first quantity that is out, in the order of computation, with its error."""

    quantity: str
    where: str
    measure: Measure
    step: int | None = None

    @property
    def place(self) -> str:
        """What is out, and where."""
        return TOTALS.get(self.where, self.where) if self.quantity == TOTAL else f"{self.quantity} {self.where}"

    @property
    def text(self) -> str:
        """How far it is out."""
        if (self.quantity, self.where) == (LENGTH, RUN):
            return f"longer by {self.measure.text} on one side"
        is_ratio = self.quantity in (IMAGE, PICTURE) and self.measure.error is not None
        what = " times as far apart as rounding explains" if is_ratio else ""
        return f"{self.measure.text}{what}, limit {limit_text(self.measure.limit)}"

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Comparison(Part):
    """Two traces compared; the first side is held to the second. Sizes are the images', without the recipe's margin."""

    recipe: str
    profile: str
    sides: tuple[Environment, Environment]
    weights: str
    content: str
    style: str
    content_size: tuple[int, int]
    style_size: tuple[int, int]
    more_style_sizes: list[tuple[int, int]] = []
    layers: list[Layer]
    totals: dict[str, Measure]
    flips: int
    gradient: Measure
    gradient_length: Measure
    trajectory: Trajectory | None
    first: First | None
    hint: str | None
    ok: bool

    @property
    def is_blunt(self) -> bool:
        """Whether its run says little: before it is judged, a side's own runs in float64 lose half of their digits."""
        judged = [step for step in self.trajectory.steps if step.allowed is not None] if self.trajectory else []
        own = [distance for step in judged[:1] for distance in step.own_distances if distance is not None]
        return self.profile == "float64" and max(own, default=0.0) > float(np.finfo(self.profile).eps) ** 0.5

    @property
    def why_not_judged(self) -> str:
        """Why a run is shown and not judged."""
        in_full = self.profile == self.sides[1].dtype
        return "too short, or lost at once" if in_full else "its arithmetic rounds by more than a nudge"


class Result(Part):
    """What `nst compare` and `nst diff` found, as `--json` prints it; `schema_version` changes when a name does."""

    schema_version: Literal[1] = 1
    nst: str
    ok: bool
    notes: list[str]
    commands: list[str]
    comparisons: list[Comparison]


def notes_on(comparisons: Sequence[Comparison]) -> list[str]:
    """Return what a reader should know of the comparisons together."""
    blunt = ", ".join(dict.fromkeys(comparison.recipe for comparison in comparisons if comparison.is_blunt))
    if not blunt:
        return []
    return [
        f"{blunt}: a run, moved by one unit in the last place, is soon far from itself, as where a picture has flat "
        "parts; it shows gross faults alone, and one on a photo with texture finer ones"
    ]
