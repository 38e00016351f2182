"""The HTML report: what a reader finds in it, and that it needs nothing but a browser."""

import base64
import io
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from compare import report
from compare.diff import diff
from compare.record import record
from compare.result import Result
from nst_spec import backend as backends
from nst_spec import images, recipe
from nst_spec.errors import NstError
from nst_spec.images import Picture
from nst_spec.inputs import Inputs
from tests.compare.conftest import at, by, changed, lengthened
from tests.conftest import smooth_image

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

HOSTILE = "<script>alert('1')</script> & \"$2\".png"
SETTINGS = {
    "size.pixels": 32,
    "steps": 6,
    "pooling.kind": "max",
    "content.taps": {"relu2_2": 1.0},
    "style.taps": {"relu1_1": 0.5, "relu2_1": 0.5},
}
VOID = {"meta", "img", "br"}


@pytest.fixture(scope="module")
def trace(narrow_weights):
    content, style = (
        Picture(smooth_image(28, 32, 1), HOSTILE, "c"),
        Picture(smooth_image(32, 24, 5), "style.png", "s"),
    )
    settings = recipe.override(recipe.load("default"), SETTINGS)
    reference = backends.load("reference", dtype="float64")
    return record(reference, settings, Inputs(content, (style,), narrow_weights, "caffe"), version="0")


@pytest.fixture(scope="module")
def still(trace):
    """The trace without its runs."""
    judged = {name: array for name, array in trace.arrays.items() if not name.startswith(("run/", "nudged/"))}
    return replace(trace, arrays=judged)


@pytest.fixture(scope="module")
def faulty(trace):
    return changed(trace, by(1.25), "gram/relu2_1")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    def write(*pairs, notes=(), commands=()):
        comparisons = [diff(*pair) for pair in pairs]
        ok = all(comparison.ok for comparison in comparisons)
        result = Result(nst="0", ok=ok, notes=list(notes), commands=list(commands), comparisons=comparisons)
        path = tmp_path_factory.mktemp("report") / "report.html"
        report.write(path, result, pairs)
        return Page(path.read_text(encoding="utf-8"))

    return write


@pytest.fixture(scope="module")
def failed(page, trace, faulty):
    """Two comparisons, the second of which failed."""
    return page((trace, trace), (faulty, trace), notes=[HOSTILE], commands=[f"nst compare {HOSTILE}"])


class Page(HTMLParser):
    """A page's tags with their attributes, its tables as rows of cells, and its words."""

    def __init__(self, source):
        super().__init__()
        self.source, self.tags, self.open, self.tables, self.text = source, [], [], [], ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] = " ".join((self.tables[-1][-1][-1] + data).split())

    def values(self, *attributes):
        return [tag[name] for _, tag in self.tags for name in attributes if name in tag]

    def words(self):
        return " ".join(self.text.split())

    def rows(self, first_cell):
        """The table whose head begins so, by its rows' first cells."""
        table = next(table for table in self.tables if table[0][0] == first_cell)
        return {row[0]: row[1:] for row in table[1:]}


def test_nothing_is_fetched_and_no_name_is_markup(failed):
    assert failed.open == []
    assert all(
        value.startswith(("#", "data:image/png;base64,")) for value in failed.values("href", "src", "xlink:href")
    )
    assert not re.search(r"url\((?!#)|@import", failed.source)
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in failed.tags)
    assert failed.words().count(HOSTILE) >= 3


def test_every_reference_has_its_one_target(failed):
    ids = failed.values("id")
    assert len(ids) == len(set(ids))
    references = [value[1:] for value in failed.values("href", "xlink:href")] + failed.values("aria-labelledby")
    assert {*references, *re.findall(r"url\(#(.*?)\)", failed.source)} <= set(ids)


def test_a_failure_says_first_where_and_what_it_looks_like(failed, faulty, trace):
    comparison = diff(faulty, trace)
    summary = failed.words().partition("All comparisons")[0]
    assert "✗ Failed: 1 of 2 comparisons" in summary
    assert "part at the Gram matrix of relu2_1: 2.5e-01, limit 1e-13." in summary
    assert comparison.hint
    assert comparison.hint in summary


