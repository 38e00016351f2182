"""What no planted fault in tests/parity/test_faults.py shows."""

import dataclasses

import numpy as np
import pytest

from compare.diff import diff


def hint(trace, name, change):
    broken = dataclasses.replace(trace, arrays={**trace.arrays, name: change(trace.arrays[name])})
    return diff(broken, trace).hint


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
    assert expected in hint(trace, "output/conv3_1", noise(size))


def test_values_that_are_not_finite_are_said(trace):
    assert "not finite" in hint(trace, "output/conv3_1", lambda array: array * np.nan)


def test_a_gram_matrix_that_is_no_multiple_is_no_divisor(trace):
    assert "no multiple" in hint(trace, "gram/relu3_1", lambda array: array + np.eye(len(array)) * array.max())


def test_an_unknown_factor_is_given_without_a_name(trace):
    found = hint(trace, "gram/relu3_1", lambda array: array * 1.234)
    assert "relu3_1 1.234" in found
    assert "as if divided" not in found


def test_the_way_back_is_named_by_the_layer_it_leads_through(trace):
    assert "the way back through conv3_2" in hint(trace, "slope/relu3_1", noise(0.1))
    assert "its slope where the input is not positive" in hint(trace, "slope/conv3_1", noise(0.1))
    assert "the slope of the terms at relu5_1" in hint(trace, "slope/relu5_1", noise(0.1))
    assert "the way back from the" in hint(trace, "gradient", noise(0.1)).replace("\n", " ")


def test_images_that_were_prepared_otherwise_are_said(trace):
    assert "resized differently (T11)" in hint(trace, "output/input", noise(0.01))
