"""The names under which the command line and the Python API take a recipe's settings: one table for both."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nst_spec.errors import not_accepted


@dataclass(frozen=True)
class Option:
    """A setting's name (`--style-taps`, `style_taps=`), the recipe's key, its type, and what it does.

    What is one of a few words is said by nst_spec.recipe.choices.
    """

    name: str
    key: str
    type: type
    help: str

    @property
    def flag(self) -> str:
        """The option as typed on the command line."""
        return "--" + self.name.replace("_", "-")


RECIPE_OPTIONS = (
    Option("size", "size.pixels", int, "Size of the picture, in pixels."),
    Option("resize", "size.rule", str, "What the size is of."),
    Option("style_resize", "size.style_rule", str, "Aspect of the style image, its own or the content's."),
    Option("style_scale", "size.style_scale", float, "Size of the style image relative to that rule."),
    Option("steps", "steps", int, "Optimisation steps, all scales together."),
    Option(
        "strength",
        "strength",
        float,
        "From 0, no style loss, to 1, no content loss: factors on alpha, beta and tv-weight, 1 at 0.5.",
    ),
    Option("alpha", "alpha", float, "Weight of the content loss."),
    Option("beta", "beta", float, "Weight of the style loss."),
    Option("tv_weight", "tv.weight", float, "Weight of the total variation."),
    Option("tv", "tv.form", str, "Form of the total variation."),
    Option("content_taps", "content.taps", str, "Content taps, for example relu4_2 or relu3_2=0.5,relu4_2."),
    Option("style_taps", "style.taps", str, "Style taps, likewise."),
    Option("style_blend", "style.blend", str, "How much each of several style images counts, for example 2,1."),
    Option("content_term", "content.term", str, "Form of the content term."),
    Option("style_term", "style.term", str, "Form of the style term."),
    Option("gram", "style.gram", str, "Divisor of the Gram matrices."),
    Option("pooling", "pooling.kind", str, "Pooling."),
    Option("rounding", "pooling.rounding", str, "Pooling of an odd last row or column."),
    Option("space", "space", str, "Pixel space that is optimised."),
    Option("preprocessing", "preprocessing", str, "Pixel space that feeds the network, instead of the weights' own."),
    Option("init", "init", str, "Start from content, style, noise, or an image FILE."),
    Option("sigma", "init.sigma", float, "Deviation of the initial noise."),
    Option("seed", "init.seed", int, "Seed of the initial noise."),
    Option("optimizer", "optimizer.kind", str, "Optimiser."),
    Option("lr", "optimizer.lr", float, "Learning rate."),
    Option("clamp", "clamp", str, "When pixels are made valid."),
    Option("result", "result", str, "The image that is taken."),
    Option("colours", "colours", str, "Whose colours the picture has."),
    Option("guard", "guard", bool, "Go back to the best image when the loss explodes."),
)


def to_settings(options: Mapping[str, Any], others: Iterable[str] = ()) -> dict[str, Any]:
    """Return recipe settings (nst_spec.recipe.override) for options given by name; None stands for not given.

    `others` are the keywords that the caller takes itself, for the message.

    Raises TypeError for a name that is no option, as a call with an unknown keyword does, and NstError for an initial
    image that is neither a kind of one nor a file.
    """
    # Imported here, since `nst --help` reads this table and does not wait for pydantic.
    from nst_spec.recipe import INIT_KINDS

    keys = {option.name: option.key for option in RECIPE_OPTIONS}
    unknown = [name for name in options if name not in keys]
    if unknown:
        raise TypeError(str(not_accepted("unexpected keyword", unknown[0], [*others, *keys])))
    settings = {keys[name]: value for name, value in options.items() if value is not None}
    init = settings.pop("init", None)
    kinds = [kind for kind in INIT_KINDS if kind != "file"]
    if isinstance(init, str) and init in kinds:
        settings |= {"init.kind": init}
    elif isinstance(init, str) and not os.path.exists(init):
        raise not_accepted("init", init, [*kinds, "an image FILE"])
    elif init is not None:
        settings |= {"init.kind": "file", "init.file": init}
    return settings
