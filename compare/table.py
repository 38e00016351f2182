"""Comparisons on a terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare import terminal
from compare.result import (
    BY_IMAGE,
    FIRST_UPDATE,
    FORWARD,
    LENGTH,
    SLOPE,
    SLOPE_LENGTH,
    TOTALS,
    Comparison,
    Layer,
    Measure,
    Result,
    limit_of,
    limit_text,
)
from compare.tolerances import TOLERANCES


def show(result: Result, *, all_layers: bool) -> None:
    """Print a result: a table for a comparison that stands alone or fails, a line for every other."""
    console = terminal.console()
    recipes = {comparison.recipe for comparison in result.comparisons}
    for number, comparison in enumerate(result.comparisons):
        if not comparison.ok or (len(recipes) == 1 and number == 0):
            _show_whole(console, comparison, all_layers)
        else:
            console.print(_line(comparison), soft_wrap=True)
    for note in result.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    failed = sum(not comparison.ok for comparison in result.comparisons)
    verdict = f"{failed} of {len(result.comparisons)} comparisons are out of tolerance" if failed else "all agree"
    console.print(Text(verdict, style="bold red" if failed else "bold green"))


def _title(comparison: Comparison) -> str:
    ours, theirs = (side.title for side in comparison.sides)
    return f"{comparison.recipe}: {ours} against {theirs}"


def _line(comparison: Comparison) -> Text:
    worst = {
        "output": max(_errors(layer.output for layer in comparison.layers)),
        "Gram": max(_errors(measure for layer in comparison.layers for measure in (layer.gram, layer.target))),
        "term": max(_errors(m for layer in comparison.layers for m in (layer.content_term, layer.style_term))),
        "gradient": max(_errors([comparison.gradient])),
    }
    errors = ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
    run = comparison.trajectory
    ratio = f", run x{run.ratio.text}" if run and run.judged else ""
    return Text(f"{_title(comparison)}: agree ({errors}{ratio}, {comparison.flips} choices differ)")


def _errors(measures: Iterable[Measure | None]) -> list[float]:
    return [measure.error for measure in measures if measure and measure.error is not None] or [0.0]


def _show_whole(console: Console, comparison: Comparison, all_layers: bool) -> None:
    width, height = comparison.content_size
    console.print(Text(_title(comparison), style="bold"), soft_wrap=True)
    console.print(
        f"{comparison.content} ({width} x {height} px), {comparison.style}, weights {comparison.weights}, "
        f"limits of {comparison.profile}",
        soft_wrap=True,
        markup=False,
    )
    console.print(_table(comparison, all_layers))
    for name, measure in comparison.totals.items():
        console.print(_judged(TOTALS.get(name, name), measure), soft_wrap=True)
    console.print(
        _judged(f"{SLOPE.at} {BY_IMAGE} ({comparison.flips} choices differ)", comparison.gradient), soft_wrap=True
    )
    console.print(_judged(f"{SLOPE_LENGTH.at} {BY_IMAGE}", comparison.gradient_length), soft_wrap=True)
    run = comparison.trajectory
    if run and run.first_update:
        console.print(_judged(f"{LENGTH} {FIRST_UPDATE}", run.first_update), soft_wrap=True)
    if run and not run.judged:
        console.print(
            f"run of {len(run.losses[0])} steps: not judged ({comparison.why_not_judged})", soft_wrap=True, markup=False
        )
    if run and run.judged:
        console.print(
            _judged(
                f"run of {len(run.losses[0])} steps, distance over own, from step {TOLERANCES.first_step}", run.ratio
            ),
            soft_wrap=True,
        )
    if comparison.first:
        console.print(Text(f"first difference: {comparison.first}", style="bold red"), soft_wrap=True)
    if comparison.hint:
        console.print(Text(f"hint: {comparison.hint}"), soft_wrap=True)
    console.print()


def _judged(what: str, measure: Measure) -> Text:
    text = f"{what}: {measure.text}, limit {limit_text(measure.limit)}"
    return Text(text) if measure.ok else Text(f"{text}  OUT", style="red")


def _table(comparison: Comparison, all_layers: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    headings = [*(quantity.short for quantity in (*FORWARD, SLOPE)), "its limit", SLOPE_LENGTH.short]
    for name in ("layer", *headings, "choices that differ"):
        table.add_column(name, justify="left" if name == "layer" else "right", no_wrap=True)
    *forward, of_length = (
        "" if limit is None else limit_text(limit)
        for limit in (limit_of(comparison.layers, quantity.field) for quantity in (*FORWARD, SLOPE_LENGTH))
    )
    table.add_row("limit", *forward, "", "", of_length, style="dim")
    for layer in comparison.layers:
        measures = [getattr(layer, quantity.field) for quantity in FORWARD]
        is_tap = any(measures[1:])
        is_out = any(measure and not measure.ok for measure in (*measures, layer.slope, layer.slope_length))
        if all_layers or is_tap or is_out:
            of_slope = _cell(layer.slope), limit_text(layer.slope.limit), _cell(layer.slope_length)
            table.add_row(layer.layer, *map(_cell, measures), *of_slope, _choices(layer))
    return table


def _cell(measure: Measure | None) -> Text:
    if measure is None:
        return Text("")
    text = "none" if measure.error is None else measure.text  # a row of longer words would not fit
    return Text(text) if measure.ok else Text(f"{text} OUT", style="red")


def _choices(layer: Layer) -> str:
    return f"{layer.choices.differing} of {layer.choices.of}" if layer.choices else ""
