"""The report of a comparison: one HTML page that needs nothing but a browser."""

import base64
import importlib.util
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from compare.result import (
    BY_IMAGE,
    FIRST_UPDATE,
    FORWARD,
    GRAM,
    LENGTH,
    OUTPUT,
    SLOPE,
    SLOPE_LENGTH,
    TOTALS,
    Comparison,
    Layer,
    Result,
    Trajectory,
    limit_of,
    limit_text,
)
from compare.tolerances import TOLERANCES
from compare.trace import Array, Environment, Trace
from nst_spec import files, images
from nst_spec.errors import NstError, install, reason

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

LIBRARIES = ("jinja2", "matplotlib")
"""What the report needs beyond the package's own dependencies."""


SMALL = 256
"""The width in pixels below which a picture's pixels are shown as squares."""


def write(path: Path, result: Result, traces: Sequence[tuple[Trace, Trace]]) -> None:
    """Write a result as one HTML file with its style, plots and pictures inside.

    `traces` are the two traces behind each comparison of the result, in the same order.

    Raises NstError when the file cannot be written, and as `check_installed` does.
    """
    check_installed()
    pairs = zip(result.comparisons, traces, strict=True)
    sections = [_section(number, *pair) for number, pair in enumerate(sorted(pairs, key=_failing_first), start=1)]
    page = _render(result=result, sections=sections, facts=_merged([section["facts"] for section in sections]))
    try:
        with files.whole(path) as part:
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        raise NstError(f"{path}: cannot be written ({reason(error)})") from error


def check_installed() -> None:
    """Raise NstError, naming the extra to install, when a library that the report needs is missing."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise NstError(f"the report needs {' and '.join(missing)}: {install('report')}")


def _failing_first(pair: tuple[Comparison, tuple[Trace, Trace]]) -> bool:
    return pair[0].ok


def _render(**view: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"limit": limit_text, "setting": _setting}
    template = resources.files("compare").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(**view)


def _setting(value: int | bool | str | None) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "–" if value is None else str(value)


def _section(number: int, comparison: Comparison, traces: tuple[Trace, Trace]) -> dict[str, Any]:
    names = _names(comparison.sides)
    trajectory = comparison.trajectory
    plots = {"layers": _layers_plot(number, comparison.layers)}
    if trajectory:
        plots |= {
            "losses": _losses_plot(number, trajectory, names),
            "distances": _distances_plot(number, trajectory, names),
        }
    return {
        "id": f"comparison-{number}",
        "comparison": comparison,
        "names": names,
        "facts": _facts(comparison),
        "columns": [(quantity, limit_of(comparison.layers, quantity.field)) for quantity in FORWARD],
        "slope": SLOPE,
        "length": (SLOPE_LENGTH, limit_of(comparison.layers, SLOPE_LENGTH.field)),
        "slope_limits": [TOLERANCES.limit(comparison.profile, kind) for kind in ("gradient", "flipped-gradient")],
        "totals": {TOTALS.get(name, name): measure for name, measure in comparison.totals.items()}
        | {f"{SLOPE.at} {BY_IMAGE}": comparison.gradient, f"{SLOPE_LENGTH.at} {BY_IMAGE}": comparison.gradient_length}
        | ({f"{LENGTH} {FIRST_UPDATE}": update} if trajectory and (update := trajectory.first_update) else {}),
        "first_step": TOLERANCES.first_step,
        "plots": plots,
        "pictures": _pictures(traces, names) if trajectory and trajectory.picture else None,
        "environment": _environment(comparison.sides),
    }


def _names(sides: tuple[Environment, Environment]) -> tuple[str, str]:
    first, second = (side.title for side in sides)
    return (first, second) if first != second else (f"{first} (first)", f"{second} (second)")


def _facts(comparison: Comparison) -> dict[str, str]:
    sizes = (comparison.content_size, comparison.style_size, *comparison.more_style_sizes)
    content, *styles = (f"{width} × {height} px" for width, height in sizes)
    return {
        "Recipe": comparison.recipe,
        "Content image": comparison.content,
        "Style image": comparison.style,
        "Weights": comparison.weights,
        "Size": f"{content}, style image {', '.join(styles)}",
        "Limits for": comparison.profile,
    }


def _merged(facts: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Return every fact's values, each once."""
    return {name: list(dict.fromkeys(other[name] for other in facts)) for each in facts[:1] for name in each}


