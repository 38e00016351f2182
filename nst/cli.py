"""The command line. Nothing heavy is imported before a command needs it."""

import errno
import io
import itertools
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

import nst
from nst.cli_bench import bench, measure
from nst.cli_compare import compare, diff, trace
from nst.cli_options import (
    allow_large_option,
    backend_option,
    check_file,
    check_kept,
    exempt_from_collection,
    files_of,
    json_option,
    keywords,
    machine_options,
    offline_option,
    output_options,
    recipe_options,
    rounding_options,
    say,
    styles_argument,
    threads_option,
    tile_option,
)
from nst.signals import Interrupt, ended_as_interrupted
from nst_spec.errors import NstError, meant, not_accepted
from nst_spec.messages import to_stderr

if TYPE_CHECKING:
    from nst.api import Prepared, Progress, Result

STOPPED_EARLY = 1
USER_ERROR = 2
INTERNAL_ERROR = 70
INTERRUPTED = 130
MAIN_JOB = "stylize"
GONE = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)
"""The errors of writing to a pipe that nobody reads any more."""


class Patient:
    """A stream that drops what it is given once its reader has gone (`nst recipes | head`): no error of ours."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is held back, or drop it."""
        with self._dropping():
            self._stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in GONE:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


class FrontDoor(click.Group):
    """A group whose main job needs no name: `nst photo.jpg painting.jpg` is `nst stylize photo.jpg painting.jpg`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the main job's name first where the first argument is neither a command nor the group's own option."""
        own = {option for parameter in self.get_params(ctx) for option in parameter.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            guess = meant(args[0], [name for name, command in self.commands.items() if not command.hidden])
            if (guess or len(args) == 1) and not os.path.exists(args[0]):
                hint = f" (did you mean {guess}?)" if guess else ""
                raise click.UsageError(f"no such command or photo: {args[0]}{hint}", ctx)
            args = [MAIN_JOB, *args]
        return super().parse_args(ctx, args)


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(cls=FrontDoor, context_settings=CONTEXT)
@click.version_option(nst.__version__, prog_name="nst")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Neural style transfer with PyTorch or TensorFlow.

    nst CONTENT STYLE [-o OUT]  paints the photo CONTENT in the style of the painting STYLE, or of several.
    All its options: nst stylize --help.
    """


def _save(result: "Result", output: Path, bits: int, force: bool) -> None:
    """Save a picture; where that fails after all, keep it in the folder for temporary files and say so."""
    from nst_spec import images

    try:
        click.echo(str(result.save(output, bits=bits, force=force)))
    except NstError as error:
        rescued = Path(tempfile.mkdtemp(prefix="nst-"), f"{output.stem}.png")
        result.save(rescued, bits=bits)
        raise NstError(f"{error}; the picture is in {rescued}") from error
    height, width = result.image.shape[:2]
    if preview := images.preview_path(output, width, height):
        click.echo(str(preview))


@cli.command(MAIN_JOB)
@click.argument("content")
@styles_argument
@output_options
@backend_option
@machine_options
@tile_option
@rounding_options
@recipe_options
def stylize_command(
    content: str,
    style: tuple[str, ...],
    output: Path | None,
    bits: int | None,
    force: bool,
    save_every: int | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Paint CONTENT in the style of STYLE, or of several together.

    The picture is CONTENT-STYLE.png unless -o names another file. Settings that are not given are the recipe's own: nst
    recipes show default.
    """
    from nst.api import DEFAULT_BITS, PAINTING, prepare
    from nst_spec import images

    if len(style) > 1 and not os.path.exists(style[-1]):
        raise NstError(f"{style[-1]}: no such style image; the picture's own name follows -o")
    bits = bits or DEFAULT_BITS
    output = output or Path("-".join(Path(name).stem for name in (content, *style)) + ".png")
    images.check_writable(output, bits=bits, force=force)
    prepared = prepare(content, style, **{**PAINTING, **keywords(given, quiet=quiet)})
    _paint(prepared, output, given["recipe"], bits=bits, force=force, save_every=save_every, quiet=quiet)


def _paint(
    prepared: "Prepared",
    output: Path,
    source: str | Path | None,
    *,
    bits: int,
    force: bool,
    save_every: int | None,
    quiet: bool,
    steps: int | None = None,
) -> "Result":
    """Run, show, save and return, but save over no input, nor over the recipe's `source`.

    After `steps` steps, if given, the run ends as if it had been asked to.
    """
    from nst.api import paint
    from nst.progress import Display, Saver
    from nst_spec import images
    from nst_spec.run import ON_REQUEST

    exempt_from_collection()
    size = prepared.finest.content_size
    images.check_fits(output, *size, force=force)
    saver = Saver(output, save_every, prepared, to_stderr, bits=bits, force=force)
    inputs = [source, *files_of(prepared.inputs)]
    preview = images.preview_path(output, *size)
    for path in itertools.chain([output], [preview] if preview else [], saver.paths()):
        check_kept(path, inputs)

    def on_step(progress: "Progress") -> bool:
        display(progress)
        saver(progress)
        return interrupt.requested or progress.step == steps

    with Display(prepared, quiet=quiet) as display, Interrupt(to_stderr) as interrupt:
        result = paint(prepared, on_step)
    if result.stopped:
        to_stderr(f"stopped after {len(result.losses)} of {prepared.recipe.steps} steps: {result.stopped}")
    _save(result, output, bits, force)
    if result.stopped not in (None, ON_REQUEST):
        raise click.exceptions.Exit(STOPPED_EARLY)
    return result


@cli.command()
@output_options
@backend_option
@machine_options
@tile_option
@rounding_options
@recipe_options
@click.option("--style-image", "style_name", default="swirls", help="swirls, waves or mosaic.")
def demo(
    output: Path | None,
    bits: int | None,
    force: bool,
    save_every: int | None,
    quiet: bool,
    style_name: str,
    **given: Any,
) -> None:
    """Stylise the drawn example images, without network.

    The picture is nst-demo.png unless -o names another file. Weights that would have to be fetched are replaced by
    those of `--weights auto`.
    """
    from nst import examples
    from nst.api import DEFAULT_BITS, DEFAULT_RECIPE, PAINTING, prepare
    from nst_spec import images, recipe
    from nst_spec import weights as sets

    if style_name not in examples.STYLES:
        raise not_accepted("--style-image", style_name, examples.STYLES)
    output = output or Path("nst-demo.png")
    bits = bits or DEFAULT_BITS
    images.check_writable(output, bits=bits, force=force)
    options = keywords(given | {"offline": True}, quiet=quiet)
    chosen = given["weights"]
    if chosen in sets.SETS and not sets.is_here(chosen):
        raise NstError(f"--weights {chosen}: the demo downloads nothing; nst weights fetch {chosen}")
    its_own = recipe.load(given["recipe"] or DEFAULT_RECIPE).weights
    is_missing = its_own in sets.SETS and not sets.is_here(its_own)
    options["settings"] = DEMO | ({"weights": sets.AUTO} if is_missing else {}) | options["settings"]
    prepared = prepare(examples.CONTENT, examples.STYLES[style_name], **{**PAINTING, **options})
    _paint(prepared, output, given["recipe"], bits=bits, force=force, save_every=save_every, quiet=quiet)


DEMO = {"size.pixels": 384}
"""What two CPU cores manage in under a minute with the embedded weights."""


@cli.command(short_help="Print every loss term of an image, and its gradient.")
@click.argument("content")
@styles_argument
@click.option("--image", help="The image to judge; the recipe's initial image if not given.")
@json_option
@click.option("--save-arrays", type=click.Path(path_type=Path), metavar="F.npz", help="Grams, targets and gradient.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--quiet", is_flag=True, help="Say nothing but the result, warnings and errors.")
@backend_option
@machine_options
@tile_option
@rounding_options
@recipe_options
def evaluate(
    content: str,
    style: tuple[str, ...],
    image: str | None,
    as_json: bool,
    save_arrays: Path | None,
    force: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Print every loss term of an image, and the gradient, before any step."""
    from nst import api, report

    if save_arrays:
        check_file(save_arrays, ".npz", force)
    judgement = api.evaluate(content, style, image=image, **keywords(given, quiet=quiet))
    click.echo(json.dumps(report.as_dict(judgement)) if as_json else report.as_text(judgement))
    if save_arrays:
        check_kept(save_arrays, [image, given["recipe"], *files_of(judgement.inputs)])
        report.save_arrays(save_arrays, judgement.evaluation)
        say(quiet)(f"Gram matrices, targets and gradient are in {save_arrays}")


@cli.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of the whole recipes.")
@click.pass_context
def recipes(ctx: click.Context, as_json: bool) -> None:
    """List the recipes."""
    from nst_spec import recipe

    if ctx.invoked_subcommand:
        return
    found = [recipe.load(name) for name in recipe.names()]
    if as_json:
        click.echo(json.dumps([each.model_dump(mode="json") for each in found], indent=2))
        return
    width = max(len(each.name) for each in found)
    for each in found:
        click.echo(f"{each.name:{width}}  {each.source}")


@recipes.command("show")
@click.argument("name")
@json_option
@click.pass_context
def show_recipe(ctx: click.Context, name: str, as_json: bool) -> None:
    """Print a recipe with every default filled in."""
    from nst import report
    from nst_spec import recipe

    found = recipe.load(name)
    as_json = as_json or bool(ctx.parent and ctx.parent.params["as_json"])
    click.echo(json.dumps(found.model_dump(mode="json"), indent=2) if as_json else report.recipe_as_text(found))


@cli.group()
def weights() -> None:
    """List, fetch, check and convert weight sets."""


@weights.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_weights(as_json: bool) -> None:
    """List the weight sets: size, licence, attribution."""
    from nst import report

    click.echo(json.dumps(report.weights_as_list(), indent=2) if as_json else report.weights_as_text())


@weights.command("path")
@click.argument("name")
def weights_path(name: str) -> None:
    """Print where a fetched weight set lies."""
    from nst_spec import weights as sets

    found = sets.path(name)
    if found is None and not sets.SETS[name].url:
        raise NstError(f"{name} is made on the spot and has no file; nst weights export {name} -o FILE writes one")
    if found is None:
        raise NstError(f"{name} is not in the cache; nst weights fetch {name}")
    click.echo(str(found))


@weights.command("fetch")
@click.argument("name")
@click.option("--force", is_flag=True, help="Fetch again even if it is there.")
def fetch_weights(name: str, force: bool) -> None:
    """Download a weight set into the cache, and check it."""
    from nst_spec import weights as sets

    click.echo(str(sets.fetch(name, force=force, say=say(False))))


@weights.command("verify")
@click.argument("name")
def verify_weights(name: str) -> None:
    """Check a weight set or file against its hashes, and print them: the file's, and that of the weights in it."""
    from nst_spec import weights as sets

    of_file, of_weights = sets.verify(name), sets.load(name, offline=True).sha256
    if of_file != of_weights:
        click.echo(f"file     {of_file}")
    click.echo(f"weights  {of_weights}")


@weights.command("convert")
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--preprocessing", help="The pixel space the network was trained in, for the header.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def convert_weights(source: str, target: Path, preprocessing: str | None, force: bool) -> None:
    """Turn a weight file of any known format into safetensors."""
    from nst_spec import weights as sets
    from nst_spec.weight_files import SAFETENSORS

    check_file(target, SAFETENSORS, force)
    check_kept(target, [source])
    sets.convert(source, target, preprocessing)
    click.echo(str(target))


@weights.command("export")
@click.argument("name")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The safetensors file to write.")
@offline_option
@click.option("--force", is_flag=True, help="Replace an existing file.")
def export_weights(name: str, output: Path, offline: bool, force: bool) -> None:
    """Write a weight set as safetensors: conv1_1.weight (OIHW, float32), conv1_1.bias, ..."""
    from nst_spec import weights as sets
    from nst_spec.weight_files import SAFETENSORS

    check_file(output, SAFETENSORS, force)
    sets.export(name, output, offline=offline, say=say(False))
    click.echo(str(output))


@cli.command()
@click.argument("picture")
@click.option("--json", "as_json", is_flag=True, help="Print the whole record, every step's losses too.")
def info(picture: str, as_json: bool) -> None:
    """Print what made a picture: the record that it carries."""
    from nst import report
    from nst_spec import images

    record = images.read_record(Path(picture))
    click.echo(json.dumps(record, indent=2) if as_json else report.record_as_text(record))


@cli.command(short_help="Repeat the run that made a picture.")
@click.argument("picture")
@output_options
@click.option("--content", help="Where the content image is now.")
@click.option("--style", multiple=True, help="Where the style image is now; of several, each in its order.")
@click.option("--start", help="Where the image that the run started from is now.")
@click.option("--weights", help="Where the weights are now, if they came from a file.")
@click.option("--size", type=int, help="Another size than the recorded one, in pixels; all steps are taken.")
@click.option("--backend", help="Another backend than the recorded one.")
@click.option("--device", help="Another device than the recorded one.")
@click.option("--precision", help="Another precision than the recorded one.")
@threads_option
@tile_option
@offline_option
@allow_large_option
def rerun(
    picture: str,
    output: Path | None,
    bits: int | None,
    force: bool,
    save_every: int | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Repeat the run that made a picture, from its record, or paint it in another size.

    The new picture is PICTURE-rerun, with PICTURE's own suffix, unless -o names another file.
    """
    from nst.rerun import computed_otherwise, prepare_again, recorded_bits
    from nst_spec import images

    path = Path(picture)
    output = output or path.with_name(f"{path.stem}-rerun{path.suffix}")
    bits = bits or min(recorded_bits(path), images.most_bits(output))
    images.check_writable(output, bits=bits, force=force)
    options = {name: value for name, value in given.items() if value is not None}
    prepared, steps = prepare_again(path, say=say(quiet), warn=to_stderr, **options)
    result = _paint(prepared, output, path, bits=bits, force=force, save_every=save_every, quiet=quiet, steps=steps)
    if given["size"] is None and (otherwise := computed_otherwise(path, result.record)):
        to_stderr(f"details may differ from {path.name}, since it was computed otherwise: {otherwise}")


for command in (trace, diff, compare, bench, measure):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0: done; 1: stopped early, the picture so far written, or out of tolerance; 2: a user's mistake; 70: ours; 130:
    interrupted.
    """
    streams = sys.stdout, sys.stderr
    # A shell may have closed them (`>&-`).
    opened = (stream or open(os.devnull, "w") for stream in streams)  # noqa: SIM115
    sys.stdout, sys.stderr = (cast(TextIO, Patient(stream)) for stream in opened)
    if sys.stdout.errors == "strict" and isinstance(streams[0], io.TextIOWrapper):
        streams[0].reconfigure(errors="backslashreplace")  # a file's name may have letters that the terminal has not
    try:
        with ended_as_interrupted():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    finally:
        sys.stdout, sys.stderr = streams


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    # Accepted anywhere, since it is wanted after the fact.
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        # A command that ends by Exit gives its code here; any other gives nothing.
        code = cli.main(arguments, prog_name="nst", standalone_mode=False)
        sys.stdout.flush()
        return code or 0
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        click.echo(help_wanted.ctx.get_help() if help_wanted.ctx else "")
        return USER_ERROR
    except click.ClickException as mistake:
        context = getattr(mistake, "ctx", None)
        to_stderr(f"{mistake.format_message().rstrip('.')}{f' ({context.command_path} --help)' if context else ''}")
        return USER_ERROR
    except (KeyboardInterrupt, click.Abort):
        to_stderr("interrupted")
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        return _explain(error)


def _explain(error: Exception) -> int:
    message = " ".join(str(error).split())
    if isinstance(error, NstError):
        to_stderr(message)
        return USER_ERROR
    if isinstance(error, OSError):
        to_stderr(f"{error.filename or 'a file'}: {error.strerror or message}")
        return USER_ERROR
    if isinstance(error, MemoryError) or re.search(r"(?i:out of memory)|\bOOM\b", message):
        to_stderr("out of memory; a smaller --size needs less")
        return USER_ERROR
    to_stderr(f"internal error: {type(error).__name__}: {message[:300]} (--debug shows where)")
    return INTERNAL_ERROR
