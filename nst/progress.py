"""What a user sees while a run goes on: the display, and pictures on the way."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from tqdm import tqdm

from nst_spec import images
from nst_spec.backend import TERMS
from nst_spec.errors import NstError
from nst_spec.messages import Say, to_nobody, to_stderr
from nst_spec.run import Progress

if TYPE_CHECKING:
    from nst.api import Prepared

ON_THE_WAY = "saved on the way"
"""What the record of a picture says that its run went on from."""
PLAIN_LINES = 10
"""Lines that a whole run prints after its first step's, where the output is no terminal."""

SHOWN_IN_SECONDS = 3600
"""Longer is shown in hours."""


class Display:
    """A bar with losses, speed and time left on a terminal; plain lines elsewhere; nothing if quiet."""

    def __init__(self, prepared: "Prepared", *, quiet: bool) -> None:
        self.say = to_nobody if quiet else to_stderr
        self.steps = prepared.recipe.steps
        self.weights = prepared.recipe.term_weights
        self.bar: Any = None
        self.first: tuple[float, int, float] | None = None
        backend, weights = prepared.backend, prepared.inputs.weights
        self.say(
            f"recipe {prepared.recipe.name}, {backend.name} on {backend.device}, weights {weights.name}, "
            f"{self.steps} steps"
        )
        if not quiet and sys.stderr.isatty():
            # Counted in work, not in steps: a step at the finest scale takes many times one at the coarsest.
            self.bar = tqdm(total=1.0, dynamic_ncols=True, bar_format="{percentage:3.0f}%|{bar:10}| {desc}")

    def __call__(self, progress: Progress) -> None:
        """Show a step."""
        losses = progress.losses
        parts = zip(self.weights, TERMS, strict=True)
        terms = [f"{name} {weight * getattr(losses, name):.3g}" for weight, name in parts if weight]
        text = (
            f"step {progress.step}/{progress.steps}{self._speed(progress)}, {progress.width}x{progress.height}, "
            f"loss {losses.total:.4g} ({' + '.join(terms)})"
        )
        if self.bar is not None:
            self.bar.set_description_str(text, refresh=False)
            self.bar.update(progress.work - self.bar.n)
        elif progress.step == 1 or (progress.step * PLAIN_LINES) % progress.steps < PLAIN_LINES:
            self.say(text)

    def _speed(self, progress: Progress) -> str:
        # The first step has the network's making before it, which says nothing of the others.
        if self.first is None:
            self.first = time.perf_counter(), progress.step, progress.work
            return ""
        started, step, work = self.first
        elapsed = time.perf_counter() - started
        speed = (progress.step - step) / elapsed
        left = elapsed / (progress.work - work) * (1 - progress.work)
        shown = f"{left:.0f} s" if left < SHOWN_IN_SECONDS else f"{left / 3600:.1f} h"
        return f", {shown} left, {speed:.2g} steps/s"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.close()


class Saver:
    """Saves the picture on the way every N steps, as OUT-0050.png; checked for existing files before the run."""

    def __init__(
        self,
        output: Path,
        every: int | None,
        prepared: "Prepared",
        warn: Say,
        *,
        bits: int,
        force: bool,
    ) -> None:
        self.output, self.every, self.prepared, self.warn = output, every, prepared, warn
        self.bits, self.force = bits, force
        self.digits = max(4, len(str(prepared.recipe.steps)))
        for path in self.paths():
            images.check_writable(path, bits=bits, force=force)

    def paths(self) -> Iterator[Path]:
        """Yield the names of all pictures that a whole run saves."""
        if self.every:
            yield from map(self.path, range(self.every, self.prepared.recipe.steps + 1, self.every))

    def path(self, step: int) -> Path:
        """Return the name of the picture after a step."""
        return self.output.with_name(f"{self.output.stem}-{step:0{self.digits}d}{self.output.suffix}")

    def __call__(self, progress: Progress) -> None:
        """Save the picture if it is time to. One that has exploded is left to the run; a full disk is no end of it."""
        if self.every and progress.step % self.every == 0:
            image = progress.image()
            if np.isfinite(image).all():
                record = self.prepared.record() | {
                    "width": progress.width,
                    "height": progress.height,
                    "steps": progress.step,
                    "stopped": ON_THE_WAY,
                    "bits": self.bits,
                }
                try:
                    images.write(self.path(progress.step), image, record, bits=self.bits, force=self.force)
                except NstError as error:
                    self.warn(f"{error}; the run goes on")
