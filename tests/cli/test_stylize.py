import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nst import api
from nst.cli import main
from nst.progress import Display
from nst.signals import Interrupt
from nst_spec import cpu, images, weight_files
from nst_spec.run import Progress
from tests.conftest import relative, smooth_image, to_uint8


@pytest.fixture
def quick(narrow_file):
    return ["--weights", narrow_file, "--size", 32, "--steps", 6]


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(float) / 255


def test_a_photo_and_a_painting_make_a_picture(nst, photo, painting, quick, backend_name):
    code, out, err = nst(photo, painting, "-o", "out.png", "--backend", backend_name, *quick)
    assert (code, out) == (0, "out.png\n")
    assert "step 6/6" in err
    assert pixels("out.png").shape == (24, 32, 3)
    assert relative(pixels("out.png"), pixels(photo.parent / "photo.png")[::2, ::2]) > 0.05


def test_a_backend_and_the_oracle_make_the_same_picture(nst, photo, painting, quick, backend_name):
    for name in (backend_name, "reference"):
        assert nst(photo, painting, "-o", f"{name}.png", "--backend", name, "--dtype", "float64", *quick)[0] == 0
    assert np.abs(pixels(f"{backend_name}.png") - pixels("reference.png")).max() <= 1 / 255


def test_the_output_is_named_after_the_inputs_and_never_overwritten(nst, photo, painting, quick):
    arguments = ["stylize", photo, painting, "--backend", "reference", "--quiet", *quick, "--preprocessing", "caffe"]
    assert nst(*arguments) == (0, "photo-painting.png\n", "")
    code, out, err = nst(*arguments)
    assert (code, out) == (2, "")
    assert "photo-painting.png: exists already; --force" in err
    assert nst(*arguments, "--force")[0] == 0


def test_a_forgotten_option_is_not_taken_for_a_style(nst, photo, painting, quick):
    code, _, err = nst(photo, painting, "out.png", *quick)
    assert (code, err) == (2, "nst: out.png: no such style image; the picture's own name follows -o\n")


def test_pictures_on_the_way(nst, photo, painting, quick):
    code, _, _ = nst(photo, painting, "-o", "out.png", "--backend", "reference", "--save-every", 2, *quick)
    assert code == 0
    assert sorted(path.name for path in Path().glob("*.png")) == [
        "out-0002.png",
        "out-0004.png",
        "out-0006.png",
        "out.png",
    ]


@pytest.mark.parametrize("name", ["out-0004.png", "out-0006.png"])
def test_an_existing_picture_on_the_way_is_known_before_the_run(name, nst, photo, painting, quick):
    Path(name).write_text("mine")
    code, _, err = nst(photo, painting, "-o", "out.png", "--backend", "reference", "--save-every", 2, *quick)
    assert code == 2
    assert f"{name}: exists already" in err
    assert not Path("out-0002.png").exists()
    assert Path(name).read_text() == "mine"


def test_a_forced_run_replaces_an_existing_picture_on_the_way(nst, photo, painting, quick):
    Path("out-0002.png").write_text("mine")
    options = ["--backend", "reference", "--save-every", 2, "--force"]
    assert nst(photo, painting, "-o", "out.png", *options, *quick)[0] == 0
    assert pixels("out-0002.png").shape == (24, 32, 3)


def test_the_names_of_a_long_run_s_pictures_are_of_one_length(nst, photo, painting, quick):
    for name in ("out-00050.png", "out-10000.png"):
        Path(name).touch()
    options = ["--backend", "reference", *quick, "--steps", 10_000, "--save-every", 50]
    code, _, err = nst(photo, painting, "-o", "out.png", *options)
    assert code == 2
    assert "out-00050.png: exists already" in err


@pytest.mark.skipif(sys.platform == "win32", reason="no process is sent such a signal there")
@pytest.mark.parametrize(("name", "asked"), [("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP")])
def test_ctrl_c_and_a_wish_to_end_write_the_image_so_far(name, asked, nst, photo, painting, narrow_file, monkeypatch):
    def interrupt(display, progress):
        show(display, progress)
        if progress.step == 2:
            os.kill(os.getpid(), getattr(signal, name))

    show = Display.__call__
    monkeypatch.setattr(Display, "__call__", interrupt)
    usual = {getattr(signal, name): signal.SIG_DFL} | {signal.SIGINT: signal.default_int_handler}
    # A job in the background ignores one, and `nohup` another.
    before = {each: signal.signal(each, handler) for each, handler in usual.items()}
    code, out, err = nst(
        photo,
        painting,
        "-o",
        "o.png",
        "--backend",
        "reference",
        "--weights",
        narrow_file,
        "--size",
        48,
        "--steps",
        9999,
    )
    assert (code, out) == (0, "o.png\n")
    assert f"stopping after this step and writing the picture; {asked} again to quit without it" in err
    assert "of 9999 steps" in err
    assert pixels("o.png").shape == (36, 48, 3)
    assert {each: signal.signal(each, handler) for each, handler in before.items()} == usual


def test_a_program_may_paint_in_a_thread_of_its_own(nst, photo, painting, quick):
    with ThreadPoolExecutor() as pool:
        done = pool.submit(main, list(map(str, [photo, painting, "-o", "o.png", "--backend", "reference", *quick])))
    assert done.result() == 0
    assert Path("o.png").exists()


def test_who_ignores_a_lost_terminal_goes_on_ignoring_it():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        with Interrupt(print) as interrupt:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupt.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_interrupts_at_once():
    said = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupt(said.append) as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert interrupt.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ["Ctrl-C again to quit" in text for text in said] == [True]


@pytest.mark.parametrize(
    ("steps", "shown"), [(40, [1, *range(4, 41, 4)]), (23, [1, 3, 5, 7, 10, 12, 14, 17, 19, 21, 23])]
)
def test_elsewhere_than_on_a_terminal_some_lines_stand_for_all_steps(steps, shown, nst, photo, painting, quick):
    code, _, err = nst(photo, painting, "-o", "o.png", "--backend", "reference", *quick, "--steps", steps)
    assert code == 0
    assert [int(step) for step in re.findall(rf"step (\d+)/{steps}", err)] == shown
    assert "%|" not in err


