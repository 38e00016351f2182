"""The commands of the cross-check: `trace` records one backend, `diff` compares two records, `compare` does it all."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nst
from nst.cli_options import (
    backend_option,
    check_file,
    check_kept,
    exempt_from_collection,
    fast_option,
    files_of,
    json_option,
    judged_image_option,
    keywords,
    machine_options,
    make_folder,
    participants,
    python_options,
    recipe_options,
    say,
    styles_argument,
    tile_option,
)
from nst.typed import as_argument, as_typed
from nst_spec.errors import NstError
from nst_spec.files import check_free, exists_already
from nst_spec.messages import to_stderr

if TYPE_CHECKING:
    from compare.session import Judged

OUT_OF_TOLERANCE = 1

DEFAULTS = {"size.pixels": 127, "steps": 20}
"""Large enough for every layer to have many positions, small enough for the oracle, long enough for chaos to show, and
odd at every pooling, which shows how they round."""


@click.command(short_help="Record what one backend computes, for nst diff.")
@click.argument("content")
@styles_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File (.safetensors) to write.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--all-recipes", is_flag=True, help="Record every recipe; the output is a folder.")
@judged_image_option
@click.option("--whole", is_flag=True, help="Keep every value of every layer, not a sample.")
@click.option(
    "--every",
    default=1,
    type=click.IntRange(min=1),
    help="Keep the run's images every so many steps, and the first and last.",
)
@click.option("--no-run", is_flag=True, help="Judge one image only; no steps.")
@click.option("--closer", is_flag=True, help="Record for a second look: another image, and more nudged runs.")
@click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@backend_option
@machine_options
@fast_option
@tile_option
@recipe_options
def trace(
    content: str,
    style: tuple[str, ...],
    output: Path,
    force: bool,
    all_recipes: bool,
    image: str | None,
    whole: bool,
    every: int,
    no_run: bool,
    closer: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Record what one backend computes: every layer, Gram matrix, term and gradient of one image, then a run.

    127 px, 20 steps, exact and in one piece unless --size, --steps, --fast and --tile say otherwise. The run is made
    twice, the second time with every image moved by one unit in the last place, which shows how far rounding alone
    leads. `nst diff` compares records.
    """
    from compare import trace as traces
    from compare.record import record
    from nst.api import prepare
    from nst_spec import images, recipe
    from nst_spec.weight_files import SAFETENSORS

    named = given.pop("recipe")
    if named and all_recipes:
        raise NstError(f"expected --all-recipes or --recipe {named}, received both")
    names = recipe.names() if all_recipes else [named]
    options = {"tile": "off", **keywords(given, quiet=quiet)}
    options["settings"] = DEFAULTS | options["settings"]
    judged = images.read(image, allow_large=given["allow_large"], warn=to_stderr) if image else None
    paths = [output / f"{name}{SAFETENSORS}" if all_recipes else output for name in names]
    if all_recipes:
        make_folder(output)
    for path in paths:
        check_file(path, SAFETENSORS, force)
    tell = say(quiet)
    for number, (name, path) in enumerate(zip(names, paths, strict=True), start=1):
        chosen = options | ({"recipe": name} if name else {})
        # What is faster is chosen by a stopwatch, and so never the same for sure.
        prepared = prepare(content, style, deterministic=not chosen.get("fast"), **chosen)
        exempt_from_collection()
        check_kept(path, [image, named, *files_of(prepared.inputs)])
        look = ", a second look" if closer else ""
        tell(f"{prepared.backend.name}: {prepared.recipe.name} ({number} of {len(names)}){look}")
        if judged and (stretching := prepared.finest.stretching(judged)):
            to_stderr(stretching)
        found = record(
            prepared.backend,
            prepared.recipe,
            prepared.inputs,
            version=nst.__version__,
            image=judged.pixels if judged else None,
            whole=whole,
            every=every,
            runs=not no_run,
            closer=closer,
        )
        traces.write(path, found)
    click.echo(str(output))


