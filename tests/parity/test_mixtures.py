"""Recipes that nobody has published: every word that a recipe's choices take, mixed, whole and in tiles."""

import functools

import numpy as np
import pytest

import nst
from nst_spec import recipe, vgg19
from nst_spec.preprocessing import affine
from tests.conftest import relative, smooth_image

CONTENT = smooth_image(45, 61, 1)
STYLES = [smooth_image(52, 40, 2), smooth_image(39, 47, 3)]

WORDS = {
    key: [word for word in recipe.choices(key) if (key, word) != ("init.kind", "file")]
    for key, _ in recipe.by_key(recipe.load("default").model_dump())
    if recipe.choices(key)
}
MIXTURES = range(max(map(len, WORDS.values())))
"""So many that each word has its turn."""


def mixture(number):
    """Return a recipe, and how many style images it is for."""
    settings = {}
    for place, (key, words) in enumerate(WORDS.items()):
        turns = np.random.default_rng(place).permutation(words)  # the choices are not to go in step
        settings[key] = turns[number % len(words)]
    chance = np.random.default_rng(number)
    for term, least in ("content", 0), ("style", 1):
        chosen = chance.choice(vgg19.TAPS[: vgg19.TAPS.index("relu5_1") + 1], chance.integers(least, 4), replace=False)
        settings[f"{term}.taps"] = {tap: chance.choice([0.0, 0.5, 1.0, 3.0]) for tap in chosen}
    if number % 2:
        settings["style.blend"] = [3.0, 1.0]
    if settings["optimizer.kind"] == "sgd":
        settings["optimizer.lr"] = 1e-3 * affine("unit", settings["space"]).scale.mean()
    settings |= {
        "alpha": chance.choice([1e-3, 1.0, 30.0]),
        "beta": chance.choice([1e-3, 1.0, 1e3]),
        "tv.weight": chance.choice([0.0, 1e-3, 1.0]),
        "size.pixels": chance.integers(33, 64),
        "size.margin": chance.choice([0, 3, 16]),
        "scales": [{"fraction": 0.7, "steps": 1}, {"fraction": 1.0, "steps": 2}],
    }
    return recipe.override(recipe.load("default"), settings), 1 + number % 2


@functools.cache
def judged_and_painted(number, backend_name, device="cpu", tile="off"):
    mixed, styles = mixture(number)
    options = {"dtype": "float64", "weights": "embedded", "device": device, "tile": tile, "fast": False}
    quiet = {"say": lambda text: None, "warn": lambda text: None}
    given = (CONTENT, STYLES[:styles])
    judged = nst.evaluate(*given, backend=backend_name, recipe=mixed, **options, **quiet)
    painted = nst.stylize(*given, backend_name, mixed, precision="fp32", **options, **quiet)
    return judged.evaluation, painted


@pytest.mark.parametrize("tile", ["off", 48])
@pytest.mark.parametrize("number", MIXTURES)
def test_any_mixture_of_choices_is_the_oracles(number, tile, backend_name, device, eager):
    evaluation, painted = judged_and_painted(number, backend_name, device, tile)
    expected, picture = judged_and_painted(number, "reference")
    for kind in ("content", "style", "tv", "total"):
        ours, theirs = (getattr(found.losses, kind) for found in (evaluation, expected))
        assert ours == pytest.approx(theirs, rel=1e-12), kind
    for tap, gram in expected.grams.items():
        assert relative(evaluation.grams[tap], gram) < 1e-12, tap
    assert relative(evaluation.gradient, expected.gradient) < 1e-12
    assert (len(painted.losses), painted.stopped) == (len(picture.losses), picture.stopped)
    # Updates amplify what rounding leaves.
    assert relative(painted.image, picture.image) < 1e-8


def test_the_mixtures_have_every_word():
    for key, words in WORDS.items():
        section, _, inner = key.partition(".")
        dumped = [mixture(number)[0].model_dump() for number in MIXTURES]
        met = {one[section][inner] if inner else one[section] for one in dumped}
        assert met == set(words), key
    assert {"content.term", "style.gram", "style.term", "tv.form", "optimizer.kind", "space"} <= set(WORDS)
