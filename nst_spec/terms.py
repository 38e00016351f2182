"""How a problem's terms are made up, for backends with tensors of their own: what is matched, factors, their order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from nst_spec.backend import Image, Problem
from nst_spec.errors import NstError
from nst_spec.losses import blended, content_factor, gram_divisor, style_factor
from nst_spec.recipe import Recipe

Tensor = TypeVar("Tensor")
"""A backend's own arrays."""
Features = TypeVar("Features")
"""Those of a tap's features: one, or tile by tile."""


@dataclass(frozen=True)
class ContentTarget(Generic[Features]):
    """Features to match at a tap, and the factor of the term, the tap's weight included."""

    features: Features
    factor: float


@dataclass(frozen=True)
class StyleTarget(Generic[Tensor]):
    """Gram matrix to match at a tap, the divisor of the image's own, and the factor, the tap's weight included."""

    gram: Tensor
    divisor: float
    factor: float


def gram_divisors(problem: Problem, image: Image) -> dict[str, float]:
    """Return the divisors of the Gram matrices of one of the problem's images, by style tap."""
    style = problem.recipe.style
    return {tap: gram_divisor(style.gram, problem.shape(tap, image)) for tap in style.taps}


def content_targets(
    problem: Problem, found: Mapping[str, tuple[Features, float]]
) -> dict[str, ContentTarget[Features]]:
    """Return the content targets by tap; `found` are the content image's features, each with the sum of its squares."""
    targets = {}
    for tap, weight in problem.recipe.content.taps.items():
        features, energy = found[tap]
        factor = content_factor(problem.recipe.content.term, problem.shape(tap, problem.content), energy)
        _check_held(factor, energy, f"content term at {tap}", problem)
        targets[tap] = ContentTarget(features, weight * factor)
    return targets


def style_targets(
    problem: Problem, grams: Sequence[Mapping[str, Tensor]], energy: Callable[[Tensor], float]
) -> dict[str, StyleTarget[Tensor]]:
    """Return the style targets by tap; `grams` are each style image's, `energy` is the sum of a tensor's squares."""
    divisors = gram_divisors(problem, problem.content)
    shares = problem.recipe.style.shares(len(grams))
    targets = {}
    for tap, weight in problem.recipe.style.taps.items():
        shape = problem.shape(tap, problem.content)
        target = blended([of_image[tap] for of_image in grams], shares)
        its_energy = energy(target)
        factor = style_factor(problem.recipe.style.term, shape, its_energy)
        _check_held(factor, its_energy, f"style term at {tap}", problem)
        targets[tap] = StyleTarget(target, divisors[tap], weight * factor)
    return targets


def _check_held(factor: float, energy: float, term: str, problem: Problem) -> None:
    """Raise NstError where a term's factor is no number that the run can hold, and the term would silently be 0."""
    numbers = np.finfo(problem.content.dtype)
    has_none_to_match = factor == energy == 0.0
    if not (has_none_to_match or float(numbers.tiny) <= factor <= float(numbers.max)):
        raise NstError(
            f"{term}: its factor is {factor:.0e}, its target's sum of squares {energy:.0e}, which {numbers.dtype} does "
            "not hold; use --dtype float64, or another form of the term or divisor of the Gram matrix"
        )


def coefficients(recipe: Recipe) -> list[float]:
    """Return what each term is weighed with, in the order of `Losses.of`: the total loss is their dot product."""
    alpha, beta, tv = recipe.term_weights
    return [alpha] * len(recipe.content.taps) + [beta] * len(recipe.style.taps) + [tv]


def by_tap(
    recipe: Recipe,
    features: Iterable[tuple[str, Tensor]],
    content_term: Callable[[str, Tensor], Tensor],
    style_term: Callable[[str, Tensor], tuple[Tensor, Tensor]],
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return the content and style terms, in the order of `Losses.of`, and the Gram matrices by tap.

    A term is formed as soon as its features are there: the way back goes in the opposite order, and would otherwise
    begin with the gradients of all terms, and hold each until it comes by the tap. `content_term` makes a term of a tap
    and its features, `style_term` a term and the Gram matrix.
    """
    content, style, grams = {}, {}, {}
    for tap, feature in features:
        if tap in recipe.content.taps:
            content[tap] = content_term(tap, feature)
        if tap in recipe.style.taps:
            style[tap], grams[tap] = style_term(tap, feature)
    return [*(content[tap] for tap in recipe.content.taps), *(style[tap] for tap in recipe.style.taps)], grams
