"""A comparison from start to end: every side recorded in a process of its own, compared, and looked at again."""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compare import launch, trace
from compare.diff import diff, wants_closer_look
from compare.result import Comparison
from compare.trace import Trace
from nst_spec import vgg19
from nst_spec.errors import NstError
from nst_spec.messages import Say
from nst_spec.weight_files import SAFETENSORS

REFERENCE = "reference"
REFERENCE_WORK = 2e11
"""Multiply-adds that the oracle is asked for without being named, for each recipe: half a minute on two CPU cores."""
JUDGING = 11
"""Forward passes, a backward pass counted as two, that a trace takes: both targets, and three times both passes."""
RUNNING_A_STEP = 6
"""The same for a step of the run and of the nudged one."""

Judged = tuple[Comparison, tuple[Trace, Trace]]


@dataclass
class Session:
    """What is compared: `arguments` are those of `nst trace`, `pythons` the interpreters, `folder` is for the traces.

    `sides`, `commands`, `notes`, what was `told` and what each side was `asked` besides grow as backends are recorded.
    What several of their processes would tell is told once.
    """

    arguments: Sequence[str]
    folder: Path
    say: Say
    pythons: Mapping[str, str] = field(default_factory=dict)
    all_recipes: bool = False
    sides: dict[str, Path] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    asked: dict[str, tuple[str, ...]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def record(self, backend: str, *more: str) -> None:
        """Record a backend; raises NstError with its last words where that fails."""
        path = self.folder / (backend if self.all_recipes else f"{backend}{SAFETENSORS}")
        self._launch(backend, path, *(["--all-recipes"] if self.all_recipes else []), *more)
        self.sides[backend] = path
        self.asked[backend] = more

    def record_oracle(self, *, runs: bool) -> None:
        """Record the oracle as far as it ends in reasonable time, judged by another side's size; else leave a note."""
        headers = [trace.read_header(path) for path in _files(next(iter(self.sides.values()))).values()]
        judging = max(_forward_pass(header) * JUDGING for header in headers)
        running = max(_forward_pass(header) * RUNNING_A_STEP * header.steps for header in headers)
        if judging > REFERENCE_WORK:
            self.notes.append(
                "the oracle (float64 NumPy) takes too long at this size; --backends torch,tf,reference insists"
            )
        elif runs and judging + running > REFERENCE_WORK:
            self.notes.append("the oracle (float64 NumPy) judged the image alone; steps would take it too long")
            self.record(REFERENCE, "--no-run")
        else:
            self.record(REFERENCE)

    def add(self, path: Path) -> None:
        """Add a trace, or a folder of them, that was recorded elsewhere."""
        header = trace.read_header(next(iter(_files(path).values())))
        self.notes.append(f"{path.name} was recorded elsewhere: {header.environment.title}")
        self.sides[f"recorded {path}"] = path

    def compare(self) -> Iterator[Judged]:
        """Compare every pair of sides, recipe by recipe.

        Where a choice at a knife's edge may be all that is out, both sides are recorded again for a second look, unless
        one was recorded elsewhere.

        Raises NstError for traces of different recipes, weights, inputs or sizes, and for fewer than two sides.
        """
        names = list(self.sides)
        if len(names) < 2:
            received = "; ".join([*names, *self.notes]) or "none"
            raise NstError(f"expected two backends to compare, received {received}")
        closer: dict[Path, Path] = {}
        for one, other in itertools.combinations(names, 2):
            for paths in _pairs(self.sides[one], self.sides[other]):
                judged = _judge(paths)
                if wants_closer_look(judged[0]) and {one, other} <= self.asked.keys():
                    sides = zip((one, other), paths, strict=True)
                    first, second = (self._look_closer(side, path, judged[0].recipe, closer) for side, path in sides)
                    self.notes.append(
                        f"{judged[0].recipe}, {one} against {other}: a second look, after {judged[0].first}"
                    )
                    judged = _judge((first, second))
                yield judged

    def _look_closer(self, backend: str, path: Path, recipe: str, done: dict[Path, Path]) -> Path:
        if path not in done:
            folder = self.folder / "closer" / path.parent.relative_to(self.folder)
            folder.mkdir(parents=True, exist_ok=True)
            one_recipe = ["--recipe", recipe] if self.all_recipes else []
            self._launch(backend, folder / path.name, *one_recipe, *self.asked[backend], "--closer")
            done[path] = folder / path.name
        return done[path]

    def _launch(self, backend: str, path: Path, *more: str) -> None:
        python = self.pythons.get(backend, sys.executable)
        # The oracle stays on the CPU and in one piece, whatever the others do.
        more = (*more, "--device", "cpu", "--tile", "off") if backend == REFERENCE else more
        arguments = ["trace", *self.arguments, *more, "--backend", backend, "-o", str(path), "--force"]
        # What is recorded for the reader lies where he wants it, not in a folder that may be gone.
        shown = [str(path.relative_to(self.folder)) if word == str(path) else word for word in arguments]
        self.commands.append(launch.command(python, shown))
        launch.run(python, arguments, backend, self._tell)

    def _tell(self, message: str) -> None:
        if message not in self.told:
            self.told.add(message)
            self.say(message)


def compare_files(first: Path, second: Path) -> Iterator[Judged]:
    """Compare two traces, or the traces of two folders; raises NstError as `Session.compare` does."""
    return map(_judge, _pairs(first, second))


def _files(path: Path) -> dict[str, Path]:
    """Return the traces of a folder by their names, or the one that the path is."""
    found = {file.stem: file for file in sorted(path.glob(f"*{SAFETENSORS}"))} if path.is_dir() else {path.stem: path}
    if not found:
        raise NstError(f"{path}: expected a trace or a folder with traces, received a folder without any")
    return found


def _pairs(first: Path, second: Path) -> Iterator[tuple[Path, Path]]:
    ours, theirs = _files(first), _files(second)
    if first.is_dir() != second.is_dir() or (first.is_dir() and ours.keys() != theirs.keys()):
        raise NstError(f"the traces differ: {first} has {', '.join(ours)}; {second} has {', '.join(theirs)}")
    return zip(ours.values(), theirs.values(), strict=True)


def _judge(pair: tuple[Path, Path]) -> Judged:
    a, b = map(trace.read, pair)
    comparison = diff(a, b)
    # Of the traces the report shows the final pictures; all recipes' whole traces would fill the memory.
    return comparison, (a.only("run/result"), b.only("run/result"))


def _forward_pass(header: trace.Header) -> int:
    widths = [shape[-1] for layer, shape in header.shapes.items() if layer.startswith("conv") and layer.endswith("_1")]
    taps = [layer for layer in header.shapes if layer in vgg19.TAPS]
    return vgg19.multiply_adds(widths, *header.content_size, taps)
