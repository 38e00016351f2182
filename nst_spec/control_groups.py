"""The control groups that this process is in (Linux' cgroup v2), where the limits of its container stand."""

from pathlib import Path

OWN, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def folders() -> tuple[Path, ...]:
    """Return the folders of this process's groups, the innermost first; a limit holds for every group below.

    Where the system has no such groups there may be folders that are not there.
    """
    try:
        path = OWN.read_text().partition("0::/")[2].strip()
    except OSError:
        return ()
    innermost = ROOT / path
    return tuple(group for group in (innermost, *innermost.parents) if group.is_relative_to(ROOT))
