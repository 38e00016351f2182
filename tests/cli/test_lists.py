import json
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

from nst import api
from nst_spec import recipe, vgg19, weight_files, weights


def test_recipes_are_listed(nst):
    code, out, _ = nst("recipes")
    assert code == 0
    assert len(out.splitlines()) == len(recipe.names()) == 16
    found = json.loads(nst("recipes", "--json")[1])
    assert [each["name"] for each in found] == list(recipe.names())
    assert all(each["source"] and each["weights"] for each in found)


@pytest.mark.parametrize("name", recipe.names())
def test_a_recipe_is_shown_whole(nst, name):
    code, out, _ = nst("recipes", "show", name)
    assert code == 0
    assert recipe.load(name).source in out
    assert "optimizer.lr = " in out
    shown = json.loads(nst("recipes", "show", name, "--json")[1])
    assert recipe.from_dict(shown) == recipe.load(name)


def test_weight_sets_are_listed_with_size_licence_and_attribution(nst):
    code, out, _ = nst("weights", "list")
    assert code == 0
    for word in ("caffe", "80 MB", "torchvision", "embedded", "comes with", "random", "licence", "Oxford"):
        assert word in out
    found = {each["name"]: each for each in json.loads(nst("weights", "list", "--json")[1])}
    assert set(found) == {"caffe", "torchvision", "embedded", "random"}
    assert found["caffe"]["bytes"] == 80_134_624


def test_random_weights_are_exported(nst):
    code, out, _ = nst("weights", "export", "random", "-o", "random.safetensors")
    assert (code, out) == (0, "random.safetensors\n")
    with safe_open("random.safetensors", "numpy") as file:
        assert set(file.keys()) == set(vgg19.weight_names())
        assert "preprocessing" not in (file.metadata() or {})
        kernel = file.get_tensor("conv5_4.weight")
        assert (kernel.shape, kernel.dtype) == ((512, 512, 3, 3), np.float32)
        assert np.abs(file.get_tensor("conv1_1.bias")).min() > 0
    assert weights.load("random.safetensors").sha256 == weights.load("random").sha256
    assert nst("weights", "export", "random", "-o", "random.safetensors")[0] == 2
    code, out, _ = nst("weights", "verify", "random.safetensors")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["file", "weights"]
    assert out.splitlines()[1] == nst("weights", "verify", "random")[1].strip()


@pytest.mark.parametrize("command", [["export", "random", "-o"], ["convert", "w.safetensors"]])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("w.npz", "w.npz: expected a name that ends in .safetensors"),
        ("no/w.safetensors", "the folder no does not exist"),
    ],
)
def test_where_weights_cannot_be_written_is_said_before_they_are_read(command, target, message, nst, monkeypatch):
    monkeypatch.setattr(weight_files, "read", lambda *_: pytest.fail("the weights are read"))
    monkeypatch.setattr(weights, "random_weights", lambda *_: pytest.fail("the weights are made"))
    code, _, err = nst("weights", *command, target)
    assert code == 2
    assert message in err


def test_a_file_is_converted(nst, narrow_weights, tmp_path):
    np.savez(tmp_path / "w.npz", **narrow_weights.arrays)
    code, _, _ = nst("weights", "convert", tmp_path / "w.npz", "w.safetensors", "--preprocessing", "caffe")
    assert code == 0
    converted = weights.load("w.safetensors")
    assert (converted.preprocessing, converted.sha256) == ("caffe", narrow_weights.sha256)
    code, _, err = nst("weights", "convert", "w.safetensors", "w.safetensors", "--force")
    assert code == 2
    assert "w.safetensors: is one of this command's own inputs" in err


@pytest.mark.parametrize(
    ("command", "name", "said"),
    [
        ("verify", "embeded", "received 'embeded'; accepted: caffe, torchvision, embedded"),
        ("path", "caffe", "nst weights fetch caffe"),
    ],
)
def test_a_set_that_is_not_there_is_named(command, name, said, nst):
    code, _, err = nst("weights", command, name)
    assert code == 2
    assert said in err


def test_fetching_offline_names_the_ways_on(nst):
    code, _, err = nst("weights", "fetch", "caffe")
    assert code == 2
    assert "NST_OFFLINE says not to try the network" in err
    assert "--weights FILE" in err
    assert "--weights embedded" in err


def test_no_arguments_show_the_help(nst):
    code, out, err = nst()
    assert code == 2
    assert "nst CONTENT STYLE" in out + err


@pytest.mark.parametrize("command", ["stylize", "demo", "evaluate", "rerun", "info", "recipes", "weights"])
def test_every_command_explains_itself(nst, command):
    code, out, _ = nst(command, "--help")
    assert code == 0
    assert "Usage: nst" in out


def test_help_says_what_holds_where_an_option_is_not_given(nst):
    _, out, _ = nst("stylize", "--help")
    text = " ".join(out.split())
    for default in (f"{api.DEFAULT_RECIPE} if not", "float32 if not", "CONTENT-STYLE.png unless"):
        assert default in text


def test_help_has_the_words_that_a_setting_may_be(nst):
    text = " ".join(nst("evaluate", "--help")[1].split())
    for option, words in {
        "gram": "none, positions, channels, elements",
        "tv": "l1, half-squared, power-1.25, mean-squared, mean-squared-colour",
        "optimizer": "adam, lbfgs, sgd",
    }.items():
        assert re.search(rf"--{option} TEXT [^-]+: {words}\. ", text), option


def test_no_command_is_described_by_half_a_sentence(nst):
    _, _, commands = nst("--help")[1].partition("Commands:")
    assert commands
    assert "..." not in commands


@pytest.mark.skipif(sys.platform != "linux", reason="takes Linux' full device")
def test_a_full_disk_is_no_reader_that_has_gone():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "nst", "recipes"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="takes a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed):
    assert subprocess.run(f"{sys.executable} -m nst recipes {closed}", shell=True, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipies"], "nst: no such command or photo: recipies (did you mean recipes?) (nst --help)\n"),
        (["stylize", "photo.jpg"], "nst: Missing argument 'STYLE...' (nst stylize --help)\n"),
        (
            ["mesure"],
            "nst: no such command or photo: mesure (nst --help)\n",
        ),  # it is ours, not theirs
        (["photo.jpg"], "nst: no such command or photo: photo.jpg (nst --help)\n"),
    ],
)
def test_a_mistyped_command_gets_one_line(nst, arguments, message):
    assert nst(*arguments) == (2, "", message)


def test_a_mistyped_name_is_guessed(nst):
    code, _, err = nst("recipes", "show", "gatys2106")
    assert code == 2
    assert err.endswith("; did you mean gatys2016?\n")
