"""The benchmark: what is timed is what it says, ratios come from one round, results of something else are refused."""

import functools
import json

import numpy as np
import pytest
from pydantic import ValidationError

from compare import bench, bench_result, bench_table, machine
from compare.bench import Case, in_turn
from compare.bench_result import Memory, Profile, Result, Row
from nst_spec import backend as backends
from nst_spec import cpu, preprocessing, recipe
from nst_spec.errors import NstError
from tests.conftest import NARROW, make_problem, relative, smooth_image

ENVIRONMENT = {
    "backend": "torch",
    "device": "cpu",
    "dtype": "float32",
    "precision": "fp32",
    "versions": {"torch": "2"},
    "switches": {"threads": 2},
    "system": "Linux",
    "nst": "0",
}
SECONDS = {"step": [2.0, 4.0], "bare": [1.0, 3.0], "tutorial": [3.0, 8.0], "matrix": [0.5, 1.0]}
TILED_SECONDS = {"step": [3.0, 4.5], "untiled": [2.0, 3.0], "matrix": [0.5, 1.0]}


def row(**changes):
    values = {
        "environment": ENVIRONMENT,
        "size": 64,
        "multiply_adds": 10**9,
        "matrix_side": 1000,
        "seconds": SECONDS,
        "memory": None,
        "profile": None,
    }
    return Row.model_validate(values | changes)


def result(*rows, **changes):
    chosen = recipe.as_record(recipe.load("default"))
    weights = {"name": "random", "sha256": "0123456789abcdef", "preprocessing": "caffe"}
    values = {
        "nst": "0",
        "command": "nst bench",
        "machine": {"processor": "one", "cpus": 2, "system": "Linux"},
        "settings": {"recipe": chosen, "weights": weights},
        "rows": rows,
    }
    return Result.model_validate(values | changes)


class Clock:
    """A clock that moves only when work is done."""

    def __init__(self):
        self.now = 0.0
        self.done = []

    def __call__(self):
        return self.now

    def work(self, name, seconds):
        """Return work whose next turns take these seconds."""
        left = iter(seconds)

        def work():
            self.done.append(name)
            self.now += next(left)

        return work


def test_pieces_are_timed_in_turn_and_the_first_rounds_do_not_count():
    clock = Clock()
    warm_up = [1.5] * bench.WARM_UP
    pieces = {"a": clock.work("a", [*warm_up, 1.0, 2.0]), "b": clock.work("b", [*warm_up, 4.0, 8.0])}
    assert in_turn(pieces, 2, lambda: None, clock) == {"a": [1.0, 2.0], "b": [4.0, 8.0]}
    assert "".join(clock.done) == "ab" * (bench.WARM_UP + 2)


def test_what_takes_long_warms_up_once():
    clock = Clock()
    pieces = {"a": clock.work("a", [bench.WARM_UP_SECONDS, 1.0, 2.0])}
    assert in_turn(pieces, 2, lambda: None, clock) == {"a": [1.0, 2.0]}


def test_a_time_ends_when_the_device_is_done():
    clock = Clock()
    seconds = [1.0] * (bench.WARM_UP + 1)
    pieces = {"a": clock.work("a", seconds)}
    assert in_turn(pieces, 1, clock.work("finish", [0.25 * s for s in seconds]), clock) == {"a": [1.25]}


def test_ratios_are_those_within_a_round():
    # The machine is ten times slower in every other round; a ratio of medians would be anything.
    seconds = {"step": [2.0, 20.0, 2.0], "bare": [1.0, 10.0, 1.0], "tutorial": [6.0, 60.0, 6.0]}
    found = row(seconds=seconds | {"matrix": [4.0, 40.0, 4.0]}).summary
    assert (found.step.median, found.step.lower, found.step.upper) == (2.0, 2.0, 11.0)
    for spread, ratio in ((found.share_of_bare, 0.5), (found.times_tutorial, 3.0), (found.share_of_matrix, 2.0)):
        assert (spread.median, spread.lower, spread.upper) == (ratio, ratio, ratio)


