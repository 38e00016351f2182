"""The one kind of error a user can cause, and the one way of saying what would have been accepted."""

import difflib
from collections.abc import Iterable


class NstError(Exception):
    """A mistake or a circumstance that the user can do something about; its message is one readable sentence."""


def not_accepted(what: str, received: object, accepted: Iterable[object]) -> NstError:
    """Return the error that names `what`, the value received, every accepted value, and the one that may be meant."""
    names = [str(value) for value in accepted]
    likely = difflib.get_close_matches(str(received), names, n=1, cutoff=0.7) if len(names) > 1 else []
    meant = "".join(f"; did you mean {name}?" for name in likely)
    return NstError(f"{what}: received {received!r}; accepted: {', '.join(names)}{meant}")


def install(extra: str) -> str:
    """Return the command that installs one of the package's extras, for messages."""
    return f"pip install '.[{extra}]' in nst's source folder"


def reason(error: BaseException) -> str:
    """Return what went wrong, in one line: the system's own words if there are any."""
    words = error.strerror if isinstance(error, OSError) else None
    return " ".join((words or str(error) or type(error).__name__).split())
