"""The keywords of the Python API with their types, for editors and type checkers; None is not given."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from nst_spec import images
from nst_spec.messages import Say
from nst_spec.tiles import Tile

Taps = str | Sequence[str] | Mapping[str, float]


class RecipeKeywords(TypedDict, total=False):
    """Those that change a recipe; nst.options says what each does."""

    size: int | None
    resize: str | None
    style_resize: str | None
    style_scale: float | None
    steps: int | None
    strength: float | None
    alpha: float | None
    beta: float | None
    tv_weight: float | None
    tv: str | None
    content_taps: Taps | None
    style_taps: Taps | None
    style_blend: str | Sequence[float] | None
    content_term: str | None
    style_term: str | None
    gram: str | None
    pooling: str | None
    rounding: str | None
    space: str | None
    preprocessing: str | None
    init: images.Source | None
    sigma: float | None
    seed: int | None
    optimizer: str | None
    lr: float | None
    clamp: str | None
    result: str | None
    colours: str | None
    guard: bool | None


class Keywords(RecipeKeywords, total=False):
    """All of them; nst.api.prepare says what those below do."""

    weights: str | Path | None
    settings: Mapping[str, Any] | None
    device: str
    dtype: str
    precision: str
    threads: int | None
    deterministic: bool
    fast: bool
    tile: Tile
    offline: bool
    allow_large: bool
    say: Say
    warn: Say
