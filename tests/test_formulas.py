"""docs/formulas.md has every word of every choice of a recipe."""

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
    paragraphs = TEXT.split("\n\n")
    place = next(number for number, text in enumerate(paragraphs) if f"`{key}`" in text)
    # Of what is a table of its own, the words are in it; prose may have its table after it.
    found = paragraphs[place] if paragraphs[place].startswith("|") else "".join(paragraphs[place : place + 2])
    assert [word for word in CHOICES[key] if f"`{word}`" not in found] == []