def test_a_terminal_has_a_bar_and_messages_on_lines_of_their_own(nst, photo, painting, quick, monkeypatch):
    def told(display, progress):
        show(display, progress)
        if progress.step == 3:
            display.say("something to say")

    show = Display.__call__
    monkeypatch.setattr(Display, "__call__", told)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, _, err = nst(photo, painting, "-o", "o.png", "--backend", "reference", *quick)
    assert code == 0
    assert re.search(r"[\r\n]nst: something to say *\n", err)
    assert re.search(r"100%\|\S+\| step 6/6, 0 s left", err)


def test_strength_moves_from_content_to_style(nst, photo, painting, quick):
    results = {}
    for strength in (0, 0.2, 1):
        nst(
            photo,
            painting,
            "-o",
            f"{strength}.png",
            "--backend",
            "reference",
            "--strength",
            strength,
            *quick,
            "--steps",
            40,
        )
        record = json.loads(nst("info", f"{strength}.png", "--json")[1])
        results[strength] = record["losses"][-1]
    assert results[0]["content"] < results[0.2]["content"] < results[1]["content"]
    assert results[0]["style"] > 2 * max(results[0.2]["style"], results[1]["style"])


def test_the_record_says_what_was_done_and_not_where(nst, photo, painting, quick):
    nst(photo, painting, "-o", "out.png", "--backend", "reference", "--lr", 0.03, *quick)
    code, out, _ = nst("info", "out.png", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["recipe"]["optimizer"]["lr"] == 0.03
    assert record["inputs"]["content"]["name"] == "photo.png"
    assert record["weights"]["name"] == "narrow.safetensors"
    assert record["weights"]["preprocessing"] == "caffe"
    assert len(record["losses"]) == 6
    assert str(photo.parent) not in out


def test_a_rerun_of_a_run_that_numbers_ended_ends_as_that_did(nst, photo, painting, quick, backend_name):
    options = ["--backend", backend_name, *quick, "--recipe", "pytorch-blog", "--lr", 1e20]
    assert nst(photo, painting, "-o", "out.png", *options)[0] == 1
    code, _, err = nst("rerun", "out.png", "--content", photo, "--style", painting, "--weights", quick[1])
    assert code == 1, err
    np.testing.assert_array_equal(pixels("out-rerun.png"), pixels("out.png"))
    assert "not finite at step 2" in images.read_record("out-rerun.png")["stopped"]


def test_a_rerun_takes_the_weights_that_it_were_among_files_of_one_name(nst, photo, painting, quick, narrow_weights):
    folder = Path("folder")
    folder.mkdir()
    shutil.copy(quick[1], Path(quick[1]).name)
    assert nst(photo, painting, "-o", folder / "out.png", "--backend", "reference", *quick)[0] == 0
    others = {name: array + 1 for name, array in narrow_weights.arrays.items()}
    weight_files.write(folder / Path(quick[1]).name, others, {})
    code, _, err = nst("rerun", folder / "out.png", "--content", photo, "--style", painting)
    assert code == 0, err


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_rerun_repeats_the_picture(nst, photo, painting, quick, suffix):
    extra = ["--init", photo, "--recipe", "gatys2016"] if suffix == "jpg" else []
    assert nst(photo, painting, "-o", f"out.{suffix}", "--backend", "reference", *extra, *quick)[0] == 0
    code, _, err = nst("rerun", f"out.{suffix}")
    assert code == 2
    assert "the content image 'photo.png' is not beside" in err
    assert "--content FILE" in err
    moved = ["--content", photo, "--style", painting, "--weights", quick[1], *(["--start", photo] if extra else [])]
    code, out, err = nst("rerun", f"out.{suffix}", *moved)
    assert (code, out) == (0, f"out-rerun.{suffix}\n"), err
    np.testing.assert_array_equal(pixels(f"out-rerun.{suffix}"), pixels(f"out.{suffix}"))


def test_a_section_that_is_set_leaves_what_another_has_set(nst, photo, painting, quick):
    options = ["--backend", "reference", "--set", "optimizer={history=3}", "--set", "optimizer={lr=0.5}", *quick]
    assert nst(photo, painting, "-o", "out.png", *options)[0] == 0
    optimizer = images.read_record("out.png")["recipe"]["optimizer"]
    assert (optimizer["history"], optimizer["lr"]) == (3, 0.5)


def test_a_rerun_of_what_began_from_no_image_of_its_own_takes_none(nst, photo, painting, quick):
    assert nst(photo, painting, "-o", "out.png", "--backend", "reference", *quick)[0] == 0
    code, _, err = nst("rerun", "out.png", "--content", photo, "--start", photo)
    assert (code, err) == (2, "nst: --start: expected none, since init.kind of out.png is 'content', not 'file'\n")


def test_a_rerun_blends_the_same_style_images(nst, photo, painting, quick):
    other = photo.with_name("other.png")
    Image.fromarray(to_uint8(smooth_image(20, 30, 9))).save(other)
    options = ["--backend", "reference", "--style-blend", "1,3", *quick]
    assert nst(photo, painting, other, *options)[:2] == (0, "photo-painting-other.png\n")
    recorded = json.loads(nst("info", "photo-painting-other.png", "--json")[1])
    assert [one["name"] for one in recorded["inputs"]["more_styles"]] == ["other.png"]
    assert recorded["recipe"]["style"]["blend"] == [1, 3]
    moved = ["--content", photo, "--weights", quick[1], "-o", "again.png"]
    code, _, err = nst("rerun", "photo-painting-other.png", *moved, "--style", painting)
    assert (code, err) == (2, "nst: --style: expected 2, one for each style image, received 1\n")
    code, _, err = nst("rerun", "photo-painting-other.png", *moved)
    assert (code, "painting.jpg" in err, "of several style images, each takes one" in err) == (2, True, True)
    code, _, err = nst("rerun", "photo-painting-other.png", *moved, "--style", other, "--style", painting)
    assert code == 2
    assert "style image painting.jpg: expected the recorded SHA-256" in err
    assert nst("rerun", "photo-painting-other.png", *moved, "--style", painting, "--style", other)[0] == 0
    np.testing.assert_array_equal(pixels("again.png"), pixels("photo-painting-other.png"))


def test_a_rerun_keeps_what_was_asked_for_over_what_the_recipe_adapts(nst, photo, painting, backend_name):
    options = ["--backend", backend_name, "--weights", "random", "--size", 32, "--steps", 2, "--beta", 5]
    assert nst(photo, painting, "-o", "out.png", *options)[0] == 0
    assert nst("rerun", "out.png", "--content", photo, "--style", painting)[0] == 0
    first, again = (json.loads(nst("info", name, "--json")[1]) for name in ("out.png", "out-rerun.png"))
    assert first["recipe"]["beta"] == 5
    assert first["recipe"]["content"]["taps"] == {"relu1_2": 0.5, "relu2_2": 0.5}
    assert again == first


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({}, 0, ""),
        ({"precision": None, "fast": None}, 0, ""),
        ({"device": "mps"}, 2, "on this machine: received 'mps'"),
    ],
    ids=["as recorded", "from before precisions", "on another device"],
)
def test_a_rerun_computes_as_the_record_says(nst, photo, painting, quick, framework, changed, code, message):
    nst(photo, painting, "-o", "out.png", "--backend", framework, "--dtype", "float64", *quick)
    record = images.read_record("out.png")
    machine = record["backend"] | changed
    record["backend"] = {key: value for key, value in machine.items() if value is not None}
    images.write("out.png", pixels("out.png"), record, force=True)
    moved = ["--content", photo, "--style", painting, "--weights", quick[1]]
    found, _, err = nst("rerun", "out.png", *moved)
    assert found == code, err
    assert message in err
    if not code:
        again = images.read_record("out-rerun.png")["backend"]
        assert (again["dtype"], again["fast"]) == ("float64", True)


