"""A result of `nst bench` on a terminal, in Markdown's form so that it can be pasted."""

from rich import box
from rich.table import Table

from compare import terminal
from compare.bench_result import Change, Result, Row, Spread

LEGEND = {
    "step": "one evaluation and one update, median (quartiles).",
    "GFLOP/s": "of the counted multiply-adds, each for two operations.",
    "of matrix": "that rate, of the rate of a product of two large matrices (their side) in the same precision.",
    "of bare": "how much of a step the same network takes alone, forward and back to the image; the limit is 100%.",
    "x tutorial": "how many steps fit into one step of the framework's own tutorial, in float32.",
    "over untiled": "how long a step in tiles takes, in steps without; none where the image would not fit into memory.",
    "peak memory": "of a device; of a process, above what it held before it loaded a framework.",
}
"""What the columns are, those of a table in tiles and of one without."""


def show(result: Result) -> None:
    """Print a result."""
    console = terminal.console()

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    settings = result.settings
    say(f"{result.machine}; recipe {settings.recipe['name']}, weights {settings.weights.name}, nst {result.nst}")
    for versions in dict.fromkeys(_versions(row) for row in result.rows):
        say(versions)
    table = _table(result.rows)
    console.print(table)
    for row in result.rows:
        if row.profile:
            console.print(_profile(row))
    if result.changes:
        say(f"Over {result.against} (below 1 is faster; where the bare network has changed alike, so has the machine):")
        console.print(_changes(result.changes))
    for note in result.notes:
        say(f"note: {note}")
    for column in table.columns:
        if legend := LEGEND.get(str(column.header)):
            say(f"{column.header}: {legend}")
    say("Ratios are medians of the ratios within a round.")


def _versions(row: Row) -> str:
    environment = row.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    return f"{environment.backend} on {environment.device}: {versions}, {environment.switches.get('threads')} threads"


def _new(*columns: str, words: int = 1) -> Table:
    table = Table(box=box.MARKDOWN)
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < words else "right", no_wrap=True)
    return table


def _table(rows: list[Row]) -> Table:
    tiled = any(row.tile for row in rows)
    held_to = ("tile px", "over untiled") if tiled else ("of bare", "x tutorial")
    table = _new("backend", "precision", "px", "step", "GFLOP/s", "of matrix", *held_to, "peak memory", words=2)
    for row in rows:
        found = row.summary
        table.add_row(
            row.environment.backend,
            row.environment.precision,
            str(row.size),
            _time(found.step),
            f"{found.gflops:.0f}",
            f"{found.share_of_matrix.median:.0%} ({row.matrix_side})",
            *(
                (str(row.tile or ""), _median(found.over_untiled, ".2f"))
                if tiled
                else (_median(found.share_of_bare, ".0%"), _median(found.times_tutorial, ".2f"))
            ),
            f"{row.memory.peak / 1e6:.0f} MB" if row.memory else "",
        )
    return table


def _median(spread: Spread | None, form: str) -> str:
    return format(spread.median, form) if spread else ""


def _profile(row: Row) -> Table:
    assert row.profile
    parts = row.profile.parts
    whole = sum(spread.median for spread in parts.values())
    table = _new(f"{row.case}", "time", "of the step")
    for name, spread in parts.items():
        table.add_row(name, _time(spread), f"{spread.median / whole:.0%}")
    for name, spread in row.profile.transfers.items():
        table.add_row(f"{name} of an image", _time(spread), "once a scale")
    return table


def _changes(changes: list[Change]) -> Table:
    table = _new("case", "step", "bare network", "tutorial")
    for change in changes:
        ratios = (change.step, change.bare, change.tutorial)
        table.add_row(change.case, *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios))
    return table


def _time(spread: Spread) -> str:
    return f"{_number(spread.median)} ({_number(spread.lower)} to {_number(spread.upper)}) ms"


def _number(seconds: float) -> str:
    milliseconds = 1e3 * seconds
    return f"{milliseconds:.0f}" if abs(milliseconds) >= 100 else f"{milliseconds:.3g}"
