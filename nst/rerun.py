"""Repeating a run from the record that its picture carries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nst import examples
from nst.api import Prepared, prepare
from nst_spec import images, recipe
from nst_spec.errors import NstError


def prepare_again(
    picture: Path,
    *,
    content: str | None,
    style: str | None,
    start: str | None,
    weights: str | None,
    backend: str | None,
    device: str | None,
    threads: int | None,
    offline: bool,
    allow_large: bool,
    say: Callable[[str], None],
) -> Prepared:
    """Return the recorded run, ready to repeat.

    Inputs are looked for by name beside the picture, in the current folder and among the examples, or where the
    caller says that they are now.

    Raises NstError naming an input or a weight set that is missing or has another hash.
    """
    record = images.read_record(picture)
    given = {"content": content, "style": style, "start": start}
    try:
        recorded = recipe.from_dict(record["recipe"], origin=picture.name)
        found = {role: _find(picture, role, entry, given[role]) for role, entry in record["inputs"].items()}
        settings = {"init.file": str(found["start"])} if "start" in found else {}
        machine, set_used = record["backend"], record["weights"]
    except KeyError as error:
        raise NstError(f"{picture.name}: its record has no {error}; it cannot be repeated") from error
    prepared = prepare(
        found["content"],
        found["style"],
        backend=backend or machine["name"],
        recipe_name=recorded,
        settings=settings,
        weights_name=weights or set_used["name"],
        device=device or machine["device"],
        dtype=machine["dtype"],
        threads=threads,
        offline=offline,
        allow_large=allow_large,
        say=say,
    )
    _check_hash("weights", set_used["name"], set_used["sha256"], prepared.inputs.weights.sha256)
    for role, entry in record["inputs"].items():
        _check_hash(f"{role} image", entry["name"], entry["sha256"], getattr(prepared.inputs, role).sha256)
    return prepared


def _find(picture: Path, role: str, entry: dict[str, Any], given: str | None) -> Path:
    if given:
        return Path(given)
    for folder in (picture.parent, Path.cwd(), examples.FOLDER):
        path = Path(folder, entry["name"])
        if path.is_file():
            return path
    raise NstError(
        f"the {role} image {entry['name']!r} is not beside {picture.name} nor here; --{role} FILE says where"
    )


def _check_hash(what: str, name: str, expected: str, received: str) -> None:
    if received != expected:
        raise NstError(f"{what} {name}: expected the recorded SHA-256 {expected}, received {received}")
