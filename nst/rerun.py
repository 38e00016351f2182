"""Repeating a run from the record that its picture carries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from compare.facts import differing
from compare.trace import Inputs, Named, Weights
from nst import api, examples
from nst.api import DEFAULT_BITS, Prepared
from nst.progress import ON_THE_WAY
from nst_spec import cpu, images, weight_files
from nst_spec import recipe as recipes
from nst_spec.errors import NstError, first_problem
from nst_spec.fetch import sha256_of_file
from nst_spec.run import is_outside_cause
from nst_spec.weights import SETS


class Machine(BaseModel):
    """The backend that made a picture."""

    name: str
    device: str
    dtype: str
    precision: str = "fp32"
    fast: bool = True
    switches: dict[str, Any] = {}

    @property
    def arithmetic(self) -> dict[str, Any]:
        """The keywords of nst.api.prepare that round as it did.

        CPU threads are among them where there were fewer than there would be here: what they sum depends on their
        number.
        """
        threads = self.switches.get("threads")
        fewer = {"threads": threads} if isinstance(threads, int) and threads < cpu.count() else {}
        return fewer | {
            "dtype": self.dtype,
            "precision": self.precision,
            "fast": self.fast,
            "deterministic": bool(self.switches.get("deterministic")),
        }


class Record(BaseModel):
    """The part of a record that repeats its run."""

    backend: Machine
    recipe: dict[str, Any]
    weights: Weights
    inputs: Inputs
    steps: int
    tile: int | None = None
    tiles: list[int | None] = []
    history: int | None = None
    stopped: str | None = None
    bits: Literal[8, 16] = DEFAULT_BITS


def prepare_again(
    picture: Path,
    *,
    content: str | None = None,
    style: Sequence[str] = (),
    start: str | None = None,
    weights: str | None = None,
    size: int | None = None,
    backend: str | None = None,
    device: str | None = None,
    **options: Any,
) -> tuple[Prepared, int | None]:
    """Return the recorded run, ready to repeat, and the steps after which it is to stop, None where it stops by itself.

    In another size it has as many steps as its recipe has there, and what memory made of it does not count.
    Inputs and a weight file are looked for by name beside the picture, in the current folder and among the examples,
    or where the caller says that they are now. `options` are as for nst.api.prepare.

    Raises NstError naming an input or a weight set that is missing or has another hash, and for a picture that was
    saved on the way.
    """
    record = _record(picture)
    if record.stopped == ON_THE_WAY:
        raise NstError(
            f"{picture.name} was saved on the way to another picture; rerun that one, with --save-every {record.steps}"
        )
    recipe = recipes.from_dict(record.recipe, origin=picture.name)
    inputs = record.inputs
    if style and len(style) != len(inputs.styles):
        raise NstError(f"--style: expected {len(inputs.styles)}, one for each style image, received {len(style)}")
    if start and not inputs.start:
        raise NstError(f"--start: expected none, since init.kind of {picture.name} is {recipe.init.kind!r}, not 'file'")
    content_found = _find(picture, "content", inputs.content, content)
    now: Sequence[str | None] = style or [None] * len(inputs.styles)
    styles_found = [_find(picture, "style", *one) for one in zip(inputs.styles, now, strict=True)]
    settings: dict[str, Any] = {}
    if inputs.start:
        settings["init.file"] = _find(picture, "start", inputs.start, start)
    if size is not None:
        settings["size.pixels"] = size
        record = record.model_copy(update={"tile": None, "tiles": [], "history": None})
    if record.tiles and "tile" not in options:
        in_turn = ", ".join("none" if side is None else f"{side} px" for side in record.tiles)
        options["warn"](
            f"{picture.name}: computed in several tiles in turn ({in_turn}), here in the last alone; details may differ"
        )
    as_computed = record.backend.arithmetic | ({} if record.tile is None else {"tile": record.tile})
    if record.history is not None:
        settings["optimizer.history"] = record.history
        options["warn"](
            f"{picture.name}: memory cut L-BFGS down to {record.history} pairs; it keeps no more here, at any scale"
        )
    weights = weights or (record.weights.name if record.weights.name in SETS else None)
    prepared = api.prepare(
        content_found,
        styles_found,
        backend or record.backend.name,
        recipe,
        weights=weights or str(_find(picture, "weights", record.weights, None)),
        settings=settings,
        device=device or record.backend.device,
        **{**as_computed, **options},
    )
    weight_set = prepared.inputs.weights
    _check("weights", record.weights, Path(weight_set.name).name, weight_set.sha256)
    named = [("content", inputs.content), *(("style", entry) for entry in inputs.styles), ("start", inputs.start)]
    taken = (prepared.inputs.content, *prepared.inputs.styles, prepared.inputs.start)
    for (role, entry), image in zip(named, taken, strict=True):
        if entry and image:
            # A picture that came from memory is known by its pixels, whatever file they are in now.
            _check(role, entry, image.name, image.sha256, images.sha256_of_pixels(image.pixels))
    # What its own numbers ended ends by itself again, and goes back to the same image.
    stops = size is None and (record.stopped is None or is_outside_cause(record.stopped))
    return prepared, record.steps if stops else None


def computed_otherwise(picture: Path, again: Mapping[str, Any]) -> str:
    """Return what rounds otherwise in the rerun that has the record `again` than in what made a picture, with both
    values; nothing where all is the same, nor for another backend, which was asked for.
    """
    ours, theirs = (dict(recipes.by_key(record["backend"])) for record in (again, images.read_record(picture)))
    return differing({fact: ours.get(fact) for fact in theirs}, theirs) if ours["name"] == theirs["name"] else ""


def recorded_bits(picture: Path) -> int:
    """Return the bits a channel that a picture was written with; raises NstError if its record does not say."""
    return _record(picture).bits


def _record(picture: Path) -> Record:
    try:
        return Record.model_validate(images.read_record(picture))
    except ValidationError as error:
        raise NstError(f"{picture.name}: its record cannot be repeated: {first_problem(error)}") from None


def _find(picture: Path, role: str, entry: Named, given: str | None) -> Path:
    if given:
        return Path(given)
    places = [Path(folder, entry.name) for folder in (picture.parent, Path.cwd(), examples.FOLDER)]
    there = [place for place in places if place.is_file()]
    if not there:
        raise NstError(f"the {_what(role)} {entry.name!r} is not beside {picture.name} nor here; {_way_on(role)}")
    # Another file may have the same name.
    return next((place for place in there if _is(role, place, entry)), there[0])


def _is(role: str, place: Path, entry: Named) -> bool:
    if role != "weights":
        return sha256_of_file(place) == entry.sha256
    try:
        return weight_files.sha256_of(weight_files.read(place)[0]) == entry.sha256
    except NstError:
        return False


def _check(role: str, entry: Named, name: str, *received: str) -> None:
    if entry.sha256 not in received:
        raise NstError(
            f"{_what(role)} {entry.name}: expected the recorded SHA-256 {entry.sha256}, received {name} with "
            f"{received[0]}; {_way_on(role)}"
        )


def _what(role: str) -> str:
    return role if role == "weights" else f"{role} image"


def _way_on(role: str) -> str:
    several = "; of several style images, each takes one, in their order" if role == "style" else ""
    return f"--{role} FILE says where it is{several}"
