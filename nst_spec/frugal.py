"""A descent that goes on where memory runs out: in smaller tiles, or with fewer pairs of L-BFGS."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from nst_spec import tiles
from nst_spec.backend import Backend, Image, Losses, Objective, Problem
from nst_spec.errors import NstError
from nst_spec.memory import LEAST_HISTORY, Plan
from nst_spec.messages import Say
from nst_spec.recipe import LBFGS

OUT_OF_MEMORY = "out of memory"
A_COPY = "a copy of the image"

Result = TypeVar("Result")


class OutOfMemoryError(NstError):
    """Memory is short, and there is nothing smaller to try; the message begins with OUT_OF_MEMORY."""


class FrugalDescent:
    """An optimisation at one size that outlives a lack of memory; nst_spec.backend.Descent.

    Tiles change no number, so a step that failed is taken again from where the last one led.
    """

    def __init__(self, backend: Backend, problem: Problem, image: Image, *, say: Say, warn: Say) -> None:
        """Begin at an image; `say` is told how the problem is computed, `warn` when memory runs out.

        Raises OutOfMemoryError where nothing smaller is left to try, as every method does.
        """
        self.backend, self.problem, self.say, self.warn = backend, problem, say, warn
        self.tile: int | None = None
        self.updates = 0
        objective = self._objective(problem)
        self.optimizer, self.history = objective.recipe.optimizer, objective.plan.history
        self.descent = self._or_end(partial(objective.descent, image), "the optimiser")

    def _objective(self, problem: Problem) -> Objective:
        while True:
            try:
                objective = self.backend.objective(problem, self.tile)
                break
            except Exception as error:
                self._check(error)
            # Out of the handler, whose error would hold on to the memory that failed.
            self._choose_smaller_tiles(self.backend.plan)
        for reason in objective.plan.reasons:
            self.say(reason)
        for warning in objective.plan.warnings:
            self.warn(warning)
        self.planned = objective.plan
        return objective

    @property
    def plan(self) -> Plan:
        """How the problem is computed now."""
        return dataclasses.replace(self.planned, history=self.history)

    def _check(self, error: Exception) -> None:
        if not self.backend.ran_out_of_memory(error):
            raise error

    def _or_end(self, attempt: Callable[[], Result], what: str) -> Result:
        try:
            return attempt()
        except Exception as error:
            self._check(error)
        raise OutOfMemoryError(f"{OUT_OF_MEMORY} for {what}; a smaller --size needs less")

    def _choose_smaller_tiles(self, failed: Plan) -> None:
        images = (self.problem.content, *self.problem.styles)
        side = failed.tile or max(max(image.shape[:2]) for image in images)
        is_off = self.backend.tile == "off"
        smaller = None if is_off else tiles.smaller(side)
        if smaller is None:
            has_history = isinstance(self.problem.recipe.optimizer, LBFGS)
            other = "--tile auto" if is_off else "--optimizer adam" if has_history else None
            raise OutOfMemoryError(
                f"{OUT_OF_MEMORY} in {'tiles of ' if failed.tile else ''}{side} px; a smaller --size needs less"
                f"{f', and so does {other}' if other else ''}"
            )
        self.warn(f"{OUT_OF_MEMORY}; going on from the last step in tiles of {smaller} px")
        self.tile = smaller

    def evaluate(self) -> Losses:
        """Compute losses and gradient of the current image, in smaller tiles where memory runs out."""
        while True:
            try:
                return self.descent.evaluate()
            except Exception as error:
                self._check(error)
            self._choose_smaller_tiles(self.planned)
            # What the optimiser holds is no longer free, and must not be planned for once more.
            self.descent.judge_by(partial(self._objective, dataclasses.replace(self.problem, steps=0)))

    def update(self) -> None:
        """Take the optimiser's step, with a shorter history of L-BFGS where memory runs out."""
        while True:
            try:
                self.descent.update()
                self.updates += 1
                return
            except Exception as error:
                self._check(error)
            self._shorten_history()

    def _shorten_history(self) -> None:
        pairs = min(self.optimizer.history, self.updates) if isinstance(self.optimizer, LBFGS) else 0
        if pairs <= LEAST_HISTORY:
            raise OutOfMemoryError(f"{OUT_OF_MEMORY} for the optimiser's step; a smaller --size needs less")
        self.history = max(LEAST_HISTORY, pairs // 2)
        self.warn(f"{OUT_OF_MEMORY}; L-BFGS begins anew and keeps {self.history} pairs, which changes the result")
        self.optimizer = self.optimizer.model_copy(update={"history": self.history})
        self.descent.optimize_by(self.optimizer)
        self.updates = 0

    def place(self, image: Image) -> None:
        """Go on from another image, the optimiser's state as it is."""
        self.descent.place(image)

    def keep(self) -> None:
        """Remember the current image."""
        self._or_end(self.descent.keep, A_COPY)

    def restore(self) -> None:
        """Go back to the remembered image and clear the optimiser's history."""
        self._or_end(self.descent.restore, A_COPY)
        self.updates = 0

    def image(self) -> Image:
        """Return the current image, unclipped."""
        return self._or_end(self.descent.image, A_COPY)

    def kept(self) -> Image:
        """Return the remembered image, unclipped."""
        return self._or_end(self.descent.kept, A_COPY)
