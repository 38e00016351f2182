"""A trace: one backend's numbers for one recipe and one pair of images, in a file that any machine can read.

The file is safetensors: arrays by name, and under the metadata key `nst-trace` a JSON header (`Header`). The arrays:

    input/content, input/style      the images at the finest scale (H, W, 3), in the run's dtype
    input/style/N                   the style images after the first; N from 2
    image                           the image that was judged (H, W, 3)
    output/LAYER, slope/LAYER       layer by layer, `input` first: output, and gradient of the network's part of the
                                    total loss by it; SAMPLES values of each, or all (H, W, C) with `--whole`
    facts/output/LAYER, facts/slope/LAYER   mean, standard deviation and greatest absolute value of all of them
    choices/LAYER                   bits, 8 to a byte: of a ReLU, which outputs are positive; of a maximum pooling, two
                                    for each window, the place of its first maximum
    ties/LAYER                      how many windows of a maximum pooling have more than one positive maximum
    gram/TAP, target/TAP            Gram matrices (C, C) of the judged image, and of the style images blended
    term/KIND/TAP, energy/KIND/TAP  a term's value, and the sum of squares of its target
    term/tv, total/content, total/style, total/loss
    gradient                        of the total loss by the judged image in [0, 1] RGB (H, W, 3)
    run/loss, run/image/STEP        the total loss of every step of the run; the image it starts from (0), and those
                                    after some of its steps (H, W, 3)
    run/result                      the picture that the run gave
    nudged/N/...                    the same of a run whose images are moved by N units in the last place before each
                                    step, the first one too; N from 1
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from nst_spec import generator, images, vgg19, weight_files
from nst_spec import recipe as recipes
from nst_spec.errors import NstError, first_problem
from nst_spec.losses import Shape

METADATA_KEY = "nst-trace"
OF_A_RUN = re.compile(r"(run|nudged/\d+)/(loss|result|image/\d+)")
"""The names of the arrays of runs."""
START = "run/image/0"
"""The image that a run starts from."""
SAMPLES = 2**14
"""Values kept of a layer that has more."""

Array = NDArray[Any]


class Part(BaseModel):
    """A section of the header."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Environment(Part):
    """What produced the numbers; `switches` are the framework's own, as they stood.

    `fast` is nst_spec.settings.Settings', None where an earlier version did not say; `tile` the side in pixels of the
    tiles, if there were any. What a trace tells layer by layer is without tiles.
    """

    backend: str
    device: str
    dtype: str
    precision: str
    fast: bool | None = None
    tile: int | None = None
    versions: dict[str, str]
    switches: dict[str, int | bool | str]
    system: str
    nst: str

    @property
    def title(self) -> str:
        """How a reader calls it: `torch float32 on cpu`, `torch fast float32 on cpu in tiles of 64 px`."""
        arithmetic = self.switches.get("arithmetic", self.dtype if self.precision == "fp32" else self.precision)
        tiles = f" in tiles of {self.tile} px" if self.tile else ""
        return f"{self.backend} {'fast ' if self.fast else ''}{arithmetic} on {self.device}{tiles}"


class Named(Part):
    """A file by name and hash."""

    name: str
    sha256: str


class Weights(Named):
    """The weights, and the pixel space that fed the network."""

    preprocessing: str


class Inputs(Part):
    """The images that a run began with, as nst_spec.inputs.Inputs records them."""

    content: Named
    style: Named
    start: Named | None = None
    more_styles: tuple[Named, ...] = ()

    @property
    def styles(self) -> tuple[Named, ...]:
        """Every style image."""
        return self.style, *self.more_styles