def test_rates_count_two_operations_for_a_multiply_add():
    found = row(seconds={name: times[:1] for name, times in SECONDS.items()}).summary
    # 10^9 multiply-adds in 2 s; the product of 1000 x 1000 matrices takes as many, in half a second.
    assert found.gflops == pytest.approx(1.0)
    assert found.share_of_matrix.median == pytest.approx(0.25)


def test_the_parts_of_a_profile_add_up_to_the_step():
    seconds = {"bare": [5.0], "losses": [7.0], "evaluate": [7.5], "update": [1.0], "upload": [0.2], "download": [0.3]}
    profile = Profile(seconds=seconds)
    assert {name: part.median for name, part in profile.parts.items()} == {
        "network": 5.0,
        "Gram matrices and losses": 2.0,
        "reading the terms": 0.5,
        "optimiser": 1.0,
    }
    assert [part.median for part in profile.transfers.values()] == [0.2, 0.3]


@pytest.mark.parametrize(
    ("seconds", "tile"),
    [
        ({}, None),
        (SECONDS | {"bare": [1.0]}, None),
        (SECONDS | {"other": [1.0, 1.0]}, None),
        ({name: [] for name in SECONDS}, None),
        (SECONDS, 64),
        (TILED_SECONDS, None),
        (TILED_SECONDS | {"untiled": [1.0]}, 64),
        ({"step": [1.0, 2.0], "untiled": [1.0, 2.0]}, 64),
    ],
)
def test_times_that_are_no_pairs_are_refused(seconds, tile):
    with pytest.raises(ValidationError, match="as many of each"):
        row(seconds=seconds, tile=tile)


def test_a_step_in_tiles_is_held_to_one_without_where_there_is_one():
    found = row(seconds=TILED_SECONDS, tile=64)
    assert found.summary.over_untiled.median == 1.5
    assert (found.summary.share_of_bare, found.summary.times_tutorial) == (None, None)
    assert found.case == "torch fp32 64 px in tiles of 64 px on cpu, 2 threads"
    alone = {name: times for name, times in TILED_SECONDS.items() if name != "untiled"}
    assert row(seconds=alone, tile=64).summary.over_untiled is None


def test_a_result_is_the_same_after_json(tmp_path):
    (tmp_path / "r.json").write_text(result(row()).model_dump_json())
    assert bench_result.read(tmp_path / "r.json") == result(row())
    assert json.loads((tmp_path / "r.json").read_text())["rows"][0]["summary"]["step"]["median"] == 3.0
    for encoding in ("utf-8-sig", "utf-16"):  # as Windows' PowerShell redirects
        (tmp_path / "r.json").write_text(result(row()).model_dump_json(), encoding)
        assert bench_result.read(tmp_path / "r.json") == result(row())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "invalid json"),
        ("{}", "nst: field required"),
        (b"\xff", "can't decode byte"),
    ],
)
def test_what_is_no_result_is_said_so(text, message, tmp_path):
    path = tmp_path / "r.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(NstError, match=rf"r\.json: expected a result as nst bench --json prints it.*{message}"):
        bench_result.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": {"processor": "other", "cpus": 2, "system": "Linux"}}, r"processor \(one against other\)"),
        ({"machine": {"processor": "one", "cpus": 4, "system": "Linux"}}, r"cpus \(2 against 4\)"),
        ({"machine": {"model": "2"}}, r"model \(1 against 2\)"),
        ({"settings": {"weights": {"sha256": "fff"}}}, r"weights \(0123456789ab against fff\)"),
        ({"settings": {"recipe": {"pooling": {"kind": "max"}}}}, r"recipe pooling\.kind \(average against max\)"),
    ],
)
def test_an_earlier_result_of_something_else_is_refused(changes, message, tmp_path):
    ours = result(row(), machine={"processor": "one", "cpus": 2, "system": "Linux", "model": "1"})
    values = ours.model_dump()
    for section, parts in changes.items():
        for name, part in parts.items():
            values[section][name] = values[section][name] | part if isinstance(part, dict) else part
    earlier = Result.model_validate(values)
    bench_result.check_comparable(ours, tmp_path, ours.machine, ours.settings)
    with pytest.raises(NstError, match=message):
        bench_result.check_comparable(earlier, tmp_path, ours.machine, ours.settings)


