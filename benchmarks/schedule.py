"""Coarse to fine against one scale: how soon a published recipe's loss is reached by the default's schedule.

The recipe runs once as it is, one scale of so many steps, and once with the default's scales, what it carries between
them, its guard and L-BFGS's scaling, in the precision that pictures are painted in. Losses are the recipe's own, at the
finest scale.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot

from nst import api
from nst_spec import recipe as recipes
from nst_spec import run

Curve = list[tuple[float, float]]
"""Seconds from the run's start, and the loss of the image then, of every step at the finest scale."""


@dataclass(frozen=True)
class Pair:
    """Both runs on one pair of images; `target` is the lowest loss of the single scale.

    `single_seconds` is what that run took, `reached_after` when the schedule first met its target (None: never).
    """

    images: str
    single: Curve
    schedule: Curve
    target: float
    single_seconds: float
    reached_after: float | None


def schedule_of(recipe: recipes.Recipe, finest: int | None = None) -> dict[str, Any]:
    """Return the settings that make another recipe run by this one's schedule, with other steps at the finest scale."""
    scales = [scale.model_dump() for scale in recipe.scales]
    if finest is not None:
        scales[-1]["steps"] = finest
    return {"scales": scales, "carry": recipe.carry, "guard": recipe.guard}


def curve(prepared: api.Prepared) -> Curve:
    """Run, and return the finest scale's losses with the time they were known at.

    Raises SystemExit where the run stops before that scale, or memory ends it.
    """
    found = []
    started = time.perf_counter()

    def on_step(progress: run.Progress) -> None:
        if progress.scale == progress.scales:
            found.append((time.perf_counter() - started, progress.losses.total))

    result = api.paint(prepared, on_step)
    if not found:
        raise SystemExit(f"recipe {prepared.recipe.name}: no step at the finest scale: {result.stopped}")
    if result.stopped and run.is_outside_cause(result.stopped):
        raise SystemExit(f"recipe {prepared.recipe.name}: {result.stopped}")
    return found


def measure(content: Path, style: Path, args: argparse.Namespace) -> Pair:
    """Run both ways on one pair."""
    common = {"size": args.size, "weights": args.weights, "offline": True, "fast": True}
    default = recipes.adapted_to(recipes.load("default"), args.weights)
    single_scale = {"scales": [{"fraction": 1.0, "steps": args.steps}]}
    schedule = schedule_of(default, args.finest)
    ours, theirs = default.optimizer, recipes.load(args.recipe).optimizer
    if isinstance(ours, recipes.LBFGS) and isinstance(theirs, recipes.LBFGS):
        schedule["optimizer.scaling"] = ours.scaling
    single, scheduled = (
        curve(api.prepare(content, style, args.backend, args.recipe, settings=settings, precision=precision, **common))
        for settings, precision in ((single_scale, "fp32"), (schedule, "auto"))
    )
    target = min(loss for _, loss in single)
    reached = [seconds for seconds, loss in scheduled if loss <= target]
    return Pair(
        f"{content.stem}, {style.stem}", single, scheduled, target, single[-1][0], reached[0] if reached else None
    )


def plot(pairs: list[Pair], title: str, path: Path) -> None:
    """Write the curves, a panel for each pair."""
    figure, panels = pyplot.subplots(1, len(pairs), figsize=(4.5 * len(pairs), 3.6), squeeze=False)
    for pair, panel in zip(pairs, panels[0], strict=True):
        for name, points in (("one scale", pair.single), ("coarse to fine, its finest scale", pair.schedule)):
            seconds, losses = np.transpose(points)
            panel.plot(seconds, np.minimum.accumulate(losses), label=name)
        panel.axhline(pair.target, color="grey", linewidth=0.8, linestyle=":")
        panel.axvline(pair.single_seconds / 3, color="grey", linewidth=0.8, linestyle=":")
        panel.set(title=pair.images, xlabel="seconds", yscale="log")
    panels[0][0].set_ylabel("lowest loss so far")
    panels[0][0].legend()
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run every pair, write OUT.json and OUT.png, and print how long each way took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="CONTENT STYLE", help="one pair after another")
    parser.add_argument("--backend", choices=["torch", "tf"], default="torch")
    parser.add_argument("--recipe", default="gatys2016")
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=500, help="of the single scale")
    parser.add_argument("--finest", type=int, help="steps of the schedule's finest scale, in place of the default's")
    parser.add_argument("-o", "--output", type=Path, required=True, help="without suffix")
    args = parser.parse_args()
    if len(args.images) % 2:
        parser.error(f"expected pairs of images, received {len(args.images)}")
    pairs = []
    for content, style in zip(args.images[::2], args.images[1::2], strict=True):
        pairs.append(measure(content, style, args))
        last = pairs[-1]
        share = "never" if last.reached_after is None else f"after {last.reached_after / last.single_seconds:.0%}"
        at_a_third = min((loss for at, loss in last.schedule if at <= last.single_seconds / 3), default=float("nan"))
        print(
            f"{last.images}: one scale {last.single_seconds:.0f} s to {last.target:.5g}; coarse to fine "
            f"{last.schedule[-1][0]:.0f} s to {min(loss for _, loss in last.schedule):.5g}, after a third of the time "
            f"{at_a_third / last.target:.3f} of it, reached {share}",
            flush=True,
        )
        args.output.with_suffix(".json").write_text(json.dumps([asdict(pair) for pair in pairs]), "utf-8")
    title = f"{args.recipe}, {args.size} px, weights {args.weights}, {args.backend}"
    plot(pairs, title, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
