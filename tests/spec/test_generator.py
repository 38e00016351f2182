import hashlib
import tracemalloc

import numpy as np

from nst_spec import generator
from tests.conftest import splitmix64


def test_the_integers_are_splitmix64():
    stream = splitmix64(1234567)
    expected = [next(stream) for _ in range(5)]
    assert expected[0] == 6457827717110365317  # Vigna's splitmix64.c from seed 1234567
    assert generator.integers(1234567, 5).tolist() == expected


def test_a_stream_can_be_taken_up_later():
    whole = generator.integers(7, 12)
    np.testing.assert_array_equal(generator.integers(7, 5, first=7), whole[7:])
    np.testing.assert_array_equal(generator.uniform(7, (5,), first=7), generator.uniform(7, (12,))[7:])


def test_noise_takes_few_arrays_of_its_size():
    tracemalloc.start()
    size = generator.normal(0, (200, 200, 3)).nbytes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * size


def test_uniform_fills_the_unit_interval():
    values = generator.uniform(3, (200, 500))
    assert 0 <= values.min() < 1e-4
    assert 1 - 1e-4 < values.max() < 1
    assert abs(values.mean() - 0.5) < 3e-3


def test_normal_has_mean_zero_and_variance_one():
    values = generator.normal(3, (300, 300))
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert 0.035 < np.mean(np.abs(values) > 2) < 0.055  # a Gaussian has 0.0455 there


def test_noise_is_the_same_everywhere():
    noise = generator.normal(0, (16, 16, 3))
    digest = hashlib.sha256(noise.astype("<f8").tobytes()).hexdigest()
    assert digest == "d1b80975420d5de94bd199798eff89cdbf5e525913bfff1a7bf0f02164cfcb3c"
    assert not np.array_equal(noise, generator.normal(1, (16, 16, 3)))