def test_an_earlier_result_of_the_same_steps_in_another_schedule_is_accepted(tmp_path):
    ours = result(row())
    recipe = ours.settings.recipe | {"scales": [{"fraction": 1.0, "steps": 7}], "carry": "image", "guard": False}
    recipe |= {"result": "last", "optimizer": recipe["optimizer"] | {"scaling": 1.0}}
    bench_result.check_comparable(ours, tmp_path, ours.machine, ours.settings.model_copy(update={"recipe": recipe}))


def test_an_earlier_result_without_a_processor_s_model_is_accepted(tmp_path):
    ours = result(row(), machine={"processor": "one", "cpus": 2, "system": "Linux", "model": "1"})
    bench_result.check_comparable(result(row()), tmp_path, ours.machine, ours.settings)
    bench_result.check_comparable(ours, tmp_path, result(row()).machine, ours.settings)


def test_a_change_is_the_ratio_of_medians_of_the_same_case(tmp_path):
    earlier = result(row(), row(size=128))
    now = row(seconds=SECONDS | {"step": [1.0, 2.0], "bare": [4.0, 4.0]})
    (change,) = bench_result.changes([now], earlier, tmp_path)
    assert (change.step, change.bare, change.tutorial) == (0.5, 2.0, 1.0)
    assert change.case == "torch fp32 64 px on cpu, 2 threads"


@pytest.mark.parametrize(
    ("changes", "there"),
    [
        ({"size": 96}, "torch fp32 96 px on cpu, 2 threads"),
        ({"environment": ENVIRONMENT | {"switches": {"threads": 1}}}, "torch fp32 64 px on cpu, 1 threads"),
        ({"environment": ENVIRONMENT | {"precision": "bf16"}}, "torch bf16 64 px on cpu, 2 threads"),
    ],
    ids=["another size", "other threads", "another precision"],
)
def test_an_earlier_result_without_a_common_case_is_refused_with_both(changes, there, tmp_path):
    with pytest.raises(NstError, match=rf"expected one of: {there}; received: torch fp32 64 px on cpu, 2 threads"):
        bench_result.changes([row(**changes)], result(row()), tmp_path)


@pytest.fixture
def shown(capsys):
    """The cells of every line of a result's tables: shown(result)."""

    def show(found):
        bench_table.show(found)
        lines = capsys.readouterr().out.splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]

    return show


def test_a_row_is_shown_in_milliseconds_rates_and_ratios(shown):
    seconds = {"step": [2e-3, 4e-3], "bare": [1e-3, 2e-3], "tutorial": [3e-3, 8e-3], "matrix": [5e-4, 1e-3]}
    memory = {"of": "process", "peak": 123_400_000}
    head, _, cells = shown(result(row(seconds=seconds, multiply_adds=12 * 10**8, memory=memory)))
    assert dict(zip(head, cells, strict=True)) == {
        "backend": "torch",
        "precision": "fp32",
        "px": "64",
        "step": "3 (2.5 to 3.5) ms",
        "GFLOP/s": "800",
        "of matrix": "30% (1000)",
        "of bare": "50%",
        "x tutorial": "1.75",
        "peak memory": "123 MB",
    }


