"""Every L-BFGS of both backends, step by step, against the spec's two loops."""

import importlib

import numpy as np
import pytest

from nst_spec import optimizers as spec
from nst_spec import recipe
from tests.conftest import quartic_gradient


def rules(backend_name, start, settings):
    """The backend's rules, each with a variable of its own and what makes its tensors."""
    module = importlib.import_module(f"nst_{backend_name}.optimizers")
    if backend_name == "torch":
        import torch

        classes, variable, tensor = (module.LBFGS, module._CompactLBFGS), torch.tensor, torch.tensor
    else:
        import tensorflow as tf

        classes, variable, tensor = (module.LBFGS,), tf.Variable, tf.constant
    variables = [variable(start) for _ in classes]
    return [(rule(settings, x), x, tensor) for rule, x in zip(classes, variables, strict=True)]


@pytest.mark.parametrize(
    ("history", "steps", "scaling"),
    [(1, 15, 1), (5, 4, 1), (5, 26, 1), (5, 26, 1.2), (15, 26, 1), (15, 26, 0.5), (15, 30, 1), (10**5, 60, 1)],
)
def test_they_take_the_same_steps(history, steps, scaling, backend_name):
    settings, start = recipe.LBFGS(history=history, scaling=scaling), np.linspace(-1, 2, 12)
    oracle, x = spec.LBFGS(settings), start
    updates = rules(backend_name, start, settings)
    minimum = 0.0
    for step in range(steps):
        if step == steps // 2:
            for rule in (oracle, *(update for update, *_ in updates)):
                rule.reset()
            minimum = 1.0  # moves away, since the steps may have arrived
        x = oracle.update(x, quartic_gradient(x - minimum))
        for update, variable, tensor in updates:
            update.update(tensor(quartic_gradient(variable.numpy() - minimum)))
            np.testing.assert_allclose(variable.numpy(), x, rtol=1e-13, err_msg=type(update).__name__)


@pytest.mark.parametrize(
    "gradients",
    [
        [0.0],
        [1.0, 1.0],
        [1e3, 1e3, 1e3, 1e3, 1e3, 5e2, 3e2],
        [5e-6, 1e-8, -3e-4, 1e-4],
        [1.0, 0.5, 0.5],
        [1.0, 0.5, float("nan")],
    ],
    ids=["none", "no curvature", "no curvature for long", "a pause", "stalled", "not a number"],
)
def test_they_stop_and_skip_alike(gradients, backend_name):
    settings, start = recipe.LBFGS(lr=0.7), np.ones(4)
    oracle, x = spec.LBFGS(settings), start
    updates = rules(backend_name, start, settings)
    for number in gradients:
        gradient = np.array([number, 0, 0, -number / 2])
        x = oracle.update(x, gradient)
        for update, variable, tensor in updates:
            update.update(tensor(gradient))
            np.testing.assert_allclose(variable.numpy(), x, rtol=1e-13, err_msg=type(update).__name__)


def test_steps_grow_tenfold_until_one_teaches_curvature():
    oracle, x, gradient = spec.LBFGS(recipe.LBFGS(lr=0.5)), np.zeros(4), np.array([3e3, -1e3, 0, 1e3])
    for length in (1 / 5e3, 10 / 5e3, 100 / 5e3, 1000 / 5e3, 1, 1):
        before, x = x, oracle.update(x, gradient)
        np.testing.assert_allclose(x - before, -0.5 * length * gradient, rtol=1e-12)


@pytest.mark.parametrize("scaling", [1.0, 1.5])
def test_scaling_multiplies_the_inverse_curvature_where_no_pair_tells_of_one(scaling):
    gradients = np.array([[4.0, -2, 1, 0], [2.5, -1, 1, 0.5], [2.0, -0.5, 0.2, -0.5]])
    oracle, points = spec.LBFGS(recipe.LBFGS(scaling=scaling)), [np.zeros(4)]
    for gradient in gradients:
        points.append(oracle.update(points[-1], gradient))
    # Nocedal & Wright, equations 6.17 and 7.20, the inverse Hessian in full.
    pairs = list(zip(np.diff(points, axis=0)[:-1], np.diff(gradients, axis=0), strict=True))
    s, y = pairs[-1]
    inverse = scaling * (s @ y) / (y @ y) * np.eye(4)
    for s, y in pairs:
        left_out = np.eye(4) - np.outer(y, s) / (s @ y)
        inverse = left_out.T @ inverse @ left_out + np.outer(s, s) / (s @ y)
    np.testing.assert_allclose(points[-1] - points[-2], -inverse @ gradients[-1], rtol=1e-12)


def test_a_first_step_too_short_for_float32_is_followed_by_longer_ones(backend_name):
    start = np.full(1_000_000, 100.0, np.float32)
    for update, variable, tensor in rules(backend_name, start, recipe.LBFGS()):
        far = []
        for _ in range(12):
            update.update(tensor(np.float32(1e6) * (variable.numpy() - np.float32(90.0))))
            far.append(np.abs(variable.numpy() - 90.0).max())
        assert far[0] == 10, "the first step would show"
        assert max(far) <= 10, type(update).__name__
        assert far[-1] < 1e-3, type(update).__name__


@pytest.mark.parametrize("size", [1.0, 1e22])
def test_gradients_whose_squares_float32_cannot_hold(size, backend_name):
    settings, start = recipe.LBFGS(history=5), np.linspace(-1, 2, 12)
    for update, variable, tensor in rules(backend_name, start.astype(np.float32), settings):
        oracle, x = spec.LBFGS(settings), start
        for _ in range(12):
            x = oracle.update(x, size * quartic_gradient(x))
            gradient = size * quartic_gradient(variable.numpy().astype(np.float64))
            update.update(tensor(gradient.astype(np.float32)))
            np.testing.assert_allclose(variable.numpy(), x, atol=1e-4, err_msg=type(update).__name__)
