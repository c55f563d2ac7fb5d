"""Elementwise ops: sums and products in fixed point, functions of one variable from tables of 256 entries."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from toolchain.ir.attrs import Attrs
from toolchain.ir.functions import UNARY
from toolchain.ir.graph import Node
from toolchain.ir.quantization import ADD_LEFT_SHIFT, lut_int8
from toolchain.ir.types import Array, DType, TensorType, per_tensor
from toolchain.training.arithmetic import scaled
from toolchain.training.layers import finish
from toolchain.training.primitives import Tensor
from toolchain.training.program import Run

NARROW_STEP = 1e-5
"""Half the step of the central differences that slopes come from, beside the size of the argument."""


def add(run: Run, node: Node) -> tuple[Tensor]:
    """add and sub: both operands are brought to twice the larger scale, with 20 bits more."""
    p, (x, y) = run.p, node.inputs
    left = ADD_LEFT_SHIFT[DType.I8]
    twice = 2.0 * p.maximum(run.wide_scale(x), run.wide_scale(y))
    sides = [
        scaled(p, p.shift_left(p.cast(p.stop(run.centred(value)), "i64"), left), run.wide_scale(value) / twice)
        for value in (x, y)
    ]
    total = sides[0] + sides[1] if node.op == "add" else sides[0] - sides[1]
    exact = scaled(p, total, twice / (run.wide_scale(node.output) * float(1 << left)))
    real = run.real(x) + run.real(y) if node.op == "add" else run.real(x) - run.real(y)
    return (finish(run, node, exact, real / run.scale(node.output)),)


def mul(run: Run, node: Node) -> tuple[Tensor]:
    """The product of centred operands."""
    p, (x, y) = run.p, node.inputs
    product = p.cast(p.stop(run.centred(x)), "i64") * p.cast(p.stop(run.centred(y)), "i64")
    exact = scaled(p, product, run.wide_scale(x) * run.wide_scale(y) / run.wide_scale(node.output))
    return (finish(run, node, exact, run.real(x) * run.real(y) / run.scale(node.output)),)


def requantize(run: Run, node: Node) -> tuple[Tensor]:
    """The same real number in other steps."""
    p, x = run.p, node.inputs[0]
    exact = scaled(p, p.cast(p.stop(run.centred(x)), "i64"), run.wide_scale(x) / run.wide_scale(node.output))
    return (finish(run, node, exact, run.real(x) / run.scale(node.output)),)


def quantize(run: Run, node: Node) -> tuple[Tensor]:
    """A float on the grid of its output."""
    out = node.output
    return (run.stored(run.value(node.inputs[0]), run.scale(out), run.zero(out), out.type.dtype.limits),)


def dequantize(run: Run, node: Node) -> tuple[Tensor]:
    """The real number of a stored one."""
    return (run.real(node.inputs[0]),)


def unary(run: Run, node: Node) -> tuple[Tensor]:
    """A function of one variable: the stored result, its real value and its slope are looked up."""
    p, x, out = run.p, node.inputs[0], node.output

    def tables(scale_in: Array, scale_out: Array) -> list[Array]:
        kinds = [
            TensorType(v.type.shape, DType.I8, per_tensor(float(s), int(run.zero(v))))
            for v, s in ((x, scale_in), (out, scale_out))
        ]
        return [*_tables(node.op, node.attrs, kinds[0], kinds[1])]

    scales = [p.stop(run.scale(value)) for value in (x, out)]
    stored, value, slope = p.on_host(tables, scales, [(256,)] * 3, "f32")
    index = p.cast(p.stop(run.value(x)), "i64") + 128
    real = run.real(x)
    # A tangent: its value is that of the function, its gradient goes on to the operand and to both scales.
    tangent = p.look_up(value, index) + p.look_up(slope, index) * (real - p.stop(real))
    steps = tangent / run.scale(out) + run.zero(out)
    return (p.straight(p.look_up(stored, index), run.unsaturated(steps, out.type.dtype.limits)),)


@lru_cache(maxsize=512)
def _tables(op: str, attrs: Attrs, x: TensorType, out: TensorType) -> tuple[Array, Array, Array]:
    """For the 256 stored inputs: stored results, real results and slopes of the float function, float32."""
    real = function_inputs(x)
    step = NARROW_STEP * np.maximum(np.abs(real), x.quant.scalar_scale if x.quant is not None else 1.0)
    with np.errstate(all="ignore"):
        value = UNARY[op](attrs, real)
        slope = (UNARY[op](attrs, real + step) - UNARY[op](attrs, real - step)) / (2 * step)
    finite = np.isfinite(value) & np.isfinite(slope)
    smooth = [np.where(finite, array, 0.0).astype(np.float32) for array in (value, slope)]
    return lut_int8(op, attrs, x, out).astype(np.float32), smooth[0], smooth[1]


def function_inputs(x: TensorType) -> Array:
    """The real numbers that −128 … 127 stand for, float64."""
    quant = x.quant or per_tensor(1.0)
    return (np.arange(-128, 128) - quant.scalar_zero_point) * quant.scalar_scale