@click.command(short_help="Say where two traces part.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@json_option
@click.option("--layers", is_flag=True, help="Show every layer, not the taps alone.")
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Write report.html into this folder.")
@click.option("--force", is_flag=True, help="Replace an existing report.")
def diff(first: Path, second: Path, as_json: bool, layers: bool, report: Path | None, force: bool) -> None:
    """Compare the trace FIRST with the trace SECOND, or folders of traces, and say where they part.

    Exit code 0: within the tolerances; 1: out of tolerance; 2: not comparable.
    """
    from compare import launch
    from compare.diff import wants_closer_look
    from compare.session import compare_files

    _check_report(report, force)
    with _made(report) if report else nullcontext():
        judged = list(compare_files(first, second))
    notes = []
    if any(wants_closer_look(comparison) for comparison, _ in judged):
        notes.append("a choice at a knife's edge may be all that is out; record both sides with --closer to tell")
    commands = [launch.command(sys.executable, ["diff", str(first), str(second)])]
    _conclude(judged, commands, notes, as_json=as_json, layers=layers, report=report)


@click.command(short_help="Prove that both frameworks compute the same, or say where they part.")
@click.argument("content")
@styles_argument
@click.option("--all-recipes", is_flag=True, help="Compare every recipe.")
@judged_image_option
@click.option("--whole", is_flag=True, help="Compare every value of every layer, not a sample.")
@click.option(
    "--every", type=click.IntRange(min=1), help="Compare the runs' images every so many steps, and the first and last."
)
@click.option("--no-run", is_flag=True, help="Judge one image only; no steps.")
@click.option("--backends", help="What to compare, for example torch,reference; all there are if not given.")
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="TRACE", help="Compare with this recorded trace too."
)
@python_options
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Write report.html and traces there.")
@click.option("--force", is_flag=True, help="Replace an existing report.")
@json_option
@click.option("--layers", is_flag=True, help="Show every layer, not the taps alone.")
@click.option("--quiet", is_flag=True, help="Say nothing but the result, warnings and errors.")
@machine_options
@fast_option
@tile_option
@recipe_options
def compare(
    content: str,
    style: tuple[str, ...],
    backends: str | None,
    against: Path | None,
    torch_python: str | None,
    tf_python: str | None,
    report: Path | None,
    force: bool,
    as_json: bool,
    layers: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Run the backends on CONTENT and STYLE, each in its own process, and compare all they compute.

    127 px, 20 steps, exact and in one piece unless --size, --steps, --fast and --tile say otherwise. Exit code 0:
    within the tolerances; 1: out of tolerance; 2: could not run.
    """
    from compare.session import Session
    from nst_spec.settings import backends as all_backends

    _check_report(report, force)
    all_recipes = given.pop("all_recipes")
    given_pythons = {"torch": torch_python, "tf": tf_python}
    chosen, notes = participants(backends, given_pythons, tuple(all_backends()))
    if backends and not against and len(chosen) < 2:
        raise NstError(f"expected two backends to compare, received {backends}; --against TRACE compares one with it")
    if against and against.is_dir() != all_recipes:
        expected = "a folder of traces, since all recipes are compared" if all_recipes else "a trace"
        raise NstError(f"--against {against}: expected {expected}")
    if report:
        traces = report / TRACES
        if traces.exists() and not (force or _is_empty(traces)):  # what an interrupted comparison may leave is no trace
            raise exists_already(traces)
        if against and against.resolve().is_relative_to(traces.resolve()):
            raise NstError(f"--against {against}: this report's own traces are written anew; keep that one elsewhere")
    pythons = {name: python or sys.executable for name, python in given_pythons.items()}
    with _folder(report) as folder:
        pictures = map(as_argument, (content, *style))
        arguments = [*pictures, *as_typed(given), *(["--quiet"] if quiet else [])]
        session = Session(arguments, folder, to_stderr, pythons, all_recipes, notes=notes)
        if against:
            session.add(against)
        for backend in chosen:
            session.record(backend)
        if chosen and not backends:
            session.record_oracle(runs=not given["no_run"])
        judged = list(session.compare())
    _conclude(judged, session.commands, session.notes, as_json=as_json, layers=layers, report=report)


REPORT, TRACES = "report.html", "traces"


def _check_report(report: Path | None, force: bool) -> None:
    """Check before the work that there may be a report."""
    if report:
        from compare import report as html

        html.check_installed()
        check_free(report / REPORT, force)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """Make a folder, and leave all as it was found where what it is made for fails."""
    above = next((part for part in (*reversed(folder.parents), folder) if not part.exists()), None)
    make_folder(folder)
    was_empty = _is_empty(folder)
    try:
        yield folder
    except BaseException:
        if was_empty:
            shutil.rmtree(above or folder)
        raise


@contextmanager
def _folder(report: Path | None) -> Iterator[Path]:
    """Give a folder for the traces, the report's or one that is gone afterwards."""
    if report:
        with _made(report / TRACES) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="nst-") as folder:
            yield Path(folder)


def _conclude(
    judged: "Sequence[Judged]",
    commands: list[str],
    notes: list[str],
    *,
    as_json: bool,
    layers: bool,
    report: Path | None,
) -> None:
    """Print the result, write the report, and end with the exit code."""
    from compare import table
    from compare.result import Result, notes_on

    comparisons = [comparison for comparison, _ in judged]
    ok = all(comparison.ok for comparison in comparisons)
    result = Result(
        nst=nst.__version__, ok=ok, notes=[*notes, *notes_on(comparisons)], commands=commands, comparisons=comparisons
    )
    if report:
        from compare import report as html

        html.write(report / REPORT, result, [traces for _, traces in judged])
        to_stderr(f"the report is {report / REPORT}")
    if as_json:
        click.echo(json.dumps(result.model_dump(mode="json")))
    else:
        table.show(result, all_layers=layers)
    if not ok:
        raise click.exceptions.Exit(OUT_OF_TOLERANCE)