@pytest.mark.parametrize(
    ("tile", "threads", "options", "expected"),
    [
        (64, 2, [], {"tile": 64, "threads": 2}),
        (None, 3, [], {}),
        (64, 2, ["--tile", "off", "--threads", 1], {"tile": "off", "threads": 1}),
    ],
    ids=["as recorded", "as many as there are", "otherwise"],
)
def test_a_rerun_computes_in_as_many_threads_and_the_same_tiles(
    tile, threads, options, expected, nst, photo, painting, quick, monkeypatch
):
    nst(photo, painting, "-o", "out.png", "--backend", "reference", *quick)
    record = images.read_record("out.png") | {"tile": tile}
    record["backend"]["switches"] = {"threads": threads}
    images.write("out.png", pixels("out.png"), record, force=True)
    given = {}
    monkeypatch.setattr(cpu, "count", lambda: 3)
    monkeypatch.setattr(
        api,
        "prepare",
        lambda *images, prepare=api.prepare, **how: (
            given.update(how) or prepare(*images, **how | {"tile": "auto", "threads": None})
        ),
    )
    moved = ["--content", photo, "--style", painting, "--weights", quick[1]]
    assert nst("rerun", "out.png", *moved, *options)[0] == 0
    assert {name: given[name] for name in ("tile", "threads") if name in given} == expected


def test_a_rerun_rounds_as_the_api_was_asked_to(nst, photo, painting, quick, monkeypatch):
    result = api.stylize(photo, painting, "reference", weights=str(quick[1]), size=32, steps=1, fast=False)
    assert result.record["backend"]["fast"] is False
    machine = result.record["backend"] | {"switches": {"deterministic": True}}
    images.write("out.png", result.image, {**result.record, "backend": machine})
    given = {}
    prepare = api.prepare
    monkeypatch.setattr(api, "prepare", lambda *images, **how: given.update(how) or prepare(*images, **how))
    moved = ["--content", photo, "--style", painting, "--weights", quick[1]]
    assert nst("rerun", "out.png", *moved)[0] == 0
    assert {name: given[name] for name in ("fast", "deterministic")} == {"fast": False, "deterministic": True}


def test_a_rerun_that_computes_otherwise_says_so(nst, photo, painting, quick, framework):
    nst(photo, painting, "-o", "out.png", "--backend", "reference", *quick, "--preprocessing", "caffe")
    moved = ["--content", photo, "--style", painting, "--weights", quick[1], "--force"]
    assert "computed otherwise" not in nst("rerun", "out.png", *moved)[2]
    record = images.read_record("out.png")
    now = record["backend"]["versions"]["numpy"]
    record["backend"]["versions"]["numpy"] = "1.0"
    record["backend"]["switches"]["winograd"] = True
    images.write("out.png", pixels("out.png"), record, force=True)
    code, _, err = nst("rerun", "out.png", *moved)
    assert code == 0
    assert "details may differ from out.png, since it was computed otherwise: " in err
    assert f"versions.numpy ({now} against 1.0)" in err
    assert "switches.winograd (None against True)" in err
    code, _, err = nst("rerun", "out.png", *moved, "--backend", framework, "--quiet")
    assert (code, err) == (0, "")
    assert images.read_record("out-rerun.png")["backend"]["name"] == framework


def test_a_rerun_keeps_as_few_pairs_of_lbfgs_as_memory_left(nst, photo, painting, quick):
    nst(photo, painting, "-o", "out.png", "--backend", "reference", *quick)
    images.write("out.png", pixels("out.png"), images.read_record("out.png") | {"history": 3}, force=True)
    moved = ["--content", photo, "--style", painting, "--weights", quick[1]]
    code, _, err = nst("rerun", "out.png", *moved)
    assert code == 0
    assert "out.png: memory cut L-BFGS down to 3 pairs" in err
    assert images.read_record("out-rerun.png")["recipe"]["optimizer"]["history"] == 3