def _environment(sides: tuple[Environment, Environment]) -> dict[str, tuple[Any, Any]]:
    """Return both sides' values, None where a side has none, by what is set."""
    groups = zip(*(_settings(side) for side in sides), strict=True)
    return {name: (ours.get(name), theirs.get(name)) for ours, theirs in groups for name in {**ours, **theirs}}


def _settings(side: Environment) -> tuple[dict[str, Any], ...]:
    return (
        {
            "backend": side.backend,
            "device": side.device,
            "number format": side.dtype,
            "precision": side.precision,
            "fast": side.fast,
            "tiles of px": side.tile,
        },
        {f"switch {name}": switch for name, switch in side.switches.items()},
        {"system": side.system, "nst version": side.nst},
        {f"{name} version": version for name, version in side.versions.items()},
    )


class Picture(NamedTuple):
    """A picture inside the page: what it shows, its data, and whether its pixels are shown as squares."""

    title: str
    uri: str
    small: bool


def _pictures(traces: tuple[Trace, Trace], names: tuple[str, str]) -> dict[str, Any]:
    """Return both final images and, where there is one, their difference, its largest value and how it is enlarged."""
    results = [trace.arrays["run/result"].astype(np.float64) for trace in traces]
    found: dict[str, Any] = {
        "finals": [_picture(f"Final image of {name}", result) for name, result in zip(names, results, strict=True)],
        "difference": None,
    }
    if results[0].shape == results[1].shape and np.isfinite(results).all():
        difference = results[0] - results[1]
        found["largest"] = float(np.abs(difference).max())
        found["exponent"] = math.floor(math.log2(0.5 / found["largest"])) if found["largest"] else 0
        found["difference"] = _picture("Difference of the final images", 0.5 + np.ldexp(difference, found["exponent"]))
    return found


def _picture(title: str, image: Array) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(images.to_uint8(np.nan_to_num(image))).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(title, f"data:image/png;base64,{data}", image.shape[1] < SMALL)


INK, ONE, TWO, THREE = COLOURS = ("#000001", "#000002", "#000003", "#000004")
"""What the plots are drawn in; the page's colours take their place, so that they follow its light or dark."""
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nst",
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.unicode_minus": False,
    "grid.alpha": 0.15,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "grid.color": INK,
}
WIDTH, HEIGHT = 5.4, 3.8
"""Of a plot, in inches: so narrow that its text can still be read on a telephone."""
ROW = 0.18
"""The height in inches of a layer in its plot."""
MARGINS = 1.2
"""The height in inches of what stands above and below the layers."""
POINTS = 72
"""In an inch."""


class Kind(NamedTuple):
    """How a kind of error is drawn."""

    marker: str
    colour: str
    line: Literal["solid", "dashed", "dotted"]


KINDS = {OUTPUT: Kind("o", ONE, "solid"), GRAM: Kind("s", TWO, "dashed"), SLOPE: Kind("D", THREE, "dotted")}
SIDES: tuple[dict[str, Any], ...] = (
    {"color": ONE, "linestyle": "solid", "marker": "o"},
    {"color": TWO, "linestyle": "dashed", "marker": "s"},
)
RING = 81
"""The area in square points of what surrounds an error that is over its limit."""
MARKERS = 20
"""How many a line has at most."""