def test_one_row_in_tiles_gives_all_rows_the_columns_of_tiles(shown):
    head, _, *rows = shown(result(row(), row(seconds=TILED_SECONDS, tile=32)))
    columns = [head.index(name) for name in ("step", "tile px", "over untiled")]
    assert [[cells[column] for column in columns] for cells in rows] == [
        ["3000 (2500 to 3500) ms", "", ""],
        ["3750 (3375 to 4125) ms", "32", "1.50"],
    ]


def test_the_parts_of_a_profile_are_shown_with_their_shares(shown):
    seconds = {"bare": [1.0], "losses": [1.5], "evaluate": [1.75], "update": [0.25], "upload": [2.0]}
    lines = shown(result(row(profile={"seconds": seconds | {"download": [0.25]}})))
    assert lines[5:] == [
        ["network", "1000 (1000 to 1000) ms", "50%"],
        ["Gram matrices and losses", "500 (500 to 500) ms", "25%"],
        ["reading the terms", "250 (250 to 250) ms", "12%"],
        ["optimiser", "250 (250 to 250) ms", "12%"],
        ["upload of an image", "2000 (2000 to 2000) ms", "once a scale"],
        ["download of an image", "250 (250 to 250) ms", "once a scale"],
    ]


def test_changes_are_shown_under_what_has_changed(shown):
    found = [{"case": "one", "step": 0.5, "bare": 2.0, "tutorial": 1.25}, {"case": "in tiles", "step": 0.75}]
    head, _, *changes = shown(result(row(), against="earlier.json", changes=found))[3:]
    assert head == ["case", "step", "bare network", "tutorial"]
    assert changes == [["one", "0.50", "2.00", "1.25"], ["in tiles", "0.75", "", ""]]


def test_processors_of_one_name_are_told_apart(tmp_path, monkeypatch):
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\n")
    monkeypatch.setattr(cpu, "fact", functools.partial(cpu.fact, cpu_info=facts))
    assert str(machine.describe()).startswith("AMD EPYC (family 25, model 17), ")
    facts.write_text("model name\t: ARM\n")
    assert machine.describe().model is None
    assert str(machine.describe()).startswith("ARM, ")


def test_this_process_has_held_some_memory_and_this_machine_has_cpus():
    assert machine.peak_resident() > 10 * 2**20
    assert machine.describe().cpus >= 1
    assert machine.describe() == machine.describe()


@pytest.fixture
def workload(backend, narrow_weights):
    """Prepare a recipe's workload on 32 x 32 pixels: workload('default', 'float32')."""

    def make(name, dtype="float32", **settings):
        content, style = smooth_image(32, 32, 1), smooth_image(32, 32, 5)
        problem = make_problem(name, narrow_weights, content, style, dtype, **settings)
        return backend(dtype).workload(problem)

    return make


def as_image(gradient):
    array = np.asarray(gradient)[0]
    return array.transpose(1, 2, 0) if array.shape[0] == 3 else array


def test_the_bare_network_goes_back_to_the_image(workload):
    work = workload("gatys2016", "float64")
    gradient = as_image(work.bare_pass()())
    problem = work.problem
    deepest = problem.recipe.taps[-1]
    direction = smooth_image(32, 32, 9) - 0.5
    oracle = backends.load("reference").objective(problem)

    def total(step):
        return oracle.passes(problem.content + step * direction).outputs[deepest].sum()

    slope = (total(1e-5) - total(-1e-5)) / 2e-5
    affine = preprocessing.affine("unit", problem.preprocessing)
    assert np.sum(affine.pull_back(gradient) * direction) == pytest.approx(slope, rel=1e-4)


def number(loss):
    return float(loss.detach() if hasattr(loss, "detach") else loss)


TUTORIALS = {"torch": "pytorch-tutorial", "tf": "tf-tutorial"}