class Header(Part):
    """Everything about a trace but its numbers; sizes are (width, height) in pixels, hashes SHA-256.

    `content_size` is that of the canvas, the recipe's margin included; `style_size` that of the first style image.
    """

    format: Literal[1] = 1
    environment: Environment
    recipe: recipes.Record
    weights: Weights
    inputs: Inputs
    pixels: dict[str, str]
    content_size: tuple[int, int]
    style_size: tuple[int, int]
    more_style_sizes: tuple[tuple[int, int], ...] = ()
    shapes: dict[str, tuple[int, int, int]]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        recipe = recipes.Recipe.model_validate(self.recipe)
        missing = [layer for layer in ("input", *vgg19.layers_to(recipe.taps)) if layer not in self.shapes]
        if missing:
            raise ValueError(f"the shapes of {', '.join(missing)} are missing")
        if len(self.more_style_sizes) != len(self.inputs.more_styles):
            raise ValueError("there is not a size for each style image")
        return self

    @property
    def picture_size(self) -> tuple[int, int]:
        """The size of the canvas without the recipe's margin."""
        width, height = self.content_size
        margin = self.recipe["size"]["margin"]
        return width - 2 * margin, height - 2 * margin

    @property
    def style_sizes(self) -> dict[str, tuple[int, int]]:
        """The size of every style image, by the name of its array."""
        sizes = (self.style_size, *self.more_style_sizes)
        return dict(zip(style_arrays(len(sizes)), sizes, strict=True))

    @property
    def steps(self) -> int:
        """The steps of the recipe, whether they were run or not."""
        return recipes.Recipe.model_validate(self.recipe).steps


@dataclass(frozen=True)
class Trace:
    """A header and its arrays."""

    header: Header
    arrays: Mapping[str, Array]

    def scalar(self, name: str) -> float:
        """Return a single number."""
        return float(self.arrays[name])

    def tap_shape(self, tap: str) -> Shape:
        """Return what the divisors and factors at a tap depend on."""
        height, width, channels = self.header.shapes[tap]
        return Shape(channels, height * width, math.prod(self.header.content_size))

    def under(self, prefix: str) -> dict[str, Array]:
        """Return the arrays whose names begin with `prefix/`, by the rest of their names."""
        return {name.removeprefix(f"{prefix}/"): a for name, a in self.arrays.items() if name.startswith(f"{prefix}/")}

    def first_update(self, run: str = "run") -> Array | None:
        """Return what a run's first step adds to its image (H, W, 3), None where it was not kept."""
        start, after = (self.arrays.get(f"{run}/image/{step}") for step in (0, 1))
        if start is None or after is None:
            return None
        # A run starts with the margin that its images are without.
        margin = self.header.recipe["size"]["margin"]
        height, width = start.shape[:2]
        return after.astype(np.float64) - start[margin : height - margin, margin : width - margin]

    def only(self, *names: str) -> "Trace":
        """Return the trace with no other arrays than these, where it has them."""
        return Trace(self.header, {name: self.arrays[name] for name in names if name in self.arrays})

    def sample(self, name: str) -> Array:
        """Return a layer's kept values (K,), the same positions whether all or some were kept."""
        array = self.arrays[name]
        return array if array.ndim == 1 else sample(array)


def style_arrays(count: int) -> list[str]:
    """Return the names of the arrays of so many style images."""
    return ["input/style", *(f"input/style/{number}" for number in range(2, count + 1))]


def positions(size: int) -> NDArray[np.int64]:
    """Return where in a flattened array of `size` values the kept ones are: all, or SAMPLES from all over it."""
    if size <= SAMPLES:
        return np.arange(size)
    # One at random from each of SAMPLES equal stretches, so that no row and no channel is left out by chance.
    starts = np.arange(SAMPLES + 1, dtype=np.int64) * size // SAMPLES
    offsets = generator.uniform(size, (SAMPLES,)) * np.diff(starts)
    return np.asarray(starts[:-1] + offsets.astype(np.int64))


def sample(array: Array) -> Array:
    """Return the kept values (K,) of an array."""
    return array.reshape(-1)[positions(array.size)]


def write(path: Path, trace: Trace) -> None:
    """Write a trace; raises NstError when the file cannot be written."""
    arrays = {name: np.asarray(array, order="C") for name, array in trace.arrays.items()}
    weight_files.write_safetensors(path, arrays, {METADATA_KEY: trace.header.model_dump_json()})


