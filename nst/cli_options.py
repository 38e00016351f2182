"""What the commands have in common: groups of options, messages, checks."""

import functools
import gc
import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nst.options import RECIPE_OPTIONS
from nst_spec.messages import Say, to_nobody, to_stderr

if TYPE_CHECKING:
    from nst_spec.run import Inputs

styles_argument = click.argument("style", nargs=-1, required=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
threads_option = click.option("--threads", type=int, help="CPU threads.")
offline_option = click.option("--offline", is_flag=True, help="Never download.")
allow_large_option = click.option("--allow-large", is_flag=True, help="Accept images over 300 megapixels.")
judged_image_option = click.option("--image", help="The image to judge; photo, painting and noise mixed if not given.")


class _Setting(click.Option):
    """An option whose help has the words that the recipe's key may be, looked up once somebody asks for help."""

    def __init__(self, *names: Any, key: str, **given: Any) -> None:
        super().__init__(*names, **given)
        self.key = key

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from nst_spec.recipe import choices

        record, words = super().get_help_record(ctx), choices(self.key)
        return (record[0], f"{record[1].rstrip('.')}: {', '.join(words)}.") if record and words else record


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every option of the recipe table, `--recipe` and `--set`."""
    for option in reversed(RECIPE_OPTIONS):
        # None tells a command that the option was not given, so that the recipe's own value stands.
        kind: dict[str, Any] = {"type": option.type} if option.type is not bool else {"is_flag": True, "default": None}
        flag = option.flag if option.type is not bool else f"{option.flag}/--no-{option.name}"
        command = click.option(flag, option.name, cls=_Setting, key=option.key, help=option.help, **kind)(command)
    command = click.option("--set", "set_", multiple=True, metavar="KEY=VALUE", help="Any other recipe key.")(command)
    return click.option("--recipe", help="Recipe, or FILE.toml; see `nst recipes`. default if not given.")(command)


def machine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose weights, device and arithmetic; nst.api.prepare has their defaults."""
    return _with_options(
        command,
        click.option("--weights", help="Weight set or file; see `nst weights list`. The recipe's if not given."),
        click.option("--device", help="auto, cpu, cuda or mps; auto, a GPU where there is one, if not given."),
        click.option("--dtype", help="float32 or float64; float32 if not given."),
        click.option(
            "--precision",
            help="Multiply in fp32, tf32 (a GPU's), bf16, or auto: bf16 where it is faster. "
            "If not given, auto to paint and fp32 to judge or compare.",
        ),
        threads_option,
        offline_option,
        allow_large_option,
    )


def backend_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the choice of the backend."""
    return click.option("--backend", help="torch, tf or reference; the installed one, torch if both.")(command)


def python_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that runs each framework in a process of its own the choice of its interpreter."""
    for name in ("tf", "torch"):
        help_text = f"The interpreter that runs {name}; this one if not given."
        command = click.option(f"--{name}-python", metavar="PYTHON", help=help_text)(command)
    return command


def participants(
    backends: str | None, pythons: Mapping[str, str | None], accepted: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the backends that are asked for, else the frameworks there are, and a note for each that is missing.

    `backends` is the list as typed, None if it was not; `pythons` are the interpreters that were named.
    """
    from nst_spec import backend as protocol
    from nst_spec.errors import NstError, install, not_accepted

    for name, python in pythons.items():
        if python and not shutil.which(python):
            raise NstError(f"--{name}-python: expected an interpreter, received {python}, which is no program here")
    if backends:
        chosen = [name.strip() for name in backends.split(",")]
        for name in chosen:
            if name not in accepted:
                raise not_accepted("--backends", name, accepted)
        if len(set(chosen)) < len(chosen):
            raise NstError(f"--backends: expected each backend once, received {backends}")
        return chosen, []
    there = {*protocol.installed(), *(name for name, python in pythons.items() if python)}
    notes = [
        f"{name} is not installed here and is left out: {install(name)}, or --{name}-python"
        for name in protocol.PREFERENCE
        if name not in there
    ]
    return [name for name in protocol.PREFERENCE if name in there], notes


def tile_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the choice of tiles; nst.api.prepare has its default."""
    text = "Compute in tiles: auto (where memory is short), off, or N px a side (16, 32, ...); the result is the same."
    return click.option("--tile", metavar="auto|off|N", help=text)(command)


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options about the picture it writes."""
    return _with_options(
        command,
        click.option("-o", "--output", type=click.Path(path_type=Path), help="The picture to write."),
        click.option(
            "--bits",
            type=click.IntRange(min=1),
            help="Bits a channel: 8, or 16 in a PNG or TIFF; 8 if not given, in a rerun the picture's own.",
        ),
        click.option("--force", is_flag=True, help="Replace existing files."),
        click.option(
            "--save-every",
            type=click.IntRange(min=1),
            metavar="N",
            help="Also save every N steps, as OUT-0050.png, at the scale's size.",
        ),
        click.option("--quiet", is_flag=True, help="Say nothing but warnings, errors and the picture's name."),
    )


def _with_options(command: Callable[..., None], *options: Callable[..., Any]) -> Callable[..., None]:
    # The last that is given stands first in the help.
    for option in reversed(options):
        command = option(command)
    return command


def wishes_to_end() -> tuple[signal.Signals, ...]:
    """Return the signals by which a process is asked to end: by the system, or because its terminal is gone.

    One that is ignored, as `nohup` has it, is none.
    """
    there = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
    return tuple(number for number in there if number and signal.getsignal(number) is not signal.SIG_IGN)


def may_handle_signals() -> bool:
    """Return whether this is the main thread: Python lets no other choose what a signal does."""
    return threading.current_thread() is threading.main_thread()


def say(quiet: bool) -> Say:
    """Return where messages go."""
    return to_nobody if quiet else to_stderr


def check_file(path: Path, suffix: str, force: bool) -> None:
    """Raise NstError where a file to write has another suffix, no folder to go into, or may not replace another."""
    from nst_spec.errors import NstError
    from nst_spec.files import check_folder

    if path.suffix != suffix:
        raise NstError(f"{path}: expected a name that ends in {suffix}")
    check_folder(path)
    check_new(path, force)


def check_new(path: Path, force: bool) -> None:
    """Raise NstError where a file exists and may not be replaced."""
    from nst_spec.errors import NstError

    if path.exists() and not force:
        raise NstError(f"{path}: exists already; --force overwrites it")


def check_kept(output: Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise NstError where a file to write is one of those that the command reads."""
    from nst_spec.errors import NstError

    for path in inputs:
        if path and output.exists() and Path(path).exists() and output.samefile(path):
            raise NstError(f"{output}: is one of this command's own inputs; choose another name")


def files_of(inputs: "Inputs") -> list[Path]:
    """Return the files that a run's pictures and weights came from, as far as they did."""
    pictures = (inputs.content, *inputs.styles, inputs.start)
    return [picture.path for picture in pictures if picture and picture.path] + [Path(inputs.weights.name)]


def make_folder(path: Path) -> None:
    """Make a folder unless it is there; raises NstError where that is not possible."""
    from nst_spec.errors import NstError, reason

    for part in (path, *path.parents):
        if part.is_file():
            raise NstError(f"{part}: expected a folder, received a file")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NstError(f"{path}: {reason(error)}") from error


@functools.cache
def exempt_from_collection() -> None:
    """Let no garbage collection look at what the frameworks made while they were imported.

    It is there to stay, and to look through TensorFlow's takes a third of a second each time.
    """
    gc.freeze()


def as_argument(path: str | Path) -> str:
    """Return a file's name as it is typed, so that no option is seen in it."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def as_typed(given: Mapping[str, Any]) -> list[str]:
    """Return options, given by name, as they are typed; None is not given, and False but for `--no-NAME` options.

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


def keywords(given: dict[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """Return the keywords of nst.api.prepare for the options of a command."""
    from nst_spec.recipe import by_section, parse_setting

    named = {name: value for name, value in given.items() if value is not None and name != "set_"}
    # A later --set wins over an earlier one, and a named option over both.
    settings = dict(by_section(map(parse_setting, given["set_"])))
    return named | {"settings": settings, "say": say(quiet), "warn": to_stderr}