def test_failing_comparisons_come_first_and_open(failed):
    verdicts = [row[1] for row in failed.tables[0][1:]]
    assert verdicts == ["✗ failed", "✓ passed"]
    assert ["open" in attributes for tag, attributes in failed.tags if tag == "details"] == [True, False]


def test_every_layer_has_its_numbers(failed, faulty, trace):
    rows = failed.rows("layer")
    for layer in diff(faulty, trace).layers:
        cells = rows.get(layer.layer) or rows[f"{layer.layer}first difference"]
        expected = (layer.output, layer.target, layer.gram, layer.content_term, layer.style_term, layer.slope)
        for cell, measure in zip(cells, expected, strict=False):
            assert cell.startswith("✗") == bool(measure and not measure.ok)
            assert cell.endswith(number(measure)), layer.layer
        assert cells[6] == f"{layer.slope.limit:.0e}"
        assert cells[7] == number(layer.slope_length)
    assert rows["relu1_1"][8] == "0 of 7168"
    assert rows["relu2_1first difference"][2] == "✗ 2.5e-01"


def test_a_gradient_of_another_length_is_marked(page, trace):
    coarse = at(trace, precision="bf16", fast=True, tile=64)
    longer = [changed(coarse, by(1.3), name) for name in ("slope/conv2_1", "gradient")]
    by_layer, by_image = (page((faulty, coarse)) for faulty in longer)
    assert by_layer.rows("layer")["conv2_1first difference"][7] == "✗ 3.0e-01"
    assert by_layer.rows("quantity")["length of the gradient by the image"] == ["0", "2e-01"]
    marked = "length of the gradient by the imagefirst difference"
    assert by_image.rows("quantity")[marked] == ["✗ 3.0e-01", "2e-01"]
    assert "The limit of a gradient is 5e-01. Rounding alone" in by_image.words()
    assert "is 1e-12, or 1e-11 where a later layer" in page((trace, trace)).words()
    shown = page((coarse, trace)).rows("setting")
    assert shown["fast"][:2] == ["on", "off"]
    assert shown["tiles of px"][:2] == ["64", "–"]


def number(measure):
    return f"{measure.error:.1e}" if measure and measure.error else "0" if measure else ""


def test_totals_and_the_gradient_by_the_image_follow(failed):
    assert failed.rows("quantity")["gradient by the image"] == ["0", "1e-12"]


def test_the_final_images_and_their_difference_are_in_the_page(page, trace):
    a_step = np.zeros_like(trace.arrays["run/result"])
    a_step[3, 4, 1] = 2.0**-12
    shown = page((changed(trace, lambda image: image + a_step, "run/result"), trace))
    data = [source.partition(",")[2] for source in shown.values("src")]
    first, second, difference = (np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in data)
    np.testing.assert_array_equal(second, images.to_uint8(trace.arrays["run/result"]))
    np.testing.assert_array_equal(first.shape, second.shape)
    assert difference[3, 4].tolist() == [128, 255, 128]
    assert "211 times enlarged" in shown.words()
    assert shown.values("alt") == [
        "Final image of reference float64 on cpu (first)",
        "Final image of reference float64 on cpu (second)",
        "Difference of the final images",
    ]


@pytest.mark.parametrize(("small", "shown_as"), [(33, "small"), (32, None)])
def test_a_small_picture_s_pixels_are_shown_as_squares(small, shown_as, page, trace, monkeypatch):
    monkeypatch.setattr(report, "SMALL", small)
    shown = page((trace, trace))
    assert [attributes.get("class") for tag, attributes in shown.tags if tag == "img"] == [shown_as] * 3


@pytest.fixture
def drawn(monkeypatch):
    """The axes of every plot that is drawn."""
    from matplotlib.figure import Figure

    found = []

    def subplots(figure, make=Figure.subplots):
        found.append(make(figure))
        return found[-1]

    monkeypatch.setattr(Figure, "subplots", subplots)
    return found


