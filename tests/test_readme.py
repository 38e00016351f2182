"""The README's examples, run as they stand but on narrow weights and small images."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

import nst.api
from compare import launch
from nst.cli import main
from nst_spec import backend as backends
from nst_spec import recipe
from tests.conftest import takes_both

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
TOML = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch, photo, painting, narrow_file):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copy(photo, "photo.jpg")
    shutil.copy(painting, "painting.jpg")
    shutil.copy(painting, "other.jpg")
    shutil.copy(narrow_file, "narrow.safetensors")
    prepare = nst.api.prepare

    def quick(*arguments, **options):
        return prepare(*arguments, **options | {"size": 32, "steps": 4, "weights": "narrow.safetensors"})

    monkeypatch.setattr(nst.api, "prepare", quick)
    launched = launch.run

    def run(python, arguments, *rest):
        steps = [] if arguments[0] == "measure" else ["--steps", "4"]
        launched(python, [*arguments, "--size", "32", *steps, "--weights", "narrow.safetensors"], *rest)

    monkeypatch.setattr(launch, "run", run)
    return folder


@takes_both
def test_the_commands(here, capsys):
    assert len(SHELL) > 12
    # Pictures of the examples above feed those below, so they run in the README's order.
    for line in SHELL:
        command = shlex.split(line, comments=True)
        assert command[0] == "nst"
        assert main(command[1:]) == 0, f"{line}\n{capsys.readouterr().err}"
    for name in (
        "photo-painting.png",
        "out.jpg",
        "soft.png",
        "two.png",
        "way.png",
        "nst-demo.png",
        "out-rerun.jpg",
        "out.npz",
        "parity/report.html",
    ):
        assert (here / name).exists(), name


@pytest.mark.skipif("torch" not in backends.installed(), reason="the example names torch")
def test_the_python(here, capsys):
    assert len(PYTHON) == 1
    exec(PYTHON[0], {})
    assert (here / "python.png").exists()
    assert "(24, 32, 3)" in capsys.readouterr().out


def test_the_recipe(tmp_path):
    assert len(TOML) == 1
    (tmp_path / "mine.toml").write_text(TOML[0])
    mine, base = recipe.load(tmp_path / "mine.toml"), recipe.load("gatys2016")
    changed = {"init.kind": "content", "optimizer.history": 20}
    assert mine == recipe.override(base, changed | {"name": "mine", "source": "me", "note": ""})


def test_every_recipe_is_in_the_table():
    table = README.partition("\n## Recipes\n")[2].partition("\n## ")[0]
    assert [name for name in recipe.names() if f"`{name}`" not in table] == []
