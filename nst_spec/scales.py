"""The scales of a run, sized for its pictures: what is minimised at each, and which image it starts from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nst_spec import generator, images, preprocessing, sizes
from nst_spec.backend import Image, Problem
from nst_spec.errors import NstError
from nst_spec.inputs import Inputs, check_weights
from nst_spec.recipe import Recipe

ASPECT_TOLERANCE = 0.02
"""What rounding a small image's sides may do to its aspect; more is worth a warning."""


@dataclass(frozen=True)
class SizedScale:
    """One scale as it is run: its steps, the (width, height) of all images, and the margin around the first."""

    steps: int
    content_size: sizes.Size
    style_sizes: tuple[sizes.Size, ...]
    margin: int = 0

    @property
    def canvas_size(self) -> sizes.Size:
        """The (width, height) that is painted."""
        width, height = self.content_size
        return width + 2 * self.margin, height + 2 * self.margin

    def on_canvas(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return an image of the content image's size with its reflection around it."""
        around = (self.margin, self.margin)
        return np.pad(pixels, (around, around, (0, 0)), mode="symmetric") if self.margin else pixels

    def stretching(self, picture: images.Picture) -> str | None:
        """Return what a person should know of a picture that has not the content image's aspect, but for rounding."""
        own = _size(picture)
        if abs(own[0] * self.content_size[1] / (own[1] * self.content_size[0]) - 1) <= ASPECT_TOLERANCE:
            return None
        (width, height), (to_width, to_height) = own, self.content_size
        return f"{picture.name}: {width} x {height} px is stretched to the run's {to_width} x {to_height} px"

    def off_canvas(self, image: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return a painted image without its margin."""
        return image[self.margin : -self.margin, self.margin : -self.margin] if self.margin else image


def sized_scales(recipe: Recipe, content: images.Picture, *styles: images.Picture) -> tuple[SizedScale, ...]:
    """Return the scales that are run, coarsest first.

    A scale at which an image would be too small for the deepest tap is passed over; the next one takes its steps. So
    is one without steps, unless it is the last, whose size the picture has.

    Raises NstError naming the picture that is too small even at the last scale, and where the recipe blends another
    number of style images.
    """
    recipe.style.shares(len(styles))
    scales = []
    schedule = recipe.schedule
    steps = 0
    for number, scale in enumerate(schedule, start=1):
        rule, pixels = recipe.size.rule, max(1, sizes.round_half_up(recipe.size.pixels * scale.fraction))
        content_size = sizes.resized(*_size(content), rule, pixels)
        style_sizes = tuple(
            sizes.style_size(*_size(p), content_size, rule, pixels, recipe.size.style_rule, recipe.size.style_scale)
            for p in styles
        )
        steps += scale.steps
        last = number == len(schedule)
        try:
            for picture, size in zip((content, *styles), (content_size, *style_sizes), strict=True):
                sizes.check_size(picture.name, *size, recipe.taps)
        except NstError as error:
            if last:
                own = ", ".join(f"{p.name} has {_size(p)[0]} x {_size(p)[1]} px" for p in (content, *styles))
                raise NstError(f"{error}; a larger --size helps, or a squarer image ({own})") from error
            continue
        if steps or last:
            scales.append(SizedScale(steps, content_size, style_sizes, recipe.size.margin))
        steps = 0
    return tuple(scales)


def problem_at(scale: SizedScale, recipe: Recipe, inputs: Inputs, dtype: str) -> Problem:
    """Return what is minimised at a scale, its images in the run's precision, the content image with its margin.

    Raises NstError when the weight set ends before the deepest tap.
    """
    check_weights(recipe, inputs.weights)
    content = scale.on_canvas(images.fitted(inputs.content.pixels, *scale.content_size)).astype(dtype)
    styles = tuple(
        images.fitted(style.pixels, *size).astype(dtype)
        for style, size in zip(inputs.styles, scale.style_sizes, strict=True)
    )
    return Problem(recipe, inputs.weights, inputs.preprocessing, content, styles, scale.steps)


def initial_image(recipe: Recipe, inputs: Inputs, problem: Problem, scale: SizedScale) -> NDArray[np.float64]:
    """Return the image (H, W, 3) that a run starts from at a scale.

    Noise is the generator's, with the recipe's seed and deviation, in the space that is optimised; it is not clipped.
    """
    height, width = problem.content.shape[:2]
    if recipe.init.kind == "noise":
        noise = generator.normal(recipe.init.seed, (height, width, 3)) * recipe.init.sigma
        return np.asarray(preprocessing.affine(recipe.space, "unit")(noise), np.float64)
    if recipe.init.kind == "content":
        return problem.content.astype(np.float64)
    start = inputs.styles[0] if recipe.init.kind == "style" else inputs.start
    if start is None:
        raise NstError("init: expected the image to start from, received none; use --init FILE")
    return np.asarray(scale.on_canvas(images.fitted(start.pixels, *scale.content_size)), np.float64)


def carried(image: Image, recipe: Recipe, inputs: Inputs, scale: SizedScale) -> Image:
    """Return a scale's image, without its margin, as large as a finer scale's and as the recipe has it there."""
    image = clamped(image, recipe)
    height, width = image.shape[:2]
    # A run that nothing holds to the photo would show its detail as a ghost.
    is_held = recipe.alpha and any(recipe.content.taps.values())
    if recipe.carry == "image" or not is_held or (width, height) == scale.content_size:
        finer = images.resample(image, *scale.content_size)
    else:
        coarse, fine = (images.fitted(inputs.content.pixels, *size) for size in ((width, height), scale.content_size))
        finer = fine + images.resample(image - coarse, *scale.content_size)
    return clamped(finer, recipe)


def clamped(image: Image, recipe: Recipe) -> Image:
    """Return the image as a scale ends with it: its pixels valid, unless the recipe never clamps."""
    return image if recipe.clamp == "none" else np.clip(image, 0.0, 1.0)


def _size(picture: images.Picture) -> tuple[int, int]:
    height, width = picture.pixels.shape[:2]
    return width, height