def test_a_rerun_says_that_memory_made_the_tiles_smaller_on_the_way(nst, photo, painting, quick, framework):
    nst(photo, painting, "-o", "out.png", "--backend", framework, *quick)
    record = images.read_record("out.png")
    assert "tiles" not in record
    images.write("out.png", pixels("out.png"), record | {"tile": 32, "tiles": [None, 64, 32]}, force=True)
    moved = ["--content", photo, "--style", painting, "--weights", quick[1], "--force"]
    said = "out.png: computed in several tiles in turn (none, 64 px, 32 px), here in the last alone; details may differ"
    assert said in nst("rerun", "out.png", *moved)[2]
    assert images.read_record("out-rerun.png")["tile"] == 32
    for options in (["--size", 33], ["--tile", "off"]):
        code, _, err = nst("rerun", "out.png", *moved, *options)
        assert (code, "in turn" in err) == (0, False)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_rerun_finds_an_input_whose_name_is_no_utf8(nst, photo, painting, quick):
    Path("caf\udce9.png").write_bytes(photo.read_bytes())
    assert nst("caf\udce9.png", painting, "-o", "out.png", "--backend", "reference", *quick)[0] == 0
    code, _, err = nst("rerun", "out.png", "--style", painting, *quick[:2])
    assert code == 0, err
    np.testing.assert_array_equal(pixels("out-rerun.png"), pixels("out.png"))


def test_the_photos_colours_can_be_kept_and_are_in_a_rerun(nst, photo, painting, quick, backend_name):
    options = ["--colours", "content", "--save-every", 3, "--backend", backend_name, *quick]
    assert nst(photo, painting, "-o", "out.png", *options)[0] == 0
    content = np.asarray(Image.open(photo).convert("RGB").resize((32, 24), Image.Resampling.BICUBIC)) / 255.0
    for name in ("out.png", "out-0003.png"):
        painted = pixels(name)
        inside = ((painted > 0.01) & (painted < 0.99)).all(axis=2)
        for one, other in ((0, 2), (1, 2)):  # differences of channels are colour alone
            difference = (painted[..., one] - painted[..., other]) - (content[..., one] - content[..., other])
            assert np.abs(difference[inside]).max() < 0.02
    assert nst("rerun", "out.png", "--content", photo, "--style", painting, "--weights", quick[1])[0] == 0
    np.testing.assert_array_equal(pixels("out-rerun.png"), pixels("out.png"))


def test_a_rerun_may_paint_another_size(nst, photo, painting, quick):
    own = ["--set", "scales=[{fraction=1.0, steps=2, factor=0.5, smallest=32}]", "--lr", 0.03]
    nst(photo, painting, "-o", "small.png", "--backend", "reference", *quick[:2], "--size", 32, *own)
    small = images.read_record("small.png")
    cut = {"tile": 64, "history": 3, "steps": 1, "stopped": "on request"}
    images.write("small.png", pixels("small.png"), small | cut, force=True)
    nst(photo, painting, "-o", "large.png", "--backend", "reference", *quick[:2], "--size", 64, *own)
    moved = ["--content", photo, "--style", painting, "--weights", quick[1]]
    code, _, err = nst("rerun", "small.png", *moved, "--size", 64, "-o", "again.png")
    assert code == 0, err
    np.testing.assert_array_equal(pixels("again.png"), pixels("large.png"))
    again, large = (images.read_record(f"{name}.png") for name in ("again", "large"))
    assert again["recipe"] == large["recipe"]
    assert (again["steps"], again["stopped"]) == (4, None)


def test_a_rerun_takes_the_file_that_it_was_among_those_of_its_name(nst, photo, painting, quick):
    nst(photo, painting, "-o", "out.png", "--backend", "reference", *quick)
    Path("elsewhere").mkdir()
    Path("out.png").rename("elsewhere/out.png")
    shutil.copy(painting, "elsewhere/photo.png")
    shutil.copy(photo, "photo.png")
    code, _, err = nst("rerun", "elsewhere/out.png", "--style", painting, "--weights", quick[1])
    assert code == 0, err
    Path("photo.png").unlink()
    code, _, err = nst("rerun", "elsewhere/out.png", "--style", painting, "--weights", quick[1], "--force")
    assert code == 2
    assert re.search(
        r"content image photo.png: expected .*, received photo.png with \w+; --content FILE says where it is$",
        err.strip(),
    )


def test_a_rerun_refuses_other_inputs(nst, photo, painting, quick):
    nst(photo, painting, "-o", "out.png", "--backend", "reference", *quick)
    code, _, err = nst("rerun", "out.png", "--content", painting, "--style", painting, "--weights", quick[1])
    assert code == 2
    assert "content image photo.png: expected the recorded SHA-256" in err
    code, _, err = nst("rerun", "out.png", "--content", photo, "--style", painting, "--weights", "random")
    assert code == 2
    assert "weights narrow.safetensors: expected the recorded SHA-256" in err


def test_a_rerun_takes_the_weights_it_is_given(nst, photo, painting, quick):
    options = ["--backend", "reference", "--size", 32, "--steps", 0, "--weights", "random"]
    assert nst(photo, painting, "-o", "out.png", *options)[0] == 0
    code, _, err = nst("rerun", "out.png", "--content", photo, "--style", painting, "--weights", quick[1])
    assert code == 2
    assert "weights random: expected the recorded SHA-256" in err


def test_info_says_in_short_what_made_a_picture(nst, photo, painting, quick):
    nst(photo, painting, "-o", "out.png", "--backend", "reference", "--lr", 0.03, *quick)
    code, out, _ = nst("info", "out.png")
    lines = out.splitlines()
    assert code == 0
    assert {"recipe.optimizer.lr = 0.03", "inputs.content.name = photo.png", "steps = 6", "stopped = -"} < set(lines)
    losses = [line.partition(" = ")[0] for line in lines if line.startswith("losses of the last step.")]
    weighed = ["content (times recipe.alpha)", "style (times recipe.beta)", "total", "tv (times recipe.tv.weight)"]
    assert losses == [f"losses of the last step.{name}" for name in weighed]
    assert not any(line.startswith("recipe.note") for line in lines)


def test_time_and_speed_are_those_of_the_work_since_the_first_step(monkeypatch):
    # Two steps took 4 s and a fifth of the work; three fifths are left.
    monkeypatch.setattr(time, "perf_counter", iter([10.0, 14.0, 14.0]).__next__)
    display = Display.__new__(Display)
    display.first = None
    assert display._speed(SimpleNamespace(step=1, work=0.2)) == ""
    assert display._speed(SimpleNamespace(step=3, work=0.4)) == ", 12 s left, 0.5 steps/s"
    assert display._speed(SimpleNamespace(step=3, work=0.2 + 0.8 / 3601)) == ", 4.0 h left, 0.5 steps/s"


