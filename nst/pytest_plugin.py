"""A pytest fixture for other projects: it runs `nst compare` and fails where the backends part."""

import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from compare.result import Result


class Compare(Protocol):
    """What the fixture `nst_compare` is."""

    def __call__(self, content: str | Path, style: str | Path | Sequence[str | Path], **options: object) -> "Result":
        """Compare the backends and return the result; `style` is a picture, or a list of several.

        `options` are those of `nst compare`: nst_compare("photo.jpg", "painting.jpg", recipe="gatys2016", size=96). A
        list stands for a list with commas, and `set` is a dict of a recipe's keys, or a list of "key=value".

        The test fails, naming the first difference, where an error is out of tolerance, and where it cannot run. What
        a reader should know, that a framework is not installed and was left out for one, is a warning.
        """


@pytest.fixture
def nst_compare() -> Compare:
    """Return the function that compares the backends on two pictures; `Compare.__call__` says how."""
    return _compare


def _compare(content: str | Path, style: str | Path | Sequence[str | Path], **options: object) -> "Result":
    __tracebackhide__ = True
    # Imported here: every pytest session in an environment with nst loads this module.
    from compare.launch import MODULE, environment
    from compare.result import Result
    from nst.typed import as_argument, as_typed

    styles = [style] if isinstance(style, str | Path) else style
    pictures = map(as_argument, (content, *styles))
    command = [sys.executable, *MODULE, "compare", *pictures, *as_typed(options), "--json", "--quiet"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, errors="replace", check=False)
    if not done.stdout:
        pytest.fail(f"nst compare could not run: {done.stderr.strip()}")
    result = Result.model_validate_json(done.stdout)
    failures = [
        f"{found.recipe}, {found.sides[0].title} against {found.sides[1].title}: {found.first}; {found.hint}"
        for found in result.comparisons
        if not found.ok
    ]
    if failures:
        pytest.fail("\n".join(failures))
    for note in result.notes:
        warnings.warn(f"nst compare: {note}", stacklevel=2)
    return result
