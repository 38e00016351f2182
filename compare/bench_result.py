"""What `nst bench` found, as data: the times of every round, what follows from them, and an earlier result beside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, computed_field, model_validator

from compare.facts import differing, recipe_facts
from compare.machine import Machine
from compare.trace import Environment, Weights
from nst_spec import recipe as recipes
from nst_spec.errors import NstError, first_problem, reason
from nst_spec.files import read_text

PIECES = ("step", "bare", "tutorial", "matrix")
"""What is timed in every round of a case without tiles."""
TILED_PIECES = ("step", "untiled", "matrix")
"""What is timed in every round of a case in tiles; `untiled` is missing where the image does not fit into memory."""
PROFILE_PIECES = ("bare", "losses", "evaluate", "update", "upload", "download")
"""What is timed in every round of a profile."""
OF_A_RUN = frozenset({"scales", "result", "carry", "colours", "guard", "optimizer.scaling"})
"""What a recipe says of a run's steps together, and of how far one goes; it takes as long whatever that says."""

Values = Sequence[float] | NDArray[np.float64]


class Part(BaseModel):
    """A part of the result."""

    model_config = ConfigDict(frozen=True)


class Spread(Part):
    """The median of some values, and their quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Values) -> Self:
        """Return the spread of values, interpolated between neighbours."""
        lower, median, upper = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
        return cls(median=median, lower=lower, upper=upper)


class Memory(Part):
    """The most bytes held at a time while the first steps were taken.

    Of a process: above what it held before it loaded a framework; `at_rest` is the same before the first step. Of a
    device: what the framework's own counter says.
    """

    of: Literal["process", "device"]
    peak: int
    at_rest: int | None = None


class Summary(Part):
    """What the times say; every ratio is the spread of the ratios within a round.

    `step` is in seconds; `gflops` counted operations a second, in 10^9, a multiply-add for two. `share_of_bare` is how
    long the bare network takes, of a step; `share_of_matrix` the rate of a step, of that of a matrix product;
    `times_tutorial` how long the tutorial's step takes, in steps; `over_untiled` how long a step in tiles takes, in
    steps without. What was not timed is None.
    """

    step: Spread
    gflops: float
    share_of_matrix: Spread
    share_of_bare: Spread | None = None
    times_tutorial: Spread | None = None
    over_untiled: Spread | None = None


class _Timed(Part):
    seconds: dict[str, list[float]]

    def _check(self, pieces: tuple[str, ...], optional: str | None = None) -> None:
        lengths = {len(times) for times in self.seconds.values()}
        missing = [piece for piece in pieces if piece not in self.seconds]
        if not {*self.seconds} <= {*pieces} or not {*missing} <= {optional} or len(lengths) != 1 or lengths == {0}:
            raise ValueError(f"expected times of {', '.join(pieces)}, as many of each")

    def _of(self, piece: str) -> NDArray[np.float64]:
        return np.array(self.seconds[piece])


class Profile(_Timed):
    """Where a step's time goes. `seconds` of every piece (PROFILE_PIECES), round by round.

    `bare` is the bare network, `losses` the whole loss and its gradient with nothing read, `evaluate` that with its
    terms read, `update` the optimiser's step; `upload` and `download` move an image, which a run does once a scale.
    """

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._check(PROFILE_PIECES)
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def parts(self) -> dict[str, Spread]:
        """Seconds of each part of a step: what a piece takes beyond the piece that it contains, within a round."""
        of = self._of
        parts = {
            "network": of("bare"),
            "Gram matrices and losses": of("losses") - of("bare"),
            "reading the terms": of("evaluate") - of("losses"),
            "optimiser": of("update"),
        }
        return {name: Spread.of(values) for name, values in parts.items()}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def transfers(self) -> dict[str, Spread]:
        """Seconds to move an image to the device and back."""
        return {name: Spread.of(self._of(name)) for name in ("upload", "download")}


class Row(_Timed):
    """A backend in a precision at a size, the side of a square image, in tiles of so many pixels a side or whole.

    `multiply_adds` are those of a step; `seconds` of every piece (PIECES or TILED_PIECES), round by round;
    `matrix_side` is the side of the matrices that were multiplied.
    """

    environment: Environment
    size: int
    tile: int | None = None
    multiply_adds: int
    matrix_side: int
    memory: Memory | None
    profile: Profile | None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.tile:
            self._check(TILED_PIECES, optional="untiled")
        else:
            self._check(PIECES)
        return self

    @property
    def case(self) -> str:
        """What is measured, on what: rows of one case can be held to each other."""
        env = self.environment
        device = env.versions.get("gpu", env.device)
        tiles = f" in tiles of {self.tile} px" if self.tile else ""
        return f"{env.backend} {env.precision} {self.size} px{tiles} on {device}, {env.switches.get('threads')} threads"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> Summary:
        """What the times say."""
        step, matrix = self._of("step"), self._of("matrix")
        gigaflops = 2e-9 * self.multiply_adds
        matrix_gigaflops = 2e-9 * self.matrix_side**3
        return Summary(
            step=Spread.of(step),
            gflops=gigaflops / float(np.median(step)),
            share_of_matrix=Spread.of((gigaflops / step) / (matrix_gigaflops / matrix)),
            share_of_bare=self._ratio("bare", "step"),
            times_tutorial=self._ratio("tutorial", "step"),
            over_untiled=self._ratio("step", "untiled"),
        )

    def _ratio(self, piece: str, other: str) -> Spread | None:
        timed = piece in self.seconds and other in self.seconds
        return Spread.of(self._of(piece) / self._of(other)) if timed else None


class Settings(Part):
    """What was measured, whatever the backend."""

    recipe: recipes.Record
    weights: Weights


class Change(Part):
    """A case beside its earlier self: the medians, of this result over the earlier one's; None of what was not timed.

    Where the bare network's has changed as much as the step's, the machine has, or the framework.
    """

    case: str
    step: float
    bare: float | None = None
    tutorial: float | None = None


class Result(Part):
    """What `nst bench` found, as `--json` prints it; `schema_version` changes when a name does."""

    schema_version: Literal[1] = 1
    nst: str
    command: str
    machine: Machine
    settings: Settings
    rows: list[Row]
    notes: list[str] = []
    against: str | None = None
    changes: list[Change] = []


def read(path: Path) -> Result:
    """Read a result; raises NstError when the file cannot be read or is no result."""
    try:
        return Result.model_validate_json(read_text(path))
    except ValidationError as error:
        raise NstError(f"{path}: expected a result as nst bench --json prints it: {first_problem(error)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise NstError(f"{path}: expected a result as nst bench --json prints it ({reason(error)})") from error


def check_comparable(earlier: Result, origin: Path, machine: Machine, settings: Settings) -> None:
    """Raise NstError, with what differs, unless the earlier result is of this machine and of the same settings.

    A machine that does not tell its processor's model is taken at its name.
    """
    ours, theirs = _facts(machine, settings), _facts(earlier.machine, earlier.settings)
    if None in (ours["model"], theirs["model"]):
        ours["model"] = theirs["model"] = None
    differences = differing(ours, theirs)
    if differences:
        raise NstError(
            f"{origin}: expected a result of this machine and of the same settings; it differs in: {differences}"
        )


def changes(rows: Sequence[Row], earlier: Result, origin: Path) -> list[Change]:
    """Return the change of every row that has an earlier self; raises NstError where none has, with both lists."""
    before = {row.case: row for row in earlier.rows}
    found = [_change(row, before[row.case]) for row in rows if row.case in before]
    if not found:
        raise NstError(
            f"{origin}: expected one of: {'; '.join(row.case for row in rows)}; received: {'; '.join(before) or 'none'}"
        )
    return found


def _change(row: Row, before: Row) -> Change:
    ratios = {
        piece: float(np.median(row.seconds[piece]) / np.median(before.seconds[piece]))
        for piece in ("step", "bare", "tutorial")
        if piece in row.seconds and piece in before.seconds
    }
    return Change(case=row.case, **ratios)


def _facts(machine: Machine, settings: Settings) -> dict[str, Any]:
    weights = {"weights": settings.weights.sha256[:12], "preprocessing": settings.weights.preprocessing}
    return machine.model_dump(mode="json") | weights | recipe_facts(settings.recipe, besides=OF_A_RUN)