def test_no_step_is_held_by_what_shows_it(monkeypatch):
    # A step can fetch its image, and so holds its scale's network and targets.
    display = Display.__new__(Display)
    display.first = None
    step = Progress(1, 2, 1, 1, 8, 8, losses=None, work=0.2, image=lambda: None)
    held = weakref.ref(step)
    display._speed(step)
    del step
    assert held() is None


def test_terms_are_shown_as_they_are_weighed_and_time_from_the_second_step(nst, photo, painting, quick):
    _, _, err = nst(photo, painting, "-o", "out.png", "--backend", "reference", *quick)
    first, *others = (line for line in err.splitlines() if " step " in line)
    assert "s left" not in first
    assert others
    assert all("s left" in line for line in others)
    for line in (first, *others):
        total, terms = re.search(r"loss (\S+) \((.*?)\)", line).groups()
        parts = [float(term.split()[1]) for term in terms.split(" + ")]
        assert sum(parts) == pytest.approx(float(total), rel=0.01)


@pytest.mark.parametrize(
    ("recipe", "options", "changed"),
    [
        ("gatys2016", ["--weights", "embedded"], "alpha, beta, content.taps.relu3_2, content.taps.relu4_2"),
        ("gatys2016", ["--weights", "embedded", "--beta", "1e7"], "content.taps.relu3_2, content.taps.relu4_2"),
        (
            "tf-eager2018",
            ["--weights", "embedded", "--optimizer", "lbfgs"],
            "alpha, beta, content.taps.relu3_2, content.taps.relu5_2",
        ),
        ("gatys2016", ["--weights", "random"], None),
        ("udacity2018", ["--weights", "embedded"], None),
        ("default", ["--weights", "embedded"], None),
    ],
)
def test_a_published_recipe_says_what_it_changes_for_a_weight_set(nst, photo, painting, recipe, options, changed):
    options += ["--backend", "reference", "--size", 32, "--steps", 1]
    code, _, err = nst(photo, painting, "-o", "out.png", "--recipe", recipe, *options)
    assert code == 0, err
    said = re.search(r"it changes (.*)", err)
    assert (said and said[1]) == changed


def test_a_picture_without_a_record(nst, photo):
    for command in ("info", "rerun"):
        code, _, err = nst(command, photo)
        assert code == 2
        assert "photo.png: carries no record" in err


def test_the_demo_needs_nothing(nst, backend_name, narrow_file):
    code, out, err = nst("demo", "--backend", backend_name, "--weights", narrow_file, "--steps", 3, "--size", 64)
    assert (code, out) == (0, "nst-demo.png\n"), err
    assert pixels("nst-demo.png").shape == (48, 64, 3)


def test_the_demo_says_loudly_that_its_weights_are_not_the_pretrained_ones(nst):
    code, _, err = nst("demo", "--backend", "reference", "--steps", 1, "--size", 32)
    assert code == 0
    assert "WARNING" in err
    assert "'embedded'" in err


def test_the_demo_takes_any_recipe_without_network(nst):
    code, _, err = nst("demo", "--backend", "reference", "--steps", 1, "--size", 32, "--recipe", "gatys2016")
    assert (code, Path("nst-demo.png").exists()) == (0, True), err
    assert "WARNING: using the weights 'embedded' instead of 'caffe'" in err
    Path("mine.toml").write_text('based_on = "gatys2016"\nweights = "random"\npreprocessing = "caffe"\n')
    for asked in (["--set", "weights=random"], ["--recipe", "mine.toml"]):
        code, _, err = nst("demo", "--backend", "reference", "--steps", 1, "--size", 32, "--force", *asked)
        assert (code, "weights random" in err, "WARNING" in err) == (0, True, False), err


def test_a_jpeg_has_its_record_beside_it(nst, photo, painting, quick):
    assert nst(photo, painting, "-o", "out.jpg", "--backend", "reference", *quick)[0] == 0
    assert json.loads(Path("out.jpg.json").read_text()) == json.loads(nst("info", "out.jpg", "--json")[1])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_written_and_written_again(nst, photo, painting, quick, suffix):
    options = ["--backend", "reference", "--bits", 16, "--save-every", 3]
    code, out, _ = nst(photo, painting, "-o", f"out.{suffix}", *options, *quick)
    assert (code, out) == (0, f"out.{suffix}\n")
    deep = images.read(f"out.{suffix}").pixels
    on_the_way = images.read(f"out-0003.{suffix}").pixels
    for found in (deep, on_the_way):
        np.testing.assert_array_equal(found * 65535, np.round(found * 65535))
        assert np.abs(found * 255 - np.round(found * 255)).max() > 0.4
    assert json.loads(nst("info", f"out.{suffix}", "--json")[1])["bits"] == 16
    moved = ["--content", photo, "--style", painting, "--weights", quick[1]]
    for target, expected in ((f"out-rerun.{suffix}", deep), ("again.bmp", np.round(deep * 255) / 255)):
        assert nst("rerun", f"out.{suffix}", *moved, "-o", target)[0] == 0
        np.testing.assert_allclose(images.read(target).pixels, expected, rtol=0, atol=1e-15)
    assert nst("rerun", f"out.{suffix}", *moved, "-o", "shallow.png", "--bits", 8)[0] == 0
    np.testing.assert_array_equal(pixels("shallow.png"), images.read("again.bmp").pixels)


def test_a_jpeg_of_16_bits_is_refused_before_the_run(nst, photo, painting):
    code, _, err = nst(photo, painting, "-o", "out.jpg", "--bits", 16)
    assert code == 2
    assert err == "nst: out.jpg: bits a channel (16 need a PNG or TIFF): received 16; accepted: 8\n"


