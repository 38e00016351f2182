"""docs/formulas.md has every word of every choice of a recipe."""

import re
from pathlib import Path

import pytest

from nst_spec import recipe

TEXT = (Path(__file__).parents[1] / "docs" / "formulas.md").read_text("utf-8")
KEYS = [key for key, _ in recipe.by_key(recipe.load("default").model_dump())]
CHOICES = {key: words for key in [*KEYS, "optimizer.convention", "preprocessing"] if (words := recipe.choices(key))}


def test_the_choices_are_those_of_a_recipe():
    assert {"style.gram", "style.term", "content.term", "tv.form", "space", "optimizer.kind", "init.kind"} <= set(
        CHOICES
    )


@pytest.mark.parametrize("key", CHOICES)
def test_every_word_has_its_formula(key):
    assert f"`{key}`" in TEXT
    assert [word for word in CHOICES[key] if not re.search(rf"`{re.escape(word)}`", TEXT)] == []
