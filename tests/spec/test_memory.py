"""What is done about memory: tiles where the image does not fit, and a shorter history where that is not enough."""

import dataclasses
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_spec import control_groups, memory, recipe, vgg19
from nst_spec.losses import Shape

MIB, GIB = 2**20, 2**30
quick = settings(max_examples=100)


def needs(side, name="default", workspace=6, widths=vgg19.WIDTHS, **changed):
    chosen = recipe.override(recipe.load(name), changed)
    content = [
        Shape(widths[vgg19.block_of(tap) - 1], vgg19.map_side(tap, side, "floor") ** 2, side**2)
        for tap in chosen.content.taps
    ]
    return memory.Needs(chosen, chosen.steps, widths, (side, side), [(side, side)], 4, content, workspace)


def test_the_estimate_by_hand():
    one_layer = needs(100, workspace=0, **{"content.taps": "relu1_1", "style.taps": "relu1_1"})
    assert one_layer.network(100, 100) == 4 * 64 * 100 * 100
    # A convolution's output is rectified in place, unless it is a tap.
    raw = needs(100, workspace=0, **{"content.taps": "conv1_1", "style.taps": "conv1_1"})
    assert raw.network(100, 100) == 4 * 64 * 100 * 100
    # Twelve arrays of the image's size, three channels each, and two more for a pair of L-BFGS or for Adam's moments.
    assert one_layer.state(0) == 12 * 4 * 3 * 100 * 100
    assert one_layer.state(5) == 22 * 4 * 3 * 100 * 100
    assert needs(100, "dye2023").state(0) == 14 * 4 * 3 * 100 * 100
    # relu4_2: 512 channels, one position to 8 x 8 px.
    assert needs(4096).kept == 2**29
    assert needs(4096).keeps_content
    assert not needs(8192).keeps_content


def test_a_style_image_larger_than_the_photo_takes_as_much_as_a_photo_of_its_size():
    wanted = dataclasses.replace(needs(512), styles=((4096, 4096),))
    assert wanted.whole == needs(4096).network(4096, 4096) + needs(512).kept
    assert wanted.tile(1024) == needs(4096).tile(1024)
    second = dataclasses.replace(needs(512), styles=((512, 512), (4096, 4096)))
    assert (second.whole, second.tile(1024)) == (wanted.whole, wanted.tile(1024))


def test_an_image_that_fits_is_not_tiled():
    assert memory.plan(needs(512), "auto", 8 * GIB) == memory.Plan()


@pytest.mark.parametrize("workspace", [5, 6])  # TensorFlow's with oneDNN, and torch's
def test_an_image_that_does_not_fit_is_tiled_and_the_run_says_why(workspace):
    plan = memory.plan(needs(4096, workspace=workspace), "auto", 16 * GIB)
    assert plan.tile == 512
    assert plan.warnings == ()
    (reason,) = plan.reasons
    assert reason.startswith("4096 x 4096 px needs about ")
    assert "16.0 GiB are free; computed in tiles of 512 px (--tile off never tiles)" in reason


@pytest.mark.parametrize(
    ("tile", "free", "short"),
    [("off", 20, False), ("off", 19, True), (512, 4, False), (512, 3, True), ("auto", 20, False), ("auto", 10, False)],
)
def test_memory_is_short_without_room_for_a_quarter_more(tile, free, short):
    # 2048 x 2048 px take 11.1 GiB in the network, 1.3 in tiles of 512 px, and 1.5 for the images and L-BFGS.
    assert memory.plan(needs(2048), tile, free * GIB).short == short


@pytest.mark.parametrize(("side", "tiled"), [(5792, False), (5793, True)])
def test_a_gpu_is_given_tiles_of_layers_that_32_bits_cannot_count(side, tiled):
    # 64 channels of 5792.6 x 5792.6 px are 2^31 numbers.
    wanted = dataclasses.replace(needs(side), on_gpu=True)
    plan = memory.plan(wanted, "auto", 1024 * GIB)
    assert (plan.tile is not None) == tiled
    said = f"{side} x {side} px would have layers too long for fast kernels; computed in tiles of 1024 px"
    assert [reason.startswith(said) for reason in plan.reasons] == [True] * tiled
    large_style = dataclasses.replace(needs(512), styles=((side, side),), on_gpu=True)
    assert memory.plan(large_style, "auto", 1024 * GIB).reasons == plan.reasons
    assert memory.plan(wanted, "off", 1024 * GIB).tile is None
    assert memory.plan(needs(side), "auto", 1024 * GIB).tile is None
    assert large_style.is_indexable is not tiled