def test_a_large_tiff_is_printed_with_its_preview(nst, photo, painting, quick, monkeypatch):
    monkeypatch.setattr(images.writing, "LARGE", 24 * 32 - 1)
    code, out, _ = nst(photo, painting, "-o", "out.tif", "--backend", "reference", *quick)
    assert (code, out) == (0, "out.tif\nout-preview.jpg\n")
    assert images.read("out-preview.jpg").pixels.shape == (1536, 2048, 3)
    code, _, err = nst(photo, painting, "-o", "out.tif", "--backend", "reference", *quick)
    assert code == 2
    assert "exists already" in err


MISTAKES = {
    "missing.jpg": "missing.jpg: no such file",
    "folder.jpg": "folder.jpg: is a directory",
    "text.jpg": "text.jpg: is not an image",
    "half.png": "half.png: is truncated",
    "empty.png": "empty.png: the file is empty",
    "strip.png": "strip.png: 32 x 2 px is too small: it takes at least 16 px a side for relu5_1",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_an_input_that_cannot_work_gets_one_line(nst, painting, quick, name):
    Path("folder.jpg").mkdir()
    Path("text.jpg").write_text("hello")
    Image.fromarray(to_uint8(smooth_image(64, 64, 1))).save("whole.png")
    Path("half.png").write_bytes(Path("whole.png").read_bytes()[:2000])
    Path("empty.png").touch()
    Image.new("RGB", (160, 10)).save("strip.png")
    code, out, err = nst(name, painting, "-o", "out.png", "--backend", "reference", *quick)
    assert (code, out) == (2, "")
    assert MISTAKES[name] in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("out.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "nowhere/out.png"], "the folder nowhere does not exist"),
        (["-o", "out.xyz"], "suffix: received '.xyz'; accepted: .png, .jpg"),
        (["--backend", "jax"], "backend: received 'jax'; accepted: reference, tf, torch"),
        (["--device", "tpu"], "device: received 'tpu'; accepted: auto, cpu, cuda, mps"),
        (["--dtype", "float16"], "dtype: received 'float16'; accepted: float32, float64"),
        (["--recipe", "gatys"], "recipe: received 'gatys'; accepted: default, dye2023"),
        (
            ["--set", "optimizer.speed=3"],
            "received 'optimizer.speed'; accepted: optimizer.kind, optimizer.lr",
        ),
        (["--set", "lr"], "expected key=value"),
        (["--clamp", "often"], "clamp: "),
        (["--steps", "-3"], "steps: expected a whole number"),
        (["--weights", "vgg16"], "vgg16"),
        (["--weights", "torchvision", "--offline"], "vgg19-dcbb9e9d.pth"),
        (["--init", "file"], "init: received 'file'; accepted: content, style, noise, an image FILE"),
        (["--threads", "0"], "threads: expected 1 to 4096, received 0"),
    ],
)
def test_a_mistake_in_the_options_gets_one_line(nst, photo, painting, arguments, message):
    code, out, err = nst(photo, painting, "--backend", "reference", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_debug_shows_the_traceback_and_changes_no_exit_code(capsys):
    assert main(["--debug", "nowhere.png", "nowhere.png"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("nst: nowhere.png: no such file\n")


def test_help_and_version_are_quick_and_import_nothing_heavy():
    code = (
        "import sys, nst.cli; assert nst.cli.main(['--help']) == 0; "
        "print({'numpy', 'pydantic', 'PIL', 'torch', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")
    assert "nst CONTENT STYLE" in done.stdout


@pytest.mark.parametrize("beta", [1e200, 1e300])
@pytest.mark.parametrize(("result", "what"), [("last", "last good image"), ("best", "best image so far")])
def test_an_exploding_run_writes_the_picture_it_kept_and_says_which(result, what, nst, photo, painting, quick, beta):
    wild = ["--result", result]
    wild += ["--optimizer", "sgd", "--lr", 1e30, "--beta", beta, "--clamp", "none", "--no-guard", "--save-every", 1]
    code, out, err = nst(photo, painting, "-o", "out.png", "--backend", "reference", *quick, *wild)
    assert (code, out) == (1, "out.png\n")
    assert f"this is the {what}" in err
    assert "the run goes on" not in err
    assert np.isfinite(pixels("out.png")).all()


def test_a_picture_on_the_way_has_its_record(nst, photo, painting, quick):
    nst(photo, painting, "-o", "out.png", "--backend", "reference", "--save-every", 4, "--bits", 16, *quick)
    record = json.loads(nst("info", "out-0004.png", "--json")[1])
    assert (record["steps"], record["inputs"]["style"]["name"], record["bits"]) == (4, "painting.jpg", 16)
    code, _, err = nst("rerun", "out-0004.png")
    assert code == 2
    assert "saved on the way to another picture; rerun that one, with --save-every 4" in err


def test_quiet_still_warns(nst, photo, painting):
    arguments = ["--backend", "reference", "--size", 32, "--steps", 0, "--quiet", "-o", "out.png"]
    code, _, err = nst(photo, painting, *arguments)
    assert code == 0
    assert "WARNING: using the weights 'embedded'" in err
    assert len(err.strip().splitlines()) == 1


def test_the_demo_downloads_nothing(nst):
    code, out, err = nst("demo", "--backend", "reference", "--weights", "caffe")
    assert (code, out) == (2, "")
    assert err == "nst: --weights caffe: the demo downloads nothing; nst weights fetch caffe\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory; a smaller --size needs less"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory; a smaller --size needs less"),
        (RuntimeError("OOM when allocating tensor"), "out of memory; a smaller --size needs less"),
        (RuntimeError("Out of memory"), "out of memory; a smaller --size needs less"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/ROOM-7/x.png"),
            "/data/ROOM-7/x.png: Permission denied",
        ),
    ],
)
def test_what_ran_out_is_told_from_what_is_called_so(error, said, nst, photo, painting, monkeypatch):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("nst.api.prepare", fail)
    assert nst(photo, painting) == (2, "", f"nst: {said}\n")


def test_a_name_is_no_want_of_memory(nst, photo, painting, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("ROOM-7 is locked")

    monkeypatch.setattr("nst.api.prepare", fail)
    code, _, err = nst(photo, painting)
    assert (code, err) == (70, "nst: internal error: RuntimeError: ROOM-7 is locked (--debug shows where)\n")


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {"fast": True, "deterministic": None}),
        (["--no-fast"], {"fast": False, "deterministic": None}),
        (["--fast", "--deterministic"], {"fast": True, "deterministic": True}),
    ],
)
def test_a_picture_may_be_computed_as_exactly_as_it_is_judged(
    options, asked, nst, photo, painting, quick, framework, monkeypatch
):
    given, prepare = {}, api.prepare
    monkeypatch.setattr(
        api, "prepare", lambda *inputs, **keywords: given.update(keywords) or prepare(*inputs, **keywords)
    )
    assert nst(photo, painting, "-o", "out.png", *quick, "--backend", framework, *options)[0] == 0
    assert {name: given.get(name) for name in asked} == asked
    assert json.loads(nst("info", "out.png", "--json")[1])["backend"]["fast"] is asked["fast"]


