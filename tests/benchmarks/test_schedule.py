"""benchmarks/schedule.py, run as its README runs it, on small pictures."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
from benchmarks import schedule


def test_both_ways_are_measured_and_drawn(photo, painting, tmp_path, monkeypatch, capsys):
    output = tmp_path / "curves"
    settings = ["--size", "64", "--steps", "5", "-o", str(output)]
    monkeypatch.setattr("sys.argv", ["schedule", str(photo), str(painting), *settings])
    schedule.main()
    (pair,) = json.loads(output.with_suffix(".json").read_text())
    assert pair["images"] == f"{photo.stem}, {painting.stem}"
    seconds, losses = np.transpose(pair["single"])
    assert len(losses) == 5
    assert (np.diff(seconds) > 0).all()
    assert pair["target"] == losses.min()
    assert pair["single_seconds"] == seconds[-1]
    # So few steps at one scale are soon overtaken by the default's 190.
    reached = next(at for at, loss in pair["schedule"] if loss <= pair["target"])
    assert pair["reached_after"] == reached
    assert f"{photo.stem}, {painting.stem}: one scale" in capsys.readouterr().out
    with Image.open(output.with_suffix(".png")) as drawn:
        assert len(np.unique(np.asarray(drawn.convert("L")))) > 10


def test_a_picture_without_a_partner_is_refused(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["schedule", str(photo), "-o", str(tmp_path / "curves")])
    with pytest.raises(SystemExit):
        schedule.main()
    assert "expected pairs of images, received 1" in capsys.readouterr().err


def test_a_run_that_stops_at_a_coarse_scale_says_why(photo, painting, tmp_path, monkeypatch):
    settings = ["--size", "64", "--steps", "3", "--recipe", "keras-io", "-o", str(tmp_path / "curves")]
    monkeypatch.setattr("sys.argv", ["schedule", str(photo), str(painting), *settings])
    with pytest.raises(SystemExit, match=r"keras-io: no step at the finest scale: step .* explodes again"):
        schedule.main()
