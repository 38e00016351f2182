"""Weight sets: which there are, where their files are, and one way of loading any of them or any file.

A weight set is the convolutions of a VGG19, of any width, with the preprocessing it expects and its hash.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nst_spec import generator, vgg19, weight_files
from nst_spec.errors import NstError, named, not_accepted
from nst_spec.fetch import (
    FetchError,
    cache_directory,
    check,
    check_published,
    download,
    is_offline,
    matches,
    sha256_of_file,
)
from nst_spec.messages import Say, to_nobody, to_stderr
from nst_spec.preprocessing import SPACES, space_named

AUTO = "auto"
"""What the default recipe asks for: PRETRAINED when it can be had, else WITHOUT_NETWORK."""
PRETRAINED = "caffe"
WITHOUT_NETWORK = "embedded"
RANDOM = "random"

CARRIED = Path(__file__).parent
"""Where the weights lie that come with the package."""

RANDOM_BIAS = 0.1
"""Random biases lie within this of zero. Activations of He-initialised layers keep the size of the input, about 1 for
normalised pixels: this is small beside them, and thousands of times what float32 rounding does, so that a dropped
bias shows."""


@dataclass(frozen=True)
class SetInfo:
    """What weights.toml says about a set; `size` of its file in bytes.

    A set with a `url` is fetched, one with a `file` alone comes with the package, one with neither is made on the spot;
    `arrays` is the hash (WeightSet.sha256) of those that are not fetched.
    """

    name: str
    summary: str
    size: int
    licence: str
    attribution: str
    preprocessing: str | None = None
    url: str = ""
    file: str = ""
    hash: str = ""
    arrays: str = ""


@dataclass(frozen=True)
class WeightSet:
    """Weights ready for use.

    `arrays` holds float32 `conv1_1.weight` (OIHW), `conv1_1.bias`, ... in network order; `preprocessing` is the pixel
    space they expect, None if unknown; `sha256` is the hash of the arrays, the same whatever file they came from.
    """

    name: str
    arrays: Mapping[str, NDArray[np.float32]] = field(compare=False)  # sha256 stands for them
    preprocessing: str | None
    sha256: str

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of each block."""
        return vgg19.widths_of(self.arrays)


def _known_sets() -> dict[str, SetInfo]:
    text = resources.files("nst_spec").joinpath("weights.toml").read_text(encoding="utf-8")
    return {name: SetInfo(name, **table) for name, table in tomllib.loads(text).items()}


SETS: Mapping[str, SetInfo] = _known_sets()
"""Every set that has a name, in the order of weights.toml."""


def load(
    name_or_path: str | Path,
    *,
    offline: bool = False,
    say: Say = to_stderr,
    warn: Say = to_stderr,
) -> WeightSet:
    """Load a weight set.

    Args:
        name_or_path: a name in SETS, fetched if it is not in the cache; `auto`; or the path of a file in any format of
            weight_files.READERS. A name wins over a file of the same name: write `./caffe` for the file.
        offline: never try the network; NST_OFFLINE=1 says the same.
        say: told of a download about to start.
        warn: told what `auto` fell back to.

    Returns:
        The set; `auto` comes back under the name of the set it stood for.

    Raises:
        NstError: naming the file, what is wrong with it and, for a file that cannot be fetched, the ways on.
    """
    check_name(name_or_path)
    if name_or_path == AUTO:
        return _load_auto(offline, say, warn)
    if isinstance(name_or_path, str) and name_or_path in SETS:
        return _load_set(SETS[name_or_path], offline, say)
    file = Path(name_or_path)
    arrays, preprocessing = _read_file(file)
    return _weight_set(str(name_or_path), arrays, preprocessing)


def check_name(name_or_path: str | Path) -> None:
    """Raise NstError unless there is a set or a file of this name; cheap, before anything slow."""
    if isinstance(name_or_path, str | Path):
        if name_or_path in (*SETS, AUTO) or os.path.exists(name_or_path):
            return
        if Path(name_or_path).suffix in weight_files.READERS:
            raise NstError(f"weights {name_or_path}: no such file")
    raise not_accepted("weights", name_or_path, [*SETS, AUTO, "the path of a file"])


def known_as(weights: WeightSet) -> str:
    """Return the name of the set that has these arrays, whatever file they came from; else the weights' own.

    Of the sets that are fetched only the name is known.
    """
    return next((info.name for info in SETS.values() if info.arrays == weights.sha256), weights.name)


