"""The one kind of error a user can cause, and the one way of saying what would have been accepted."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T")


class NstError(Exception):
    """A mistake or a circumstance that the user can do something about; its message is one readable sentence."""


def not_accepted(what: str, received: object, accepted: Iterable[object], *, within: str = "") -> NstError:
    """Return the error that names `what`, the value received, every accepted value, and the one that may be meant.

    `within` is what is shown before each of them: the sections of a key, for example.
    """
    names = [str(value) for value in accepted]
    guess = meant(str(received), names) if len(names) > 1 else None
    hint = f"; did you mean {within}{guess}?" if guess else ""
    shown = f"{within}{received}" if within else received
    return NstError(f"{what}: received {shown!r}; accepted: {', '.join(within + name for name in names)}{hint}")


def named(what: str, name: str, table: Mapping[str, T]) -> T:
    """Return what a table has under a name; raises the error of `not_accepted` where it has none."""
    if name not in table:
        raise not_accepted(what, name, table)
    return table[name]


def meant(received: str, names: Iterable[str]) -> str | None:
    """Return the name that may be meant by a mistyped one, if there is one."""
    return next(iter(difflib.get_close_matches(received, list(names), n=1, cutoff=0.7)), None)


def install(extra: str) -> str:
    """Return the command that installs one of the package's extras, for messages."""
    return f'pip install ".[{extra}]" in nst\'s source folder'  # a Windows shell knows no single quotes


def first_problem(error: "ValidationError") -> str:
    """Return where the first thing is that is wrong with data, and what it is."""
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg'].lower()}" if where else problem["msg"].lower()


def reason(error: BaseException) -> str:
    """Return what went wrong, in one line: the system's own words if there are any."""
    words = error.strerror if isinstance(error, OSError) else None
    return " ".join((words or str(error) or type(error).__name__).split())