def test_the_demo_takes_settings(nst, narrow_file):
    options = ["--backend", "reference", "--weights", narrow_file, "--set", "size.pixels=32", "--set", "steps=2"]
    assert nst("demo", *options)[0] == 0
    assert pixels("nst-demo.png").shape == (24, 32, 3)
    assert json.loads(nst("info", "nst-demo.png", "--json")[1])["steps"] == 2
    assert nst("rerun", "nst-demo.png", "--weights", narrow_file)[0] == 0
    np.testing.assert_array_equal(pixels("nst-demo-rerun.png"), pixels("nst-demo.png"))


@pytest.mark.parametrize("which", ["content", "style", "other style", "init"])
def test_an_input_is_never_replaced(nst, photo, painting, quick, which):
    start, other = (photo.with_name(name) for name in ("start.png", "other.png"))
    for copy in (start, other):
        Image.open(painting).save(copy)
    target = {"content": photo, "style": painting, "other style": other, "init": start}[which]
    before = target.read_bytes()
    options = ["--backend", "reference", "--force", "--init", start]
    code, _, err = nst(photo, painting, other, *quick, *options, "-o", target)
    assert code == 2
    assert "is one of this command's own inputs" in err
    assert target.read_bytes() == before


def test_nor_is_one_by_a_picture_on_the_way(nst, photo, painting, quick):
    taken = photo.with_name("out-0004.png")
    photo.rename(taken)
    before = taken.read_bytes()
    options = ["--backend", "reference", "--force", "--save-every", 2, "-o", taken.with_name("out.png")]
    code, _, err = nst(taken, painting, *quick, *options)
    assert code == 2
    assert "out-0004.png: is one of this command's own inputs" in err
    assert taken.read_bytes() == before


def test_nor_is_one_by_a_preview(nst, photo, painting, quick, monkeypatch):
    monkeypatch.setattr(images.writing, "LARGE", 24 * 32 - 1)
    taken = photo.with_name("out-preview.jpg")
    photo.rename(taken)
    before = taken.read_bytes()
    options = ["--backend", "reference", "--force", "-o", taken.with_name("out.tif")]
    code, _, err = nst(taken, painting, *quick, *options)
    assert code == 2
    assert "out-preview.jpg: is one of this command's own inputs" in err
    assert taken.read_bytes() == before


@pytest.mark.parametrize("which", ["content", "style", "weights", "picture"])
def test_nor_does_a_rerun_replace_what_it_finds_by_itself(nst, photo, painting, quick, which):
    files = {"content": Path(photo.name), "style": Path(painting.name), "weights": Path("weights.png")}
    for source, file in zip((photo, painting, quick[1]), files.values(), strict=True):
        file.write_bytes(Path(source).read_bytes())
    options = ["--backend", "reference", "-o", "out.png", "--size", 32, "--steps", 2, "--weights", quick[1]]
    assert nst(files["content"], files["style"], *options)[0] == 0
    target = {**files, "picture": Path("out.png")}[which]
    if which == "weights":
        target = Path(quick[1]).with_suffix(".png")
        target.symlink_to(quick[1])
    before = target.read_bytes()
    code, _, err = nst("rerun", "out.png", "-o", target, "--force", "--weights", quick[1])
    assert code == 2
    assert "is one of this command's own inputs" in err
    assert target.read_bytes() == before


def test_nor_a_file_that_a_recipe_names(nst, photo, painting, quick):
    Path("start.png").write_bytes(photo.read_bytes())
    Path("mine.toml").write_text('source = "me"\nbased_on = "gatys2016"\ninit = {kind = "file", file = "start.png"}\n')
    options = ["--force", "--recipe", "mine.toml", "--backend", "reference"]
    code, _, err = nst(photo, painting, "-o", "start.png", *options, *quick)
    assert code == 2
    assert "start.png: is one of this command's own inputs" in err
    assert Path("start.png").read_bytes() == photo.read_bytes()


def test_a_rerun_may_multiply_otherwise(nst, photo, painting, quick, backend_name):
    assert nst(photo, painting, "-o", "out.png", "--precision", "fp32", "--backend", backend_name, *quick)[0] == 0
    record = images.read_record("out.png")
    record["backend"]["precision"] = "tf32"
    images.write("gpu.png", pixels("out.png"), record)
    moved = ["--content", photo, "--style", painting, "--weights", quick[1]]
    code, _, err = nst("rerun", "gpu.png", *moved)
    assert code == 2
    assert "precision tf32: expected device cuda, received cpu; use --precision fp32" in err
    assert nst("rerun", "gpu.png", *moved, "--precision", "fp32")[0] == 0
    np.testing.assert_array_equal(pixels("gpu-rerun.png"), pixels("out.png"))


def piped(command, tmp_path, **options):
    return subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, **options)


