"""The one kind of error a user can cause, and the one way of saying what would have been accepted."""

from collections.abc import Iterable


class NstError(Exception):
    """A mistake or a circumstance that the user can do something about; its message is one readable sentence."""


def not_accepted(what: str, received: object, accepted: Iterable[object]) -> NstError:
    """Return the error that names `what`, the value received and every accepted value."""
    return NstError(f"{what}: received {received!r}; accepted: {', '.join(map(str, accepted))}")


def reason(error: BaseException) -> str:
    """Return what went wrong, in one line: the system's own words if there are any."""
    words = error.strerror if isinstance(error, OSError) else None
    return " ".join((words or str(error) or type(error).__name__).split())
