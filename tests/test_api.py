"""The Python API and what it promises beyond the command line."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import json
import re
import subprocess
import sys
import typing
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nst
from nst.cli import main
from nst.keywords import Keywords, RecipeKeywords
from nst.options import RECIPE_OPTIONS
from nst_spec import backend as backends
from nst_spec import heap, images, reference, weight_files, weights
from nst_spec.images import reading
from tests.conftest import automatic_precision, relative, smooth_image, to_uint8


@pytest.fixture
def quick(narrow_file):
    return {"weights": str(narrow_file), "size": 32, "steps": 4, "backend": "reference"}


def test_paths_pil_images_and_arrays_give_one_picture(quick, photo, painting):
    content, style = Image.open(photo), Image.open(painting)
    results = [
        nst.stylize(photo, str(painting), **quick),
        nst.stylize(content, style, **quick),
        nst.stylize(np.asarray(content), np.asarray(style), **quick),
        nst.stylize(np.asarray(content) / 255, np.asarray(style) / 255, **quick),
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result.image, results[0].image)
    assert results[0].to_pil().size == (32, 24)


def test_several_style_images_make_one_style(quick, photo, painting):
    other = smooth_image(20, 30, 9)
    alone = nst.stylize(photo, painting, **quick)
    # Twice the same is the same, and what counts for nothing is not there; neither changes a bit.
    for styles, blend in (([painting, Image.open(painting)], None), ((painting, other), np.array([1, 0]))):
        np.testing.assert_array_equal(nst.stylize(photo, styles, style_blend=blend, **quick).image, alone.image)
    both = [nst.stylize(photo, styles, **quick) for styles in ([painting, other], [other, painting])]
    np.testing.assert_allclose(both[0].image, both[1].image, rtol=0, atol=1e-5)
    assert relative(both[0].image, alone.image) > 0.01
    with pytest.raises(nst.NstError, match=r"style.blend: expected a number for each style image \(1\), received 2"):
        nst.stylize(photo, painting, style_blend="1,2", **quick)
    with pytest.raises(nst.NstError, match="style: expected at least one image, received none"):
        nst.stylize(photo, [], **quick)


def test_a_notebook_shows_the_picture(quick, photo, painting):
    result = nst.stylize(photo, painting, **quick)
    shown = Image.open(io.BytesIO(result._repr_png_()))
    np.testing.assert_array_equal(np.asarray(shown), np.rint(result.image.astype(np.float64) * 255))
    assert repr(result) == "<nst.Result: 32 x 24 px, 4 steps>"


def test_a_run_may_be_of_any_number_of_steps(quick, photo, painting):
    result = nst.stylize(photo, painting, on_step=lambda progress: True, **quick | {"steps": 10**12})
    assert len(result.losses) == 1
    assert (result.image.shape, result.image.dtype) == ((24, 32, 3), np.float32)


def test_on_step_sees_every_step_and_can_end_the_run(quick, photo, painting):
    seen = []

    def on_step(progress):
        seen.append((progress.step, progress.losses.total, progress.image().shape))
        return progress.step == 3

    result = nst.stylize(photo, painting, on_step=on_step, **quick)
    assert [step for step, _, _ in seen] == [1, 2, 3]
    assert [total for _, total, _ in seen] == [losses.total for losses in result.losses]
    assert (result.stopped, result.record["steps"]) == ("on request", 3)


def test_the_defaults_are_the_command_lines(quick, photo, painting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = nst.stylize(photo, painting, **quick)
    flags = ["--weights", quick["weights"], "--size", "32", "--steps", "4", "--backend", "reference"]
    assert main([str(photo), str(painting), "-o", "cli.png", *flags]) == 0
    result.save("api.png")
    records = [json.loads(json.dumps(nst.api.images.read_record(name))) for name in ("cli.png", "api.png")]
    assert records[0] == records[1]
    np.testing.assert_array_equal(*(np.asarray(Image.open(name)) for name in ("cli.png", "api.png")))


def test_settings_options_and_their_order(quick, photo, painting):
    settings = {"optimizer": {"kind": "adam", "lr": 0.5}, "optimizer.beta1": 0.5, "size.pixels": 9}
    result = nst.stylize(photo, painting, settings=settings, **quick)
    assert result.record["recipe"]["optimizer"]["beta1"] == 0.5
    assert result.record["recipe"]["size"]["pixels"] == 32
    assert settings["optimizer"] == {"kind": "adam", "lr": 0.5}


def test_a_section_among_the_settings_leaves_its_other_keys_alone(quick, photo, painting):
    sections = {"optimizer": {"history": 3}, "tv": {"weight": 7.0}}
    kept = nst.api.prepare(photo, painting, settings=sections, **quick).recipe
    assert (kept.optimizer.kind, kept.optimizer.history, kept.optimizer.lr) == ("lbfgs", 3, 1.0)
    assert (kept.tv.form, kept.tv.weight) == ("mean-squared-colour", 7.0)
    sized = nst.api.prepare(photo, painting, settings={"size.pixels": 9, "size": {"pixels": 8}}, **quick).recipe
    assert sized.size.pixels == 32


def test_every_keyword_has_its_type():
    own = nst.api.prepare.__kwdefaults__
    assert list(Keywords.__annotations__) == [*(option.name for option in RECIPE_OPTIONS), *own]
    types = typing.get_type_hints(RecipeKeywords)
    for option in RECIPE_OPTIONS:
        # What the command line has as text may be more than a text here.
        assert option.type in typing.get_args(types[option.name]), option.name


def test_settings_are_a_dict(quick, photo, painting):
    with pytest.raises(nst.NstError, match=r"settings: expected a dict, .*, received \['optimizer.lr=3'\]"):
        nst.stylize(photo, painting, settings=["optimizer.lr=3"], **quick)


def test_a_judgement_has_a_line(quick, photo, painting):
    assert re.fullmatch(r"<nst.Judgement: 32 x 24 px, loss \S+>", repr(nst.evaluate(photo, painting, **quick)))


def test_an_unknown_keyword_is_a_type_error(quick, photo, painting):
    with pytest.raises(TypeError, match=r"'shade'; accepted: weights, settings, .*, size, .*, guard$"):
        nst.stylize(photo, painting, shade="red", **quick)
    with pytest.raises(TypeError, match=r"did you mean threads\?"):
        nst.stylize(photo, painting, thread=1, **quick)


def test_numpys_own_numbers_are_numbers(quick, photo, painting, framework):
    loaded = backends.load(framework, deterministic=np.False_)
    threads = np.int64(loaded.switches()["threads"])
    numbers = {"threads": threads, "deterministic": np.False_, "steps": np.int32(2), "size": np.uint8(32)}
    result = nst.stylize(photo, painting, **quick | numbers | {"backend": framework, "strength": np.float32(0.5)})
    assert result.record["backend"]["switches"] == loaded.switches()
    assert len(result.losses) == 2


@pytest.mark.parametrize(
    ("option", "refused", "message"),
    [
        ("threads", "2", r"threads: expected 1 to 4096, received '2'"),
        ("threads", 1.5, r"threads: expected 1 to 4096, received 1\.5"),
        ("threads", True, r"threads: expected 1 to 4096, received True"),
        ("backend", ["torch"], r"backend: received \['torch'\]; accepted: reference, tf, torch"),
        ("threads", 2**40, r"threads: expected 1 to 4096"),
        ("weights", 5, r"weights: received 5; accepted: .*embedded"),
        ("weights", "a" * 300, r"weights: received 'a+'; accepted: .*embedded"),
        ("recipe", "a\0b.toml", r"recipe a.b\.toml: "),
        ("tile", 64.0, r"tile: received 64\.0; accepted: auto, off, or a multiple of 16"),
        ("tile", True, r"tile: received True"),
        ("fast", "off", r"fast: expected True or False, received 'off'"),
        ("deterministic", 1, r"deterministic: expected True or False, received 1"),
        ("weights", [1], r"weights: received \[1\]; accepted: .*embedded"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused(option, refused, message, quick, photo, painting):
    with pytest.raises(nst.NstError, match=message):
        nst.stylize(photo, painting, **quick | {option: refused})


@pytest.mark.parametrize("recipe", [None, {}, 3])
def test_what_is_no_recipe_is_refused(recipe, quick, photo, painting):
    with pytest.raises(nst.NstError, match=r"recipe: received .*; accepted: default, .*FILE\.toml"):
        nst.stylize(photo, painting, recipe=recipe, **quick)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": 3}, ["init.seed changes nothing: init.kind is 'content', not 'noise'"]),
        ({"seed": 3, "sigma": 0.5, "init": "noise"}, []),
        ({"settings": {"init.sigma": 2.0}}, ["init.sigma changes nothing: init.kind is 'content', not 'noise'"]),
        ({"tv": "l1", "tv_weight": 0.0}, ["tv.form changes nothing: tv.weight is 0"]),
        ({"tv": "l1"}, []),
        ({"settings": {"init.file": "start.png"}}, ["init.file changes nothing: init.kind is 'content', not 'file'"]),
    ],
)
def test_a_setting_without_effect_is_said(options, said, quick, photo, painting):
    warned = []
    nst.evaluate(photo, painting, warn=warned.append, preprocessing="caffe", **quick, **options)
    assert warned == said


def test_weights_that_do_not_say_their_pixel_space_are_used_with_a_warning(quick, photo, painting, narrow_weights):
    warned = []
    options = quick | {"steps": 0, "warn": warned.append}
    nst.stylize(photo, painting, recipe="udacity2018", **options)
    said = "narrow.safetensors does not say in which pixel space its network was trained; it is fed 'imagenet'"
    assert [message.startswith(said) for message in warned] == [True]
    for stated in ({"preprocessing": "unit"}, {"recipe": "pytorch-blog"}, {"weights": "random"}):
        nst.stylize(photo, painting, **options | stated)
    said_too = Path(quick["weights"]).with_name("said.safetensors")
    weight_files.write(said_too, narrow_weights.arrays, {"preprocessing": "imagenet"})
    nst.stylize(photo, painting, **options | {"weights": str(said_too)})
    assert len(warned) == 1


def test_an_initial_image_is_a_kind_or_a_file(quick, photo, painting):
    expected = r"init: received 'nois'; accepted: content, style, noise, an image FILE; did you mean noise\?$"
    with pytest.raises(nst.NstError, match=expected):
        nst.stylize(photo, painting, init="nois", **quick)


@pytest.mark.parametrize("fails", [False, True])
def test_a_program_has_its_own_way_of_keeping_memory_back_after_a_picture(fails, quick, photo, painting, monkeypatch):
    calls = []
    monkeypatch.setattr(heap, "keep", calls.append)
    monkeypatch.setattr(heap, "give_back", lambda: calls.append("given back"))

    def on_step(progress):
        assert not fails, "stopped by its caller"

    with pytest.raises(AssertionError, match="by its caller") if fails else contextlib.nullcontext():
        nst.stylize(photo, painting, on_step=on_step, **quick)
    assert calls[-2:] == [False, "given back"]


def test_names_can_be_completed():
    assert {*nst.__all__, "api"} <= {*dir(nst)}


def test_the_api_is_there_without_being_imported():
    code = "import nst; print(nst.api.prepare.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "prepare\n"


def test_a_run_may_start_from_an_image_in_memory(quick, photo, painting):
    start = to_uint8(smooth_image(24, 32, 9))
    result = nst.stylize(photo, painting, init=start, **quick | {"steps": 0})
    np.testing.assert_allclose(result.image, start / 255)
    assert result.record["recipe"]["init"] == {"kind": "file", "file": "image", "sigma": 1.0, "seed": 0}


def test_a_tensor_is_an_array(quick, photo, backend_name):
    pixels = np.asarray(Image.open(photo))
    library, maker = {"torch": ("torch", "tensor"), "tf": ("tensorflow", "constant")}[backend_name]
    content, channels_first = (
        getattr(importlib.import_module(library), maker)(array) for array in (pixels, pixels.transpose(2, 0, 1))
    )
    with pytest.raises(nst.NstError, match=r"; numpy\.moveaxis\(numpy\.asarray\(array\), 0, -1\) puts channels last$"):
        nst.api.prepare(channels_first, content, **quick)
    inputs = nst.api.prepare(np.moveaxis(np.asarray(channels_first), 0, -1), content, **quick).inputs
    for picture in (inputs.content, *inputs.styles):
        np.testing.assert_array_equal(picture.pixels, pixels / 255)


def test_inputs_are_left_alone(quick):
    content, style = smooth_image(24, 32, 1), smooth_image(24, 32, 2)
    before = content.copy(), style.copy()
    nst.stylize(content, style, **quick)
    np.testing.assert_array_equal(content, before[0])
    np.testing.assert_array_equal(style, before[1])


def test_what_is_short_of_memory_is_computed_in_tiles_and_says_so(
    quick, photo, painting, backend_name, eager, monkeypatch
):
    monkeypatch.setattr(importlib.import_module(f"nst_{backend_name}.memory"), "free", lambda device: 2**20)
    said = []
    options = quick | {"backend": backend_name, "device": "cpu", "size": 256}
    judged = nst.evaluate(photo, painting, say=said.append, **options)
    assert ["computed in tiles of 64 px" in text for text in said] == [True]
    assert judged.record["tile"] == 64


def test_a_history_that_memory_cut_down_is_in_the_record(quick, photo, painting, backend_name, eager, monkeypatch):
    monkeypatch.setattr(importlib.import_module(f"nst_{backend_name}.memory"), "free", lambda device: 2**10)
    options = quick | {"backend": backend_name, "device": "cpu", "optimizer": "lbfgs"}
    result = nst.stylize(photo, painting, say=lambda text: None, warn=lambda text: None, **options)
    assert result.record["history"] == 2


def test_every_term_has_the_option_of_its_name():
    keys = {option.name: option.key for option in RECIPE_OPTIONS}
    assert (keys["content_term"], keys["style_term"]) == ("content.term", "style.term")


def test_evaluate_judges_an_image(quick, photo, painting):
    judged = nst.evaluate(photo, painting, image=painting, **quick)
    assert judged.evaluation.losses.content > 0
    assert judged.evaluation.gradient.shape == (judged.height, judged.width, 3) == (24, 32, 3)
    assert nst.evaluate(photo, painting, **quick).evaluation.losses.content == 0


def test_the_picture_that_is_judged_is_let_go_before_it_is(quick, photo, painting, monkeypatch):
    read, evaluate, held = images.read, reference.Objective.evaluate, []

    def reading_one(source, **how):
        picture = read(source, **how)
        if source == photo:  # and not the content image, which a run may want again
            held.append(weakref.ref(picture.pixels))
        return picture

    def evaluating(objective, image):
        assert [pixels() for pixels in held] == [None]
        return evaluate(objective, image)

    monkeypatch.setattr(images, "read", reading_one)
    monkeypatch.setattr(reference.Objective, "evaluate", evaluating)
    assert nst.evaluate(painting, painting, image=photo, **quick).evaluation.losses.content > 0


def test_an_image_is_judged_pixel_by_pixel_within_the_margin(quick, painting):
    content = to_uint8(smooth_image(24, 32, 1))
    judged = nst.evaluate(content, painting, image=content, settings={"size.margin": 5}, **quick)
    assert judged.evaluation.losses.content == 0
    assert judged.evaluation.gradient.shape == (34, 42, 3)


@pytest.mark.parametrize("role", ["content", "style", "init", "image"])
def test_every_image_may_be_large_where_that_is_allowed(role, quick, monkeypatch):
    small, large = (Image.fromarray(to_uint8(smooth_image(*size, 1))) for size in ((24, 32), (48, 64)))
    monkeypatch.setattr(reading, "LARGEST", 1000)
    pictures = dict.fromkeys(("content", "style", "init", "image"), small) | {role: large}
    with pytest.raises(nst.NstError, match="--allow-large reads it all the same"):
        nst.evaluate(**pictures, **quick)
    assert nst.evaluate(**pictures, **quick, allow_large=True).width == 32


def test_an_offline_run_downloads_no_weights(quick, photo, painting, monkeypatch):
    monkeypatch.delenv("NST_OFFLINE")
    given = {}
    monkeypatch.setattr(
        weights, "load", lambda *name, load=weights.load, **how: given.update(how) or load(*name, **how)
    )
    nst.evaluate(photo, painting, offline=True, **quick)
    assert given["offline"] is True


def test_strength_0_is_the_photo_and_1_forgets_it(quick, photo, painting):
    photo_pixels = np.asarray(Image.open(photo).resize((32, 24), Image.Resampling.LANCZOS)) / 255
    distances = [
        np.abs(nst.stylize(photo, painting, strength=s, **quick | {"steps": 60}).image - photo_pixels).mean()
        for s in (0, 0.2, 1)
    ]
    assert distances[0] < 0.03
    assert distances[0] < distances[1] < distances[2]


def test_a_picture_from_memory_can_be_rerun_from_files(quick, photo, painting, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = nst.stylize(Image.open(photo), np.asarray(Image.open(painting)), **quick)
    made.save("memory.png")
    assert main(["rerun", "memory.png", "--content", str(photo), "--style", str(painting)]) == 0, capsys.readouterr()
    np.testing.assert_array_equal(*(np.asarray(Image.open(name)) for name in ("memory.png", "memory-rerun.png")))


def test_a_rerun_of_a_stopped_run_stops_there_too(quick, photo, painting, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    nst.stylize(photo, painting, on_step=lambda progress: progress.step == 2, **quick).save("two.png")
    assert main(["rerun", "two.png", "--quiet"]) == 0
    assert "stopped after 2 of 4 steps: on request" in capsys.readouterr().err
    np.testing.assert_array_equal(*(np.asarray(Image.open(name)) for name in ("two.png", "two-rerun.png")))


def test_a_run_that_memory_ended_is_kept_and_rerun_to_there(
    quick, photo, painting, framework, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    error = MemoryError()

    def failing(descent):
        calls.append(descent)
        if len(calls) == 3:
            raise error
        return original(descent)

    quick["backend"] = framework
    descent = importlib.import_module(f"nst_{framework}.objective").Descent
    original, calls = descent.evaluate, []
    with monkeypatch.context() as patch:
        patch.setattr(descent, "evaluate", failing)
        nst.stylize(photo, painting, tile="off", **quick).save("two.png")
    assert main(["rerun", "two.png", "--quiet"]) == 0
    assert "stopped after 2 of 4 steps: on request" in capsys.readouterr().err
    np.testing.assert_array_equal(*(np.asarray(Image.open(name)) for name in ("two.png", "two-rerun.png")))


@pytest.mark.parametrize("missing", ["backend", "steps", "weights", "inputs", "recipe"])
def test_a_record_that_cannot_be_repeated_names_the_key(quick, photo, painting, tmp_path, capsys, missing):
    result = nst.stylize(photo, painting, **quick)
    record = {key: value for key, value in result.record.items() if key != missing}
    nst.api.images.write(tmp_path / "odd.png", result.image, record)
    assert main(["rerun", str(tmp_path / "odd.png")]) == 2
    assert f"odd.png: its record cannot be repeated: {missing}: field required" in capsys.readouterr().err


def test_a_recipe_file_leaves_no_folder_in_the_record(quick, photo, painting, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        f'source = "me"\nbased_on = "gatys2016"\nweights = "{quick.pop("weights")}"\npreprocessing = "unit"\n'
    )
    record = nst.stylize(photo, painting, recipe=recipe, init=str(photo), **quick).record
    assert record["recipe"]["weights"] == "narrow.safetensors"
    assert str(tmp_path) not in json.dumps(record)


def test_numbers_that_are_not_finite_are_null_in_the_record(quick, photo, painting):
    wild = quick | {"optimizer": "sgd", "lr": 1e30, "clamp": "none", "steps": 3, "beta": 1e200}
    record = nst.stylize(photo, painting, **wild).record
    assert None in [losses["total"] for losses in record["losses"]]
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize(("name", "framework"), [("torch", "torch"), ("tf", "tensorflow")])
def test_a_missing_backend_names_the_extra_to_install(name, framework, monkeypatch, photo):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == framework else find_spec(module))
    assert name not in backends.installed()
    with pytest.raises(nst.NstError, match=rf"{framework} is not installed; pip install .\.\[{name}\]."):
        nst.stylize(photo, photo, backend=name)


def test_no_backend_at_all_names_both_extras(monkeypatch, photo):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(
        nst.NstError, match=r"pip install .\.\[torch\]. in nst's source folder or pip install .\.\[tf\]."
    ):
        nst.stylize(photo, photo)


def test_a_backend_that_cannot_be_loaded_says_why(monkeypatch, backend_name):
    monkeypatch.setitem(sys.modules, f"nst_{backend_name}.backend", None)
    message = rf"backend {backend_name}: cannot be loaded .*pip install .\.\[{backend_name}\]."
    with pytest.raises(nst.NstError, match=message):
        backends.load(backend_name)

    framework = {"torch": "torch", "tf": "tensorflow"}[backend_name]
    errors = [type("Own", (Exception,), {"__module__": module}) for module in (f"{framework}.python.errors", "nst_tf")]

    def fail(entry):
        raise errors[0]("Library not loaded")

    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", fail)
    with pytest.raises(nst.NstError, match=rf"backend {backend_name}: cannot be loaded .Library not loaded.; pip"):
        backends.load(backend_name)
    del errors[0]  # what remains is a mistake of ours
    with pytest.raises(errors[0], match="Library not loaded"):
        backends.load(backend_name)


def test_an_exported_set_is_adapted_to_as_the_set_itself(photo, painting, tmp_path):
    weights.export("embedded", tmp_path / "mine.safetensors")
    losses = [
        nst.evaluate(photo, painting, backend="reference", size=32, weights=chosen).evaluation.losses.total
        for chosen in ("embedded", str(tmp_path / "mine.safetensors"), tmp_path / "mine.safetensors")
    ]
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("embeded", pytest.raises(nst.NstError, match=r"mine: adapted: received 'embeded'; .*did you mean embedded")),
        ("elsewhere.pth", contextlib.nullcontext()),
    ],
)
def test_a_recipe_adapts_itself_to_sets_that_there_are_and_to_files(name, outcome, photo, painting, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(f'based_on = "default"\n[adapted."{name}"]\nbeta = 9.0\n')
    with outcome:
        nst.evaluate(photo, painting, backend="reference", size=32, weights="embedded", recipe=mine)


def test_a_program_may_have_no_stderr(quick, photo, painting, monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    result = nst.stylize(photo, painting, recipe="gatys2016", **quick | {"weights": "embedded"})
    assert len(result.losses) == quick["steps"]


def test_messages_go_where_they_are_told(quick, photo, painting):
    said, warned = [], []
    nst.stylize(photo, painting, say=said.append, warn=warned.append, **quick | {"weights": "auto", "steps": 0})
    assert said == []
    assert len(warned) == 1
    assert "WARNING: using the weights 'embedded' instead of 'caffe'" in warned[0]


def test_an_image_of_another_aspect_is_judged_with_a_warning(quick, photo, painting):
    warned = []
    options = quick | {"preprocessing": "caffe", "warn": warned.append}
    nst.evaluate(photo, painting, image=to_uint8(smooth_image(48, 64, 3)), **options)
    assert warned == []
    nst.evaluate(photo, painting, image=to_uint8(smooth_image(20, 64, 3)), **options)
    assert warned == ["array: 64 x 20 px is stretched to the run's 32 x 24 px"]


def test_no_memory_is_planned_for_an_optimiser_where_none_is_wanted(quick, photo, painting, monkeypatch):
    from nst_spec import reference

    planned, objective = [], reference.Backend.objective
    monkeypatch.setattr(
        reference.Backend, "objective", lambda *given: planned.append(given[1].steps) or objective(*given)
    )
    options = quick | {"backend": "reference", "steps": 3}
    nst.evaluate(photo, painting, **options)
    nst.stylize(photo, painting, **options)
    assert planned[0] == 0
    assert sum(planned[1:]) == 3


def test_a_run_that_starts_from_an_image_of_another_aspect_says_so(quick, photo, painting):
    warned = []
    options = quick | {"steps": 0, "preprocessing": "caffe", "warn": warned.append}
    nst.stylize(photo, painting, init=to_uint8(smooth_image(48, 64, 3)), **options)
    assert warned == []
    nst.stylize(photo, painting, init=to_uint8(smooth_image(20, 64, 3)), **options)
    assert warned == ["array: 64 x 20 px is stretched to the run's 32 x 24 px"]


def test_painting_multiplies_as_the_machine_does_best_and_judging_exactly(quick, photo, painting, backend_name):
    options = quick | {"backend": backend_name, "steps": 1, "device": "cpu"}
    painted = nst.stylize(photo, painting, **options).record["backend"]
    assert painted["precision"] == automatic_precision(backend_name)
    assert nst.stylize(photo, painting, precision="fp32", **options).record["backend"]["precision"] == "fp32"
    judged = nst.api.evaluate(photo, painting, **options).record["backend"]
    assert judged["precision"] == "fp32"
    assert judged["switches"]["tf32"] is False