def preprocessing_for(
    recipe_preprocessing: str | None, recipe_weights: str, weights: WeightSet, *, warn: Say = to_nobody
) -> str:
    """Return the pixel space in which the network is fed.

    What the recipe states explicitly wins; else the weights' own; else that of the set the recipe names, where `auto`
    counts as PRETRAINED.

    Args:
        recipe_preprocessing: the recipe's own statement, None if it makes none.
        recipe_weights: the weights that the recipe names, whichever are used instead.
        weights: the weights in use.
        warn: told where these come from a file that does not say it, and nor does the recipe.

    Raises:
        NstError: if nothing says it, or what says it is no pixel space.
    """
    named = SETS.get(PRETRAINED if recipe_weights == AUTO else recipe_weights)
    stated = recipe_preprocessing or weights.preprocessing
    chosen = stated or (named.preprocessing if named else None)
    if chosen is None:
        raise NstError(
            f"preprocessing: neither the recipe, nor the weights {weights.name}, nor the set the recipe names "
            f"({recipe_weights}) says which; state it in the recipe: {', '.join(SPACES)}"
        )
    space_named(chosen)
    if not stated and weights.name not in SETS:
        warn(
            f"{Path(weights.name).name} does not say in which pixel space its network was trained; it is fed "
            f"{chosen!r}, as the recipe's own weights are; --preprocessing says otherwise"
        )
    return chosen


def random_weights(widths: tuple[int, ...] = vgg19.WIDTHS, seed: int = 0) -> WeightSet:
    """Return the set `random`: the same numbers on every platform, from nst_spec.generator.

    Array i, in network order, has the seed integers(seed)[i] and uniforms u = uniform(that seed) on [0, 1). Kernels
    are (2u - 1) * sqrt(6 / fan_in), fan_in = in * 3 * 3; biases (2u - 1) * RANDOM_BIAS. All in float64, rounded once.

    Source: He, Zhang, Ren & Sun, "Delving Deep into Rectifiers", ICCV 2015 (uniform with the same variance).
    """
    shapes = vgg19.weight_shapes(widths)
    seeds = generator.integers(seed, len(shapes))
    arrays = {}
    for (name, shape), array_seed in zip(shapes.items(), seeds, strict=True):
        bound = np.sqrt(6 / np.prod(shape[1:])) if name.endswith(".weight") else RANDOM_BIAS
        arrays[name] = ((2 * generator.uniform(int(array_seed), shape) - 1) * bound).astype(np.float32)
    return _weight_set(RANDOM, arrays, None)


def fetch(name: str, *, force: bool = False, say: Say = to_stderr) -> Path:
    """Return the path of a set's file, downloading it first unless it is in the cache.

    Args:
        name: a set that has a url.
        force: download it even if it is in the cache.
        say: told the size and the source before a download starts.

    Raises:
        NstError: naming the file, the url, what went wrong and the ways on; the cache is as it was before, then.
    """
    fetchable = [info.name for info in SETS.values() if info.url]
    if name not in fetchable:
        raise not_accepted("weights to fetch", name, fetchable)
    return _obtain(SETS[name], False, say, force)


def path(name: str) -> Path | None:
    """Return where a set's file lies, in the cache or the package; None if it is not there or the set has none.

    Raises NstError where there is no such set.
    """
    info = named("weights", name, SETS)
    target = _target(info)
    return target if info.file and os.path.isfile(target) else None


def is_here(name: str) -> bool:
    """Return whether a set can be had without a download."""
    return not SETS[name].url or path(name) is not None


def whereabouts(name: str) -> str:
    """Return in a few words where a set is: in the cache or not, in the package, or nowhere until it is made."""
    info = SETS[name]
    if not info.url:
        return "comes with nst" if info.file else "made on the spot"
    return "in the cache" if is_here(name) else "not fetched"


def verify(name_or_path: str) -> str:
    """Check a set's file against its publisher's hash and its pin, or any other file against what it says of itself.

    Args:
        name_or_path: a name in SETS, or the path of a file.

    Returns:
        The SHA-256 of the file; for a set made on the spot, that of its arrays.

    Raises:
        NstError: if a hash differs, the file cannot be read, or the set is not in the cache.
    """
    check_name(name_or_path)
    if name_or_path == AUTO:
        raise not_accepted("weights to verify", name_or_path, [*SETS, "the path of a file"])
    info = SETS.get(name_or_path)
    if info is None:
        file = Path(name_or_path)
        weight_files.read(file)
        for known in SETS.values():
            if known.url and known.file == file.name:
                check_published(file, known.hash)
        return sha256_of_file(file)
    if not info.file:
        return _load_set(info, True, to_stderr).sha256
    if path(name_or_path) is None:
        raise NstError(f"{_target(info)}: not in the cache yet; fetch it with `nst weights fetch {info.name}`")
    check_published(_target(info), info.hash)
    return check(_target(info), info.hash) if info.url else sha256_of_file(_target(info))