def _plot(name: str, height: float, draw: Callable[["Axes"], None], *, columns: int = 1) -> str:
    """Return a drawing as an SVG element whose identifiers begin with its name."""
    from matplotlib import style
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure.subplots())
        figure.legend(loc="outside upper left", ncols=columns)
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    svg = buffer.getvalue()
    size = f"{WIDTH * POINTS:g} {height * POINTS:g}"
    opening = f'<svg viewBox="0 0 {size}" role="img" aria-labelledby="{name}-title">'
    svg = re.sub("<svg[^>]*>", opening, svg[svg.index("<svg") :], count=1)
    svg = re.sub(r'( id="|"#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in zip(COLOURS, ("ink", "one", "two", "three"), strict=True):
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _layers_plot(number: int, layers: Sequence[Layer]) -> str:
    measures = {
        quantity: {row: m for row, layer in enumerate(layers) if (m := getattr(layer, quantity.field))}
        for quantity in KINDS
    }
    ends = _ends(value for found in measures.values() for m in found.values() for value in (m.error, m.limit))

    def draw(axes: "Axes") -> None:
        for quantity, kind in KINDS.items():
            found, rows = measures[quantity].values(), np.array(list(measures[quantity]))
            errors = np.array([_inside(measure.error, ends) for measure in found])
            out = [not measure.ok for measure in found]
            axes.plot(errors, rows, kind.marker, color=kind.colour, label=quantity.short, clip_on=False)
            limits = [measure.limit for measure in found]
            axes.vlines(limits, rows - 0.5, rows + 0.5, kind.colour, kind.line, label="its limit")
            axes.scatter(errors[out], rows[out], s=RING, facecolors="none", edgecolors=INK, clip_on=False)
        axes.set(xscale="log", xlim=ends, xlabel="error", ylim=(len(layers) - 0.5, -0.5))
        axes.set_yticks(range(len(layers)), [layer.layer for layer in layers])
        axes.xaxis.set_major_formatter("{x:.0e}")

    return _plot(f"layers-{number}", MARGINS + ROW * len(layers), draw, columns=len(KINDS))


def _losses_plot(number: int, trajectory: Trajectory, names: tuple[str, str]) -> str:
    positive = all(loss is not None and loss > 0 for losses in trajectory.losses for loss in losses)

    def draw(axes: "Axes") -> None:
        for losses, name, line in zip(trajectory.losses, names, SIDES, strict=True):
            shown = np.array(losses, np.float64)  # None, a loss that is not finite, leaves a gap
            axes.plot(range(1, len(losses) + 1), shown, label=name, markevery=_every(losses), **line)
        _step_by_step(axes, "total loss")
        if positive:
            axes.set_yscale("log")
            _label_plainly(axes.yaxis)

    return _plot(f"losses-{number}", HEIGHT, draw)


def _distances_plot(number: int, trajectory: Trajectory, names: tuple[str, str]) -> str:
    steps = [step.step for step in trajectory.steps]
    distances = [step.distance for step in trajectory.steps]
    own = list(zip(*(step.own_distances for step in trajectory.steps), strict=True))
    passing = {step.step: step.allowed for step in trajectory.steps if step.allowed is not None}
    ends = _ends([*distances, *own[0], *own[1], *passing.values()])

    def draw(axes: "Axes") -> None:
        between: dict[str, Any] = {"color": INK, "linewidth": 2.5, "marker": "D"}
        labels = ("between both sides", *(f"{name}, from its own nudged run" for name in names))
        for label, values, line in zip(labels, (distances, *own), (between, *SIDES), strict=True):
            shown = [_inside(value, ends) for value in values]
            axes.plot(steps, shown, label=label, markevery=_every(steps), clip_on=False, **line)
        if passing:
            axes.plot(list(passing), list(passing.values()), color=INK, linestyle="dotted", label="limit")
        _step_by_step(axes, "distance between images")
        axes.set(yscale="log", ylim=ends)
        axes.yaxis.set_major_formatter("{x:.0e}")

    return _plot(f"distances-{number}", HEIGHT, draw)


def _ends(values: Iterable[float | None]) -> tuple[float, float]:
    """Return powers of ten between which all positive values lie, with a decade to spare below for zeros."""
    exponents = [math.log10(value) for value in values if value] or [0.0]
    return 10.0 ** (math.floor(min(exponents)) - 1), 10.0 ** (math.floor(max(exponents)) + 1)


def _inside(error: float | None, ends: tuple[float, float]) -> float:
    """Return where an error is drawn: zero at the lower end, what is not comparable at the upper one."""
    return ends[1] if error is None else max(error, ends[0])


def _step_by_step(axes: "Axes", quantity: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel="step", ylabel=quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _every(points: Sequence[Any]) -> int:
    return math.ceil(len(points) / MARKERS)


def _label_plainly(axis: "Axis") -> None:
    """Label a logarithmic axis `0.6`, where matplotlib would say `6e-01`."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain())
