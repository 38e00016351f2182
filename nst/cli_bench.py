"""The benchmark: `bench` measures every backend, precision and size, each in a process of its own by `measure`."""

import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nst
from nst.cli_options import (
    device_option,
    json_option,
    offline_option,
    participants,
    python_options,
    say,
    threads_option,
    with_options,
)
from nst.typed import as_typed
from nst_spec.errors import NstError, not_accepted
from nst_spec.messages import to_stderr

if TYPE_CHECKING:
    from compare.bench import Case
    from compare.bench_result import Row, Settings


def _case_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that hold for all that is measured: `bench`, and `measure`, which it tells them to."""
    return with_options(
        command,
        click.option("--runs", default=10, type=click.IntRange(min=1), help="Rounds that count."),
        click.option("--recipe", default="default", help="Recipe, or FILE.toml."),
        click.option("--weights", default="random", help="Weight set or file."),
        offline_option,
        device_option,
        threads_option,
        click.option("--tile", type=int, metavar="N", help="Compute in tiles of N px, and without beside it."),
        click.option("--profile", is_flag=True, help="Also split a step into its parts."),
    )


@click.command(short_help="Measure how fast the backends are, beside what limits them.")
@click.option("--backends", help="What to measure, for example torch; both frameworks if not given.")
@click.option("--precisions", default="fp32", show_default=True, help="fp32, tf32 (a GPU's), bf16; some, by commas.")
@click.option("--sizes", default="256,512", show_default=True, help="Sides of square images, in pixels.")
@_case_options
@click.option("--against", type=click.Path(path_type=Path), metavar="FILE", help="Hold it to an earlier --json result.")
@json_option
@click.option("--quiet", is_flag=True, help="Say nothing but the result, warnings and errors.")
@python_options
def bench(
    backends: str | None,
    precisions: str,
    sizes: str,
    against: Path | None,
    as_json: bool,
    quiet: bool,
    torch_python: str | None,
    tf_python: str | None,
    **given: Any,
) -> None:
    """Measure a step of each backend, precision and size, alternating with its baselines.

    These are the bare network (forward and back to the image), the loop of the framework's own tutorial, and a matrix
    product, all in one process and in each round, so that ratios hold where times do not. The recipe is taken as it is
    for the pretrained network, and computed as pictures are painted: fast. A step in tiles (--tile) is held to the same
    step without.
    """
    from compare import bench as measuring
    from compare import bench_result, bench_table, machine
    from nst_spec import backend as protocol
    from nst_spec import tiles
    from nst_spec.settings import AUTO, PRECISIONS
    from nst_spec.sizes import check_size

    if given["tile"] is not None:
        tiles.checked(given["tile"])
    measuring.check_profile(given["profile"], given["tile"])
    pythons = {"torch": torch_python, "tf": tf_python}
    chosen, notes = participants(backends, pythons, protocol.PREFERENCE)
    wanted = _listed("--precisions", precisions, [name for name in PRECISIONS if name != AUTO])
    sides = [int(word) for word in _listed("--sizes", sizes)]
    this_machine = machine.describe()
    case, settings = _case(given["recipe"], given["weights"], sides[0], offline=given["offline"], quiet=quiet)
    for side in sides:
        check_size("--sizes", side, side, case.recipe.taps)
    earlier = bench_result.read(against) if against else None
    if against and earlier:
        bench_result.check_comparable(earlier, against, this_machine, settings)
    cases = list(itertools.product(chosen, wanted, sides))
    rows, failures = _rows(cases, pythons, as_typed(given), quiet=quiet)
    notes += failures
    if not rows:
        raise NstError("; ".join(notes))
    changes = bench_result.changes(rows, earlier, against) if against and earlier else []
    result = bench_result.Result(
        nst=nst.__version__,
        command=_command({"backends": backends, "precisions": precisions, "sizes": sizes} | given),
        machine=this_machine,
        settings=settings,
        rows=rows,
        notes=notes,
        against=against.name if against else None,
        changes=changes,
    )
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        bench_table.show(result)


def _rows(
    cases: Sequence[tuple[str, str, int]],
    pythons: dict[str, str | None],
    arguments: Sequence[str],
    *,
    quiet: bool,
) -> "tuple[list[Row], list[str]]":
    """Return the row of each (backend, precision, size), and a note for each that cannot be measured."""
    from compare import launch
    from compare.bench_result import Row

    tell = say(quiet)
    rows, failures = [], []
    with tempfile.TemporaryDirectory(prefix="nst-") as folder:
        for number, (backend, precision, size) in enumerate(cases, start=1):
            tell(f"{backend} {precision} {size} px ({number} of {len(cases)})")
            file = Path(folder, f"{number}.json")
            case = ["--backend", backend, "--precision", precision, "--size", str(size), "--output", str(file)]
            try:
                launch.run(pythons[backend] or sys.executable, ["measure", *arguments, *case], backend, to_stderr)
            except NstError as error:
                failures.append(f"{precision} {size} px is not measured: {error}")
            else:
                rows.append(Row.model_validate_json(file.read_text("utf-8")))
    return rows, failures


@click.command(hidden=True)
@click.option("--backend", required=True)
@click.option("--precision", required=True)
@click.option("--size", required=True, type=int)
@click.option("--output", required=True, type=click.Path(path_type=Path))
@_case_options
def measure(
    backend: str,
    precision: str,
    size: int,
    output: Path,
    runs: int,
    recipe: str,
    weights: str,
    offline: bool,
    tile: int | None,
    profile: bool,
    **given: Any,
) -> None:
    """Measure one backend in one precision at one size, in this process, and write what was found as JSON."""
    from compare import bench, machine

    started_at = machine.peak_resident()
    from nst_spec import backend as protocol

    asked = {name: value for name, value in given.items() if value is not None}
    loaded = protocol.load(backend, precision=precision, fast=True, **asked)
    case, _ = _case(recipe, weights, size, offline=offline, quiet=True)
    case = dataclasses.replace(case, tile=tile)
    row = bench.measure(loaded, case, runs=runs, profile=profile, started_at=started_at, version=nst.__version__)
    output.write_text(row.model_dump_json(), "utf-8")


def _case(recipe: str, weights: str, size: int, *, offline: bool, quiet: bool) -> "tuple[Case, Settings]":
    from compare.bench import Case
    from compare.bench_result import Settings
    from compare.trace import Weights
    from nst_spec import recipe as recipes
    from nst_spec import weights as weight_sets
    from nst_spec.files import in_utf8
    from nst_spec.inputs import check_weights

    weight_sets.check_name(weights)
    chosen = recipes.load(recipe)
    found = weight_sets.load(weights, offline=offline, say=say(quiet), warn=to_stderr)
    check_weights(chosen, found)
    space = weight_sets.preprocessing_for(chosen.preprocessing, chosen.weights, found)
    named = Weights(name=in_utf8(Path(found.name).name), sha256=found.sha256, preprocessing=space)
    return Case(chosen, found, space, size), Settings(recipe=in_utf8(recipes.as_record(chosen)), weights=named)


def _listed(option: str, given: str, accepted: Sequence[str] | None = None) -> list[str]:
    """Return the words of a list, each once; without `accepted` they are whole numbers from 1."""
    words = [word.strip() for word in given.split(",")]
    for word in words:
        if accepted and word not in accepted:
            raise not_accepted(option, word, accepted)
        if not accepted and not (word.isdecimal() and int(word)):
            raise NstError(f"{option}: expected whole numbers of pixels, received {given}")
    if len(set(words)) < len(words):
        raise NstError(f"{option}: expected each once, received {given}")
    return words


def _command(given: dict[str, Any]) -> str:
    from compare import launch

    # Only the machine's owner is to know where his files lie.
    named = {name: Path(value).name if name in ("recipe", "weights") else value for name, value in given.items()}
    return launch.command(sys.executable, ["bench", *as_typed(named)])