def read(path: Path) -> Trace:
    """Read a trace; raises NstError when the file cannot be read, is no whole trace, or is of another format."""
    with _opened(path) as (file, header):
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    for name, shapes in _expected(header).items():
        received = arrays[name].shape if name in arrays else "nothing"
        if received not in shapes:
            raise _damaged(path, name, f"an array {' or '.join(map(str, shapes))}", received)
    _check_runs(path, arrays)
    for name, sha256 in header.pixels.items():
        if name in arrays and images.sha256_of_pixels(arrays[name]) != sha256:
            raise _damaged(path, name, f"pixels with the hash {sha256[:12]}", "others")
    return Trace(header, arrays)


def _expected(header: Header) -> dict[str, list[tuple[int, ...]]]:
    """Return the arrays that every trace has, each with the shapes that it may have."""
    width, height = header.content_size
    image = (height, width, 3)
    found: dict[str, list[tuple[int, ...]]] = {"gradient": [image], "image": [image], "term/tv": [()]}
    found["input/content"] = [image]
    for name, (style_width, style_height) in header.style_sizes.items():
        found[name] = [(style_height, style_width, 3)]
    found |= {f"total/{kind}": [()] for kind in ("content", "style", "loss")}
    for layer, shape in header.shapes.items():
        for kind in ("output", "slope"):
            found[f"{kind}/{layer}"] = [shape, (min(math.prod(shape), SAMPLES),)]
            found[f"facts/{kind}/{layer}"] = [(3,)]
        if bits := choice_bits(header, layer):
            found[f"choices/{layer}"] = [(-(-bits * math.prod(shape) // 8),)]
    for kind in ("content", "style"):
        for tap in header.recipe[kind]["taps"]:
            found |= {f"term/{kind}/{tap}": [()], f"energy/{kind}/{tap}": [()]}
    for tap in header.recipe["style"]["taps"]:
        channels = header.shapes[tap][-1]
        found |= {f"{matrix}/{tap}": [(channels, channels)] for matrix in ("gram", "target")}
    return found


def _check_runs(path: Path, arrays: Mapping[str, Array]) -> None:
    """Raise NstError unless the run, if there is one, is whole, and so are the nudged runs, at least one."""
    names = [name for name in arrays if name.startswith(("run/", "nudged/"))]
    for name in names:
        if not OF_A_RUN.fullmatch(name):
            raise _damaged(path, name, "an array of a run", "none of that name")
        if not name.endswith("/loss") and arrays[name].shape[2:] != (3,):
            raise _damaged(path, name, "an image", arrays[name].shape)
    runs = {name[: -len("/loss")] for name in names if name.endswith("/loss")}
    for run in sorted({*runs, "run", "nudged/1"}) if names else ():
        losses = arrays.get(f"{run}/loss", np.zeros(()))
        if losses.ndim != 1:
            raise _damaged(path, f"{run}/loss", "an array (steps,)", losses.shape or "nothing")
        for name in (f"{run}/image/0", *([f"{run}/result"] if losses.size else [])):
            if name not in arrays:
                raise _damaged(path, name, "an image", "nothing")


def _damaged(path: Path, name: str, expected: str, received: object) -> NstError:
    return NstError(f"{path}: the trace is damaged: {name}: expected {expected}, received {received}")


def choice_bits(header: Header, layer: str) -> int:
    """Return the bits that each choice of a layer takes: 1 of a ReLU, 2 of a maximum pooling, 0 where it makes none."""
    if layer.startswith("pool"):
        return 2 if header.recipe["pooling"]["kind"] == "max" else 0
    return int(layer.startswith("relu"))


def read_header(path: Path) -> Header:
    """Read a trace's header alone; raises NstError as `read` does."""
    with _opened(path) as (_, header):
        return header


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Header]]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file, _header(path, (file.metadata() or {}).get(METADATA_KEY))
    except (OSError, SafetensorError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error
        raise NstError(f"{path}: expected a trace as nst trace writes it ({reason})") from error


def _header(path: Path, text: str | None) -> Header:
    if text is None:
        raise NstError(f"{path}: expected a trace as nst trace writes it, received a safetensors file without a header")
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        if error.errors()[0]["loc"] == ("format",):
            raise NstError(
                f"{path}: written by another version of nst, in a format that this one does not read"
            ) from None
        raise NstError(f"{path}: the trace's header is damaged: {first_problem(error)}") from None