def convert(source: str | Path, target: str | Path, preprocessing: str | None = None) -> WeightSet:
    """Write the weights of a file in any known format to a safetensors file.

    Args:
        source: the file to read.
        target: the file to write; its extension is .safetensors.
        preprocessing: the pixel space that the weights expect; None keeps what the source is known to expect.

    Returns:
        The weights that were written.

    Raises:
        NstError: if a file cannot be read or written, or `preprocessing` is no pixel space.
    """
    if preprocessing is not None:
        space_named(preprocessing)
    arrays, known = _read_file(Path(source))
    weights = _weight_set(str(target), arrays, preprocessing or known)
    weight_files.write(Path(target), weights.arrays, _header(weights))
    return weights


def export(name: str, target: str | Path, *, offline: bool = False, say: Say = to_stderr) -> WeightSet:
    """Write a set that has a name to a safetensors file, fetching it first if need be.

    Args:
        name: a name in SETS.
        target: the file to write; its extension is .safetensors.
        offline: as for `load`.
        say: as for `load`.

    Returns:
        The weights that were written.

    Raises:
        NstError: if there is no such set, it cannot be had, or the file cannot be written.
    """
    if name not in SETS:
        raise not_accepted("weights", name, SETS)
    weights = _load_set(SETS[name], offline, say)
    origin = {"licence": SETS[name].licence, "attribution": SETS[name].attribution}
    weight_files.write(Path(target), weights.arrays, _header(weights) | origin)
    return weights


def _weight_set(name: str, arrays: Mapping[str, NDArray[np.float32]], preprocessing: str | None) -> WeightSet:
    return WeightSet(name, arrays, preprocessing, weight_files.sha256_of(arrays))


def _header(weights: WeightSet) -> dict[str, str]:
    return {"preprocessing": weights.preprocessing} if weights.preprocessing else {}


def _target(info: SetInfo) -> Path:
    return (cache_directory() if info.url else CARRIED) / info.file


def _load_set(info: SetInfo, offline: bool, say: Say) -> WeightSet:
    if not info.file:
        return random_weights()
    weight_files.check_readable(_target(info))  # before the download: what cannot be read need not be fetched
    arrays, _ = weight_files.read(_obtain(info, offline, say) if info.url else _target(info))
    return _weight_set(info.name, arrays, info.preprocessing)


def _load_auto(offline: bool, say: Say, warn: Say) -> WeightSet:
    """Load PRETRAINED, or WITHOUT_NETWORK if it cannot be had; a damaged file in the cache stays an error."""
    try:
        return _load_set(SETS[PRETRAINED], offline, say)
    except FetchError as error:
        warn(
            f"WARNING: using the weights {WITHOUT_NETWORK!r} instead of {PRETRAINED!r} ({error.__cause__ or error}); "
            f"`nst weights fetch {PRETRAINED}` fetches them, or says how else"
        )
        return _load_set(SETS[WITHOUT_NETWORK], offline, say)


def _obtain(info: SetInfo, offline: bool, say: Say, force: bool = False) -> Path:
    """Return the path of a set's file, checked; downloads it if it is not in the cache or `force` says so."""
    target = _target(info)
    if os.path.isfile(target) and not force:
        check(target, info.hash)
        return target
    try:
        if offline or is_offline():
            raise FetchError(f"{'--offline' if offline else 'NST_OFFLINE'} says not to try the network")
        download(info.url, target, info.size, info.hash, say)
    except FetchError as error:
        raise FetchError(
            f"{info.file}: not fetched from {info.url}: {error}. Ways on: download it by hand to {target}, use "
            f"`--weights FILE`, or `--weights {WITHOUT_NETWORK}`, which come with the package"
        ) from error
    return target


def _read_file(file: Path) -> tuple[Mapping[str, NDArray[np.float32]], str | None]:
    """Read a file; one that says nothing of its preprocessing may be a set's own, by name or by hash."""
    arrays, preprocessing = weight_files.read(file)
    if preprocessing is None:
        for info in SETS.values():
            same_format = bool(info.file) and Path(info.file).suffix == file.suffix.lower()
            if same_format and (info.file == file.name or matches(file, info.hash)):
                preprocessing = info.preprocessing
    return arrays, preprocessing