@pytest.mark.parametrize("settings", [{}, {"optimizer.kind": "adam"}], ids=["its own", "adam"])
def test_the_tutorials_loop_takes_the_steps_of_the_tutorials_recipe(settings, workload, backend_name):
    work = workload(TUTORIALS[backend_name], **settings)
    step = work.tutorial_step()
    descent = work.objective.descent(work.problem.content)
    for count in range(5):
        expected = descent.evaluate().total
        assert relative(number(step()), expected) < 1e-3, count
        descent.update()


def test_the_loss_pass_is_the_steps_own(workload):
    work = workload("default")
    values = np.asarray(work.loss_pass()()[0], np.float64)
    losses = work.objective.evaluate(work.problem.content).losses
    expected = [*losses.content_terms.values(), *losses.style_terms.values(), losses.tv]
    assert relative(values, expected) < 1e-6


def test_the_matrix_product_is_of_that_side(workload):
    work = workload("default")
    assert tuple(work.matrix_product(96)().shape) == (96, 96)
    work.finish()


def test_a_backend_is_measured(backend, device, narrow_weights, monkeypatch):
    monkeypatch.setattr(bench, "SIDES", (128, 64))
    monkeypatch.setattr(machine, "peak_resident", iter([1000, 5000]).__next__)
    case = Case(recipe.load("default"), narrow_weights, "caffe", 32)
    found = bench.measure(backend("float32"), case, runs=2, profile=True, started_at=400, version="0")
    assert {name: len(times) for name, times in found.seconds.items()} == dict.fromkeys(bench_result.PIECES, 2)
    assert all(seconds > 0 for times in found.seconds.values() for seconds in times)
    assert set(found.profile.seconds) == set(bench_result.PROFILE_PIECES)
    assert found.matrix_side in (128, 64)
    assert isinstance(found.memory, Memory)
    assert found.memory.peak > 0
    if device == "cpu":
        assert found.memory == Memory(of="process", peak=4600, at_rest=600)
    assert found.environment.dtype == "float32"
    # By hand: 8, 16, 32, 64 and 64 channels; 32, 16, 8, 4 and 2 px a side; relu5_1 is the deepest tap.
    convolutions = 9 * (
        1024 * (3 * 8 + 8 * 8)
        + 256 * (8 * 16 + 16 * 16)
        + 64 * (16 * 32 + 3 * 32 * 32)
        + 16 * (32 * 64 + 3 * 64 * 64)
        + 4 * 64 * 64
    )
    grams = 1024 * 8**2 + 256 * 16**2 + 64 * 32**2 + 16 * 64**2 + 4 * 64**2
    assert NARROW == (8, 16, 32, 64, 64)
    assert found.multiply_adds == 2 * (convolutions + grams)


def test_tiles_are_measured_beside_the_whole_image(backend, narrow_weights, monkeypatch):
    monkeypatch.setattr(bench, "SIDES", (64,))
    case = Case(recipe.load("default"), narrow_weights, "caffe", 96, tile=32)
    found = bench.measure(backend("float32"), case, runs=1, profile=False, started_at=0, version="0")
    assert list(found.seconds) == list(bench_result.TILED_PIECES)
    assert found.tile == 32
    with pytest.raises(NstError, match="expected no --tile beside --profile"):
        bench.measure(backend("float32"), case, runs=1, profile=True, started_at=0, version="0")


@pytest.mark.parametrize(("seconds", "side"), [(1e-4, 256), (0.02, 128), (9.0, 64)])
def test_the_matrix_is_the_largest_that_takes_no_longer_than_it_may(workload, monkeypatch, seconds, side):
    monkeypatch.setattr(bench, "SIDES", (256, 128, 64))
    ticks = iter(np.arange(1000) * seconds)
    assert bench._matrix_side(workload("default"), lambda: float(next(ticks))) == side


def test_the_oracle_is_not_measured(narrow_weights):
    case = Case(recipe.load("default"), narrow_weights, "caffe", 32)
    with pytest.raises(NstError, match="right, not fast"):
        bench.measure(backends.load("reference"), case, runs=1, profile=False, started_at=0, version="0")
