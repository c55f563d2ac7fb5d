"""Fixed-point arithmetic on tensors is that on NumPy arrays, over its whole domain and at its edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.trained_graphs import FRAMEWORKS
from toolchain.ir import fixed_point as fp
from toolchain.ir.quantization import round_half_away
from toolchain.training import arithmetic as ar

INT32 = st.integers(-(2**31), 2**31 - 1)
FACTORS = st.floats(2.0**-40, 2.0**20) | st.sampled_from([2.0**-32, 2.0**-33, 0.5, 1.0, 1.0 - 2.0**-33, 2.0**-31])


def primitives(framework: str) -> Any:
    if framework == "torch":
        pytest.importorskip("torch")
        from toolchain.training.torch_primitives import TorchPrimitives

        return TorchPrimitives()
    pytest.importorskip("tensorflow")
    from toolchain.training.keras_primitives import KerasPrimitives

    return KerasPrimitives()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@settings(max_examples=60, deadline=None)
@given(values=st.lists(INT32, min_size=1, max_size=8), factor=FACTORS)
def test_multiply(framework: str, values: list[int], factor: float) -> None:
    p, x = primitives(framework), np.array(values, np.int64)
    mantissa, shift = ar.quantize_multiplier(p, p.constant(np.array(factor)))
    wanted = fp.quantize_multiplier(factor)
    assert (int(mantissa), int(shift)) == (wanted.mantissa, wanted.shift)
    found = np.asarray(ar.multiply(p, p.constant(x), mantissa, shift))
    assert np.array_equal(found, fp.multiply(x, wanted.mantissa, wanted.shift))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_rounding(framework: str) -> None:
    p = primitives(framework)
    x = np.concatenate([np.arange(-12, 13) / 4, np.random.default_rng(1).normal(0, 1e6, 200)])
    assert np.array_equal(np.asarray(ar.round_away(p, p.constant(x))), round_half_away(x))
    assert np.array_equal(np.asarray(ar.round_even(p, p.constant(x))), np.rint(x))
    whole = np.arange(-40, 41)
    for bits in range(4):
        found = ar.rounding_shift_right(p, p.constant(whole), p.constant(np.array(bits)))
        assert np.array_equal(np.asarray(found), fp.rounding_shift_right(whole, bits))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_exact_value_and_the_smooth_gradient(framework: str) -> None:
    """`straight` gives the first to the bit, also where adding and subtracting would round, and the second's gradient."""
    p = primitives(framework)
    exact, x = np.array([1.0, 3.0e7, -2.0], np.float32), np.array([0.3, 1e-7, 5.0], np.float32)
    if framework == "torch":
        import torch

        variable = torch.tensor(x, requires_grad=True)
        found = p.straight(p.constant(exact), variable * 3.0)
        found.sum().backward()
        value, gradient = found.detach().numpy(), np.asarray(variable.grad)
    else:
        import tensorflow as tf

        source = tf.Variable(x)
        with tf.GradientTape() as tape:
            made = p.straight(p.constant(exact), source * 3.0)
        value, gradient = made.numpy(), np.asarray(tape.gradient(made, source))
    assert np.array_equal(value, exact)
    assert np.array_equal(gradient, np.full(3, 3.0, np.float32))