def test_a_gpu_with_much_memory_is_given_larger_tiles():
    # In both passes a tile of 640 px takes 1.7 GiB, of 768 px 2.3 and of 1024 px 3.7.
    on_gpu = dataclasses.replace(needs(8192), on_gpu=True)
    assert [memory.plan(on_gpu, "auto", free * GIB).tile for free in (18, 24, 78)] == [640, 768, 1024]
    assert memory.plan(needs(8192), "auto", 78 * GIB).tile == 512


def test_asking_wins_over_the_estimate():
    assert memory.plan(needs(4096), "off", GIB).tile is None
    assert memory.plan(needs(256), 64, 64 * GIB).tile == 64


@quick
@given(st.integers(16, 9000), st.integers(1, 64 * 1024), st.integers(1, 64 * 1024))
def test_more_memory_never_makes_smaller_tiles(side, first, second):
    wanted = needs(side)
    less, more = (memory.plan(wanted, "auto", free * 2**20) for free in sorted((first, second)))
    # Where the history is cut down, larger tiles are had in its place.
    if (less.history is None) == (more.history is None):
        assert more.tile is None or (less.tile is not None and more.tile >= less.tile)


NARROW = {"workspace": 3, "widths": (16, 32, 64, 128, 128), "steps": 500}


@pytest.mark.parametrize(("side", "free", "tile"), [(512, 900, 128), (1024, 3300, 256), (1024, 3800, 768)])
def test_smaller_tiles_come_before_a_shorter_history(side, free, tile):
    plan = memory.plan(needs(side, "gatys2016", **NARROW), "auto", free * MIB)
    assert (plan.tile, plan.history) == (tile, None)


@pytest.mark.parametrize(("free", "pairs"), [(5, 25), (6, 33), (12, 85)])
def test_tiles_come_before_a_shorter_history_that_no_tiles_spare(free, pairs):
    narrow = needs(2048, "gatys2016", **NARROW)
    tiled, whole = (memory.plan(narrow, tile, free * GIB) for tile in ("auto", "off"))
    assert tiled.tile == 1024
    assert tiled.history >= pairs > whole.history


def test_an_image_is_not_tiled_where_tiles_leave_a_history_no_more_room():
    # 100 pairs are 150 MiB; the network takes 84 MiB, and almost as much in tiles of 64 px and their margins.
    plan = memory.plan(needs(256, "gatys2016", steps=500), "auto", 250 * MIB)
    assert (plan.tile, plan.reasons) == (None, ())
    assert 2 < plan.history < 100


@pytest.mark.parametrize("name", ["gatys2016", "gatys-notebook"])
def test_the_history_is_cut_down_only_where_tiles_are_not_enough(name):
    small = memory.plan(needs(512, name), "auto", 16 * GIB)
    assert (small.history, small.warnings) == (None, ())
    # 200 arrays of 192 MiB each would be 37.5 GiB.
    plan = memory.plan(needs(4096, name, steps=500), "auto", 16 * GIB)
    assert plan.tile == 512
    assert 10 <= plan.history <= 30
    assert "100 pairs of L-BFGS would take 37.5 GiB" in plan.warnings[0]
    adapted = plan.adapted(recipe.load(name))
    assert adapted.optimizer.history == plan.history
    assert recipe.load(name).optimizer.history == 100
    # A pair lies between two steps.
    assert [dataclasses.replace(needs(64, name), steps=steps).history for steps in (0, 1, 2, 101, 102)] == [
        0, 0, 1, 100, 100
    ]  # fmt: skip
    assert memory.plan(needs(4096, name, steps=3), "auto", 16 * GIB).history is None


def test_what_is_free_is_some_of_what_there_is():
    import psutil

    assert 0 < memory.free_on_host() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("limits", "free"),
    [
        ({"job": 4 * GIB, "job/step": "max"}, 4 * GIB - 70 * MIB),
        ({"job": 4 * GIB, "job/step": 2 * GIB, "job/step/task": 3 * GIB}, 2 * GIB - 70 * MIB),
        ({"job/step/task": 0}, 0),
        ({}, 16 * GIB),
    ],
    ids=["of an outer group", "of the tightest group", "none left", "no limit"],
)
def test_the_limits_of_all_control_groups_hold(limits, free, tmp_path, monkeypatch):
    import psutil

    for name in ("job", "job/step", "job/step/task"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "memory.max").write_text(f"{limits.get(name, 'max')}\n")
        (folder / "memory.current").write_text(f"{100 * MIB}\n")
        (folder / "memory.stat").write_text(f"anon {60 * MIB}\ninactive_file {30 * MIB}\n")
    (tmp_path / "own").write_text("0::/job/step/task\n")
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "own")
    monkeypatch.setattr(control_groups, "ROOT", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=16 * GIB))
    assert memory.free_on_host() == free
