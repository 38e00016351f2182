"""What no planted fault in tests/parity/test_faults.py shows."""

import dataclasses

import numpy as np
import pytest

from compare.diff import diff
from tests.compare.conftest import by, changed


def hint(trace, change, name):
    return diff(changed(trace, change, name), trace).hint


def noise(size):
    def add(array):
        grain = np.random.default_rng(0).normal(size=array.shape)
        return array + size * grain * np.linalg.norm(array) / np.linalg.norm(grain)

    return add


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1e-6, "single precision"), (5e-4, "TensorFloat-32"), (8e-3, "bfloat16"), (0.5, "its kernel is transposed")],
)
def test_the_size_of_the_error_tells_the_arithmetic(size, expected, trace):
    assert expected in hint(trace, noise(size), "output/conv3_1")


def test_values_that_are_not_finite_are_said(trace):
    assert "not finite" in hint(trace, by(np.nan), "output/conv3_1")


@pytest.mark.parametrize("value", [1.5, np.nan])
def test_an_error_between_the_values_that_were_kept_is_said(value, trace):
    assert "its mean or deviation does not: nst trace --whole" in hint(trace, by(value), "facts/output/conv3_1")
    assert "its mean or deviation does not" in hint(trace, by(value), "facts/output/input")


def test_images_that_are_not_clamped_are_said(trace):
    out = {name: by(1.5)(array) for name, array in trace.arrays.items() if name.endswith("/image/5")}
    found = diff(dataclasses.replace(trace, arrays={**trace.arrays, **out}), trace)
    assert "the clamp is missing or too wide" in found.hint


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["gram/relu2_1", "output/input", "term/style/relu1_1", "run/image/6"])
def test_what_is_infinite_is_explained_without_a_warning(name, trace):
    assert diff(changed(trace, lambda array: np.full_like(array, np.inf), name), trace).first


def test_a_gram_matrix_that_is_no_multiple_is_no_divisor(trace):
    assert "no multiple" in hint(trace, lambda array: array + np.eye(len(array)) * array.max(), "gram/relu3_1")


def test_an_unknown_factor_is_given_without_a_name(trace):
    found = hint(trace, by(1.234), "gram/relu3_1")
    assert "relu3_1 1.234" in found
    assert "as if divided" not in found


def test_the_way_back_is_named_by_the_layer_it_leads_through(trace):
    assert "the way back through conv3_2" in hint(trace, noise(0.1), "slope/relu3_1")
    assert "its slope where the input is not positive" in hint(trace, noise(0.1), "slope/conv3_1")
    assert "the slope of the terms at relu5_1" in hint(trace, noise(0.1), "slope/relu5_1")
    assert "the way back from the" in hint(trace, noise(0.1), "gradient").replace("\n", " ")


def test_terms_that_are_all_zero_are_off_by_a_factor(trace):
    names = [f"term/style/{tap}" for tap in trace.header.recipe["style"]["taps"]]
    assert "every style term is off by a factor (relu1_1 0, " in diff(changed(trace, by(0.0), *names), trace).hint


@pytest.mark.filterwarnings("error")
def test_a_layer_that_ought_to_be_zero_divides_by_nothing(trace):
    found = diff(trace, changed(trace, by(0.0), "output/conv3_1", "facts/output/conv3_1"))
    assert found.first.where == "conv3_1"
    assert found.hint
