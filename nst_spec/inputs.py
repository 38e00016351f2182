"""What a run begins with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nst_spec import images, vgg19
from nst_spec.errors import NstError
from nst_spec.recipe import Recipe
from nst_spec.weights import WeightSet


@dataclass(frozen=True)
class Inputs:
    """What a run begins with: content and style pictures, the one that `init.kind` of `file` starts from, the weights.

    `preprocessing` is the pixel space that feeds the network.
    """

    content: images.Picture
    styles: tuple[images.Picture, ...]
    weights: WeightSet
    preprocessing: str
    start: images.Picture | None = None

    def record(self) -> dict[str, Any]:
        """Return names and hashes of weights and pictures, never folders."""
        style, *more_styles = self.styles
        pictures = {"content": self.content, "style": style, "start": self.start}
        weights = {
            "name": Path(self.weights.name).name,
            "sha256": self.weights.sha256,
            "preprocessing": self.preprocessing,
        }
        named: dict[str, Any] = {role: _named(picture) for role, picture in pictures.items() if picture}
        if more_styles:
            named["more_styles"] = [_named(picture) for picture in more_styles]
        return {"weights": weights, "inputs": named}


def _named(picture: images.Picture) -> dict[str, str]:
    return {"name": picture.name, "sha256": picture.sha256}


def check_weights(recipe: Recipe, weights: WeightSet) -> None:
    """Raise NstError when the weight set ends before the recipe's deepest tap."""
    for layer in vgg19.layers_to(recipe.taps):
        if layer in vgg19.CONVOLUTIONS and f"{layer}.weight" not in weights.arrays:
            raise NstError(
                f"weights {weights.name}: the recipe's tap {recipe.taps[-1]} needs {layer}, which is missing; use "
                "--content-taps and --style-taps, or other --weights"
            )
