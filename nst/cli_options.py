"""What the commands have in common: groups of options, messages, checks."""

import functools
import gc
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nst.options import RECIPE_OPTIONS
from nst_spec.errors import NstError, install, not_accepted, reason
from nst_spec.files import check_folder, check_free
from nst_spec.messages import Say, to_nobody, to_stderr

if TYPE_CHECKING:
    from nst_spec.inputs import Inputs

styles_argument = click.argument("style", nargs=-1, required=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
threads_option = click.option("--threads", type=int, help="CPU threads.")
offline_option = click.option("--offline", is_flag=True, help="Never download.")
fast_option = click.option(
    "--fast/--no-fast",
    default=None,
    help="Round more where that is faster; if not given, to paint and not to judge or compare.",
)
allow_large_option = click.option("--allow-large", is_flag=True, help="Accept images over 300 megapixels.")
judged_image_option = click.option("--image", help="The image to judge; photo, painting and noise mixed if not given.")


WORDS = "{words}"
"""Stands in a help text for the words that an option may be, and `: {words}` for nothing where it is any."""


class _WithWords(click.Option):
    """An option whose help has the words that it may be, if it is one of a few; they are looked up for help alone."""

    def __init__(self, *names: Any, words: Callable[[], Sequence[str]], **given: Any) -> None:
        super().__init__(*names, **given)
        self.words = words

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record, words = super().get_help_record(ctx), ", ".join(self.words())
        return record and (record[0], record[1].replace(WORDS if words else f": {WORDS}", words))


def _words_of_a_recipe(key: str) -> Sequence[str]:
    from nst_spec.recipe import choices

    return choices(key)


def _words_asked_of_a_backend(what: str) -> Sequence[str]:
    from nst_spec import settings

    words: Sequence[str] = tuple(settings.backends()) if what == "backend" else getattr(settings, f"{what.upper()}S")
    return words


def _machine_option(name: str, help_text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(f"--{name}", cls=_WithWords, words=partial(_words_asked_of_a_backend, name), help=help_text)


device_option = _machine_option("device", f"{WORDS}; auto, a GPU where there is one, if not given.")


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every option of the recipe table, `--recipe` and `--set`."""
    for option in reversed(RECIPE_OPTIONS):
        # None tells a command that the option was not given, so that the recipe's own value stands.
        kind: dict[str, Any] = {"type": option.type} if option.type is not bool else {"is_flag": True, "default": None}
        flag = option.flag if option.type is not bool else f"{option.flag}/--no-{option.name}"
        words, text = partial(_words_of_a_recipe, option.key), f"{option.help.rstrip('.')}: {WORDS}."
        command = click.option(flag, option.name, cls=_WithWords, words=words, help=text, **kind)(command)
    command = click.option("--set", "set_", multiple=True, metavar="KEY=VALUE", help="Any other recipe key.")(command)
    return click.option("--recipe", help="Recipe, or FILE.toml; see `nst recipes`. default if not given.")(command)


def machine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose weights, device and arithmetic; nst.api.prepare has their defaults."""
    return with_options(
        command,
        click.option("--weights", help="Weight set or file; see `nst weights list`. The recipe's if not given."),
        device_option,
        _machine_option("dtype", f"{WORDS}; float32 if not given."),
        _machine_option(
            "precision",
            f"What the network multiplies in: {WORDS}; tf32 on a GPU alone, auto is bf16 where that is faster. "
            "If not given, auto to paint and fp32 to judge or compare.",
        ),
        threads_option,
        offline_option,
        allow_large_option,
    )


def backend_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the choice of the backend."""
    return _machine_option("backend", f"{WORDS}; the installed one, torch if both, if not given.")(command)


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


def rounding_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the choice between speed and what rounding alone changes; nst.api.prepare has the defaults."""
    return with_options(
        command,
        fast_option,
        click.option("--deterministic", is_flag=True, default=None, help="The same bits every time, on a GPU too."),
    )


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options about the picture it writes."""
    return with_options(
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


def with_options(command: Callable[..., None], *options: Callable[..., Any]) -> Callable[..., None]:
    """Give a command options, in the order of its help."""
    # The last that is given stands first in the help.
    for option in reversed(options):
        command = option(command)
    return command


def say(quiet: bool) -> Say:
    """Return where messages go."""
    return to_nobody if quiet else to_stderr


def check_file(path: Path, suffix: str, force: bool) -> None:
    """Raise NstError where a file to write has another suffix, no folder to go into, or may not replace another."""
    if path.suffix != suffix:
        raise NstError(f"{path}: expected a name that ends in {suffix}")
    check_folder(path)
    check_free(path, force)


def check_kept(output: Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise NstError where a file to write is one of those that the command reads."""
    for path in inputs:
        if path and output.exists() and Path(path).exists() and output.samefile(path):
            raise NstError(f"{output}: is one of this command's own inputs; choose another name")


def files_of(inputs: "Inputs") -> list[Path]:
    """Return the files that a run's pictures and weights came from, as far as they did."""
    pictures = (inputs.content, *inputs.styles, inputs.start)
    return [picture.path for picture in pictures if picture and picture.path] + [Path(inputs.weights.name)]


def make_folder(path: Path) -> None:
    """Make a folder unless it is there; raises NstError where that is not possible."""
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


def keywords(given: dict[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """Return the keywords of nst.api.prepare for the options of a command."""
    from nst_spec.recipe import by_section, parse_setting

    named = {name: value for name, value in given.items() if value is not None and name != "set_"}
    # A later --set wins over an earlier one, and a named option over both.
    settings = dict(by_section(map(parse_setting, given["set_"])))
    return named | {"settings": settings, "say": say(quiet), "warn": to_stderr}