def test_an_error_over_its_limit_has_a_ring(page, faulty, trace, drawn):
    page((faulty, trace))
    layers = [label.get_text() for label in drawn[0].get_yticklabels()]
    rings = [ring for points in drawn[0].collections[1::2] for ring in points.get_offsets().tolist()]
    assert rings == [[pytest.approx(0.25), layers.index("relu2_1")]]


@pytest.mark.parametrize(("factor", "scale"), [(1, "log"), (-1, "linear")])
def test_losses_are_drawn_on_a_logarithmic_scale_where_they_have_logarithms(factor, scale, page, trace, drawn):
    page((changed(trace, by(factor), "run/loss"), trace))
    assert drawn[1].get_yscale() == scale


def test_each_side_has_its_own_distances(page, trace, drawn):
    page((changed(trace, by(1 + 1e-6), "nudged/1/image/6"), trace))
    last = {line.get_label(): line.get_ydata()[-1] for line in drawn[2].get_lines()}
    first, second = (f"reference float64 on cpu ({which}), from its own nudged run" for which in ("first", "second"))
    assert last[first] == pytest.approx(1e-6, rel=0.01)
    assert last[second] < 1e-9


def test_what_is_not_finite_or_of_another_shape_is_a_word(page, trace):
    broken = changed(trace, lambda array: np.full_like(array, np.nan), "slope/conv2_2", "run/result")
    other = replace(broken, header=broken.header.model_copy(update={"shapes": trace.header.shapes | {"pool1": (2, 1)}}))
    shown = page((other, trace))
    rows = shown.rows("layer")
    assert rows["pool1first difference"][0] == "✗ not comparable"
    assert rows["conv2_2"][5] == "✗ not comparable"
    assert "part at the output of pool1: not comparable" in shown.words()
    assert "cannot be subtracted" in shown.words()
    assert not re.search(r"\b(nan|inf|None)\b", shown.words())


def test_a_run_that_never_began_has_no_picture(page, trace):
    arrays = {name: array for name, array in trace.arrays.items() if name != "run/result"} | {"run/loss": np.zeros(0)}
    shown = page((replace(trace, arrays=arrays), trace))
    assert "✗ Failed" in shown.words()
    assert shown.values("src") == []


def test_without_runs_there_are_no_images(page, still):
    shown = page((still, still))
    assert "✓ Passed: reference float64 on cpu (first) and reference float64 on cpu (second) agree" in shown.words()
    assert "There are no two runs: at least one side judged an image and painted none." in shown.words()
    assert shown.values("src") == []
    assert len([tag for tag, _ in shown.tags if tag == "svg"]) == 1


def test_runs_that_part_say_since_which_step(page, trace):
    later = [f"{run}/image/{step}" for run in ("run", "nudged/1") for step in (5, 6)]
    shown = page((changed(trace, lambda image: image * (1 + 1e-9), *later), trace))
    assert re.search(
        r"part at the image after step 5: \S+ times as far apart as rounding explains, limit 10\.", shown.text
    )


def test_a_first_update_of_another_length_is_no_ratio(page, trace):
    shown = page((lengthened(trace, 1.02), trace))
    assert "part at the length of the first update: 2.0e-02, limit 1e-10." in shown.words()


def test_what_differs_between_the_environments_is_marked(page, trace):
    environment = trace.header.environment.model_copy(update={"device": HOSTILE, "switches": {"tf32": True}})
    shown = page((replace(trace, header=trace.header.model_copy(update={"environment": environment})), trace))
    rows = shown.rows("setting")
    assert rows["device"] == [HOSTILE, "cpu", "≠ differs"]
    assert rows["switch tf32"] == ["on", "–", "≠ differs"]
    assert rows["backend"] == ["reference", "reference", ""]
    assert "script" not in {tag for tag, _ in shown.tags}


def test_the_same_result_gives_the_same_page(page, still):
    assert page((still, still)).source == page((still, still)).source


def test_a_missing_library_is_named_with_its_extra(page, trace, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(NstError, match=r"needs jinja2: pip install .\.\[report\]."):
        page((trace, trace))


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(NstError, match=f"{tmp_path.name}: cannot be written"):
        report.write(tmp_path, Result(nst="0", ok=True, notes=[], commands=[], comparisons=[]), [])
