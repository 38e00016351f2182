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
TILE = 32

WORDS = {
    key: [word for word in recipe.choices(key) if (key, word) != ("init.kind", "file")]
    for key in sorted({key for name in recipe.names() for key, _ in recipe.by_key(recipe.load(name).model_dump())})
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
    if settings["optimizer.kind"] != "adam":
        del settings["optimizer.convention"]
    if settings["optimizer.kind"] == "sgd":
        settings["optimizer.lr"] = 1e-3 * affine("unit", settings["space"]).scale.mean()
    chance = np.random.default_rng(number)
    for term in ("content", "style"):
        chosen = chance.choice(vgg19.TAPS[: vgg19.TAPS.index("relu5_1") + 1], chance.integers(2, 5), replace=False)
        first, *others = map(str, chosen)
        settings[f"{term}.taps"] = {first: 1.0} | {tap: chance.choice([0.0, 0.5, 3.0]) for tap in others}
    if number % 2:
        settings["style.blend"] = [3.0, 1.0]
    settings |= {
        "alpha": chance.choice([0.1, 1.0, 30.0]),
        "beta": chance.choice([0.1, 1.0, 1e3]),
        "tv.weight": chance.choice([0.1, 1.0]),
        "size.pixels": chance.integers(46, 60),
        "size.margin": chance.choice([0, 3, 16]),
        "scales": [{"fraction": 0.7, "steps": 1}, {"fraction": 1.0, "steps": 2}],
        "adapted": {},
    }
    return recipe.override(recipe.load("default"), settings), 1 + number % 2


@functools.cache
def judged_and_painted(number, backend_name, device="cpu", tile="off"):
    mixed, styles = mixture(number)
    options = {"dtype": "float64", "weights": "embedded", "device": device, "tile": tile, "fast": False}
    quiet = {"say": lambda text: None, "warn": lambda text: None}
    given = (CONTENT, STYLES[:styles])
    judged = nst.evaluate(*given, backend=backend_name, recipe=mixed, **options, **quiet)
    assert judged.recipe == mixed
    painted = nst.stylize(*given, backend_name, mixed, precision="fp32", **options, **quiet)
    return judged, painted


@pytest.mark.parametrize("tile", ["off", TILE])
@pytest.mark.parametrize("number", MIXTURES)
def test_any_mixture_of_choices_is_the_oracles(number, tile, backend_name, device, eager):
    judged, painted = judged_and_painted(number, backend_name, device, tile)
    assert judged.record["tile"] == (None if tile == "off" else tile)
    assert max(judged.evaluation.gradient.shape) > TILE
    expected, picture = judged_and_painted(number, "reference")
    for kind in ("content", "style", "tv", "total"):
        ours, theirs = (getattr(found.evaluation.losses, kind) for found in (judged, expected))
        assert ours == pytest.approx(theirs, rel=1e-12), kind
    for tap, gram in expected.evaluation.grams.items():
        assert relative(judged.evaluation.grams[tap], gram) < 1e-12, tap
    assert relative(judged.evaluation.gradient, expected.evaluation.gradient) < 1e-12
    assert (len(painted.losses), painted.stopped) == (len(picture.losses), picture.stopped)
    # Updates amplify what rounding leaves.
    assert relative(painted.image, picture.image) < 1e-8


def test_the_mixtures_have_every_word():
    dumped = [dict(recipe.by_key(mixture(number)[0].model_dump())) for number in MIXTURES]
    for key, words in WORDS.items():
        assert {one[key] for one in dumped if key in one} == set(words), key
    assert {"content.term", "style.gram", "style.term", "tv.form", "optimizer.convention", "space"} <= set(WORDS)
