"""Options and files as they are typed: what the Python side gives to a command of its own."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nst.options import RECIPE_OPTIONS


def as_argument(path: str | Path) -> str:
    """Return a file's name as it is typed, so that no option is seen in it."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def as_typed(given: Mapping[str, Any]) -> list[str]:
    """Return options, given by name, as they are typed; None is not given, nor False but where a recipe may say yes.

    A list is one with commas, but `set` is typed once for each of its settings, which may also be a dict.
    """
    switches = {option.name for option in RECIPE_OPTIONS if option.type is bool}
    typed: list[str] = []
    for name, value in given.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        if value is True:
            typed.append(flag)
        elif value is False and name in switches:
            typed.append(flag.replace("--", "--no-", 1))
        elif flag == "--set":
            typed += [word for item in _settings(value) for word in (flag, item)]
        elif isinstance(value, tuple | list):
            typed += [flag, ",".join(map(str, value))]
        elif value is not None and value is not False:
            typed += [flag, str(value)]
    return typed


def _settings(value: Any) -> Iterable[str]:
    if not isinstance(value, Mapping):
        return [value] if isinstance(value, str) else map(str, value or ())
    return [f"{key}={_toml(item)}" for key, item in value.items() if item is not None]


def _toml(value: Any) -> str:
    value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's numbers and arrays
    if isinstance(value, Mapping):
        items = (f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items() if item is not None)
        return "{" + ", ".join(items) + "}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False, default=str)