@pytest.mark.skipif(os.name != "posix", reason="takes a shell")
def test_a_reader_that_has_gone_is_no_error(photo, painting, tmp_path, quick):
    nst = f"{shlex.quote(sys.executable)} -m nst"
    for command in ("recipes --json", "weights list", "recipes show default", "--help", "--version", "stylize -h"):
        assert piped(f"{nst} {command} | true; exit ${{PIPESTATUS[0]}}", tmp_path).returncode == 0, command
    words = " ".join(shlex.quote(str(word)) for word in (photo, painting, "-o", "out.png", *quick))
    run = piped(f"{nst} {words} --backend reference 2>&1 | head -1; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert run.returncode == 0
    assert run.stdout.startswith("nst: narrow.safetensors does not say")
    assert pixels(tmp_path / "out.png").shape == (24, 32, 3)


@pytest.mark.skipif(os.name != "posix", reason="takes a shell")
def test_a_picture_may_come_through_a_pipe(photo, painting, tmp_path, quick):
    words = " ".join(shlex.quote(str(word)) for word in (painting, "-o", "out.png", *quick))
    run = piped(
        f"cat {shlex.quote(str(photo))} | {shlex.quote(sys.executable)} -m nst /dev/stdin {words} --backend reference",
        tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert images.read_record(tmp_path / "out.png")["inputs"]["content"]["sha256"] == images.read(photo).sha256


def test_what_a_terminal_cannot_show_is_escaped(photo, painting, tmp_path, quick):
    named = photo.with_name("ü 日本.png")
    photo.rename(named)
    words = [str(word) for word in (named, painting, "-o", "out.png", "--backend", "reference", *quick)]
    environment = os.environ | {"PYTHONIOENCODING": "latin1"}
    for arguments in (words, ["info", "out.png"]):
        run = subprocess.run(
            [sys.executable, "-m", "nst", *arguments], cwd=tmp_path, env=environment, capture_output=True
        )
        assert run.returncode == 0, run.stderr
    assert "ü \\u65e5\\u672c.png".encode("latin1") in run.stdout


def test_the_record_of_a_foreign_picture_moves_no_cursor(nst, photo):
    record = {"note": {"\x1b[2Jkey": "\x1b]0;title\x07 straße"}, "width": 64, "height": 48}
    images.write("foreign.png", pixels(photo), record)
    code, out, _ = nst("info", "foreign.png")
    assert code == 0
    assert r"note.\x1b[2Jkey = \x1b]0;title\x07 straße" in out


def test_the_line_of_a_step_begins_with_what_a_waiting_person_wants(nst, photo, painting, quick):
    _, _, err = nst(photo, painting, "-o", "out.png", "--backend", "reference", *quick)
    assert re.search(r"^nst: step 6/6, \d+ s left, [\d.e+]+ steps/s, 32x24, loss [\d.]+ \(content ", err, re.MULTILINE)


def test_a_picture_that_cannot_be_saved_after_all_is_kept_elsewhere(nst, photo, painting, quick, monkeypatch, tmp_path):
    import tempfile

    from nst_spec.errors import NstError

    write = images.write

    def full(path, *arguments, **options):
        if str(path) == "out.jpg":
            raise NstError("out.jpg: cannot be written: No space left on device")
        write(path, *arguments, **options)

    monkeypatch.setattr(images, "write", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, _, err = nst(photo, painting, "-o", "out.jpg", "--backend", "reference", *quick)
    assert code == 2
    rescued = err.strip().rpartition("; the picture is in ")[2]
    assert rescued.startswith(str(tmp_path))
    assert pixels(rescued).shape == (24, 32, 3)
    assert images.read_record(rescued)["width"] == 32


def test_a_picture_that_its_format_cannot_hold_is_refused_before_the_first_step(nst, painting, quick, tmp_path):
    Image.new("RGB", (8200, 32), "teal").save(tmp_path / "wide.png")
    taps = ["--content-taps", "relu1_1", "--style-taps", "relu1_1", "--size", 16400]
    code, out, err = nst(tmp_path / "wide.png", painting, "-o", "out.webp", "--backend", "reference", *quick, *taps)
    assert (code, out) == (2, "")
    assert re.search(r"^nst: out\.webp: 16400 x 64 px, but WEBP takes 16383 px a side", err, re.MULTILINE)
    assert "step" not in err


def test_a_record_of_another_picture_is_refused(nst, photo, painting, quick):
    nst(photo, painting, "-o", "out.jpg", "--backend", "reference", *quick)
    Image.open(photo).save("out.jpg")
    code, _, err = nst("info", "out.jpg")
    assert code == 2
    assert "its record is another picture's, which had 32 x 24 px; this one has 64 x 48 px" in err


def test_a_set_weight_set_is_the_weights_option(nst, photo, painting):
    options = ["--backend", "reference", "--size", 32, "--steps", 0, "-o", "out.png"]
    for extra in (["--set", "weights=random"], ["--weights", "random", "--set", "weights=torchvision", "--force"]):
        assert nst(photo, painting, *options, *extra)[0] == 0
        record = json.loads(nst("info", "out.png", "--json")[1])
        assert (record["weights"]["name"], record["weights"]["preprocessing"]) == ("random", "caffe")


def test_a_picture_on_the_way_that_cannot_be_written_does_not_end_the_run(nst, photo, painting, quick, monkeypatch):
    from nst_spec.errors import NstError

    write = images.write

    def full(path, *arguments, **options):
        if "0002" in str(path):
            raise NstError(f"{path}: cannot be written: No space left on device")
        write(path, *arguments, **options)

    monkeypatch.setattr(images, "write", full)
    code, out, err = nst(photo, painting, "-o", "out.png", "--backend", "reference", "--save-every", 2, *quick)
    assert (code, out) == (0, "out.png\n")
    assert "out-0002.png: cannot be written: No space left on device; the run goes on" in err
    assert Path("out-0004.png").exists()


def test_tiles_make_the_same_picture_and_are_in_its_record(nst, photo, painting, quick, backend_name):
    records = []
    for tile in ("off", "16"):
        command = [photo, painting, "-o", f"{tile}.png", "--backend", backend_name, "--dtype", "float64"]
        assert nst(*command, "--tile", tile, *quick)[0] == 0
        records.append(json.loads(nst("info", f"{tile}.png", "--json")[1]))
    assert [record["tile"] for record in records] == [None, 16]
    assert np.abs(pixels("off.png") - pixels("16.png")).max() <= 1 / 255


def test_a_tile_off_the_grid_is_refused(nst, photo, painting, quick):
    code, _, err = nst(photo, painting, "--backend", "reference", "--tile", "100", *quick)
    assert code == 2
    assert "tile: received '100'; accepted: auto, off, or a multiple of 16 px" in err
