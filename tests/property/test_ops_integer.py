"""Integer meanings, byte for byte: TFLite Micro where it has the op, else LiteRT's reference kernels, else the table rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.cases import CELLS, DYNAMIC, INT8, INT16, Case, random_case
from tests.support.tflite_node import NotInTFLite, run_litert, run_tflm, tflite_bytes
from toolchain.errors import ModelError
from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import Array, DType, TensorType
from toolchain.reference.evaluator import run_node

SEEDS = st.integers(0, 2**31)
QUICK = settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))

TFLM_BOTH = [
    "conv_2d",
    "depthwise_conv_2d",
    "transpose_conv_2d",
    "fully_connected",
    "batch_matmul",
    "max_pool_2d",
    "average_pool_2d",
    "add",
    "sub",
    "mul",
    "squared_difference",
    "minimum",
    "maximum",
    "relu",
    "leaky_relu",
    "tanh",
    "sigmoid",
    "abs",
    "softmax",
    "reduce_mean",
    "reduce_sum",
    "where",
    "requantize",
    "dequantize",
    "transpose",
    "reshape",
    "concat",
    "slice",
    "resize_nearest",
]
TFLM_INT8 = [
    "prelu",
    "elu",
    "hard_swish",
    "rsqrt",
    "log_softmax",
    "l2_norm",
    "reduce_max",
    "reduce_min",
    "argmax",
    "argmin",
    "cumsum",
    "split",
    "pad",
    "broadcast_to",
    "gather",
    "gather_nd",
    "space_to_depth",
    "depth_to_space",
    "resize_bilinear",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
]
# TFLM clamps relu6 on the input's scale whatever the output's is, so LiteRT, which requantizes, defines it.
LITERT_BOTH = ["relu6", "exp", "log", "sqrt", "gelu", "reduce_prod"]
LITERT_INT8 = ["relu_n1_1", "tile", "reverse"]
LITERT_INT16 = ["rsqrt", "reduce_max", "reduce_min", "resize_bilinear"]
ENGINE: dict[tuple[str, str], Callable[..., list[Array]]] = {
    **{(op, cell): run_tflm for op in TFLM_BOTH for cell in (INT8, INT16)},
    **{(op, INT8): run_tflm for op in TFLM_INT8},
    **{(op, cell): run_litert for op in LITERT_BOTH for cell in (INT8, INT16)},
    **{(op, INT8): run_litert for op in LITERT_INT8},
    **{(op, INT16): run_litert for op in LITERT_INT16},
}
TABLE: dict[str, Callable[[float], float]] = {
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "atan", "asinh", "erf", "floor", "ceil")},
    "sinh": lambda x: math.sinh(min(max(x, -700.0), 700.0)),
    "cosh": lambda x: math.cosh(min(max(x, -700.0), 700.0)),
    "asin": lambda x: math.asin(min(max(x, -1.0), 1.0)),
    "acos": lambda x: math.acos(min(max(x, -1.0), 1.0)),
    "acosh": lambda x: math.acosh(max(x, 1.0)),
    "atanh": lambda x: math.copysign(math.inf, x) if abs(x) >= 1.0 else math.atanh(x),
    "neg": lambda x: -x,
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1.0 / x if x else math.inf,
    "round": round,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "swish": lambda x: x / (1.0 + math.exp(-x)),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "softsign": lambda x: x / (1.0 + abs(x)),
}
MOVED = [
    "gather",
    "gather_nd",
    "gather_elements",
    "scatter_elements",
    "scatter_nd",
    "one_hot",
    "top_k",
    "argmax",
    "argmin",
    "tile",
    "reverse",
    "split",
    "pad",
    "copy",
]
MOVED += ["broadcast_to", "space_to_depth", "depth_to_space", "where", "minimum", "maximum"]
SMOOTH = {*TABLE, "elu", "hard_swish", "hard_sigmoid"} - {
    "floor",
    "ceil",
    "round",
    "sign",
    "tan",
    "asin",
    "acos",
    "acosh",
    "atanh",
}
OTHER = {("div", INT8), ("div", INT16), ("hard_sigmoid", INT8)}
EXTENDED = {("prelu", INT16), ("relu_n1_1", INT16)}
"""Specified arithmetic carried over to int16, where no engine has it: checked to be near the real result."""


def case_for(op: str, cell: str, seed: int, engine: Callable[..., list[Array]]) -> tuple[Case, list[Array]]:
    """The first case from the seed on that TFLite can say and the engine takes, and the engine's outputs."""
    for offset in range(60):
        case = random_case(op, cell, seed + offset)
        try:
            model = tflite_bytes(case.node, case.constants)
            return case, engine(model, case.samples) if engine is run_litert else run_tflm(
                model, case.samples, len(case.node.outputs)
            )
        except NotInTFLite:
            continue
        except RuntimeError:
            # TFLM's gather wants constant indices of int32, LiteRT's reverse neighbouring axes.
            if op not in ("gather", "reverse"):
                raise
    raise AssertionError(f"the engine takes no case of {op}")


def stored_fill(case: Case) -> Case:
    """The same pad, its value replaced by the integer that stands for it, halves away from zero."""
    quant = case.node.output.type.quant
    assert quant is not None
    ratio = case.node.attrs.value / quant.scalar_scale
    low, high = case.node.output.type.dtype.limits
    whole = math.floor(abs(ratio) + 0.5) * (1 if ratio >= 0 else -1) + quant.scalar_zero_point
    attrs = replace(case.node.attrs, value=float(min(max(whole, low), high)))
    return Case(replace(case.node, attrs=attrs), case.inputs, case.constant)


@pytest.mark.parametrize(("op", "cell"), sorted(ENGINE))
@QUICK
@given(seed=SEEDS)
def test_bytes_equal_the_engine(op: str, cell: str, seed: int) -> None:
    assert_bytes_equal(op, cell, seed)


@pytest.mark.long
@pytest.mark.parametrize(("op", "cell"), sorted(ENGINE))
def test_bytes_equal_the_engine_on_many_cases(op: str, cell: str) -> None:
    for seed in range(0, 200 * 7919, 7919):
        assert_bytes_equal(op, cell, seed)


def assert_bytes_equal(op: str, cell: str, seed: int) -> None:
    """Every output byte is the engine's; where a table hangs on the last bit of libm's erf or tanh, within one step."""
    case, expected = case_for(op, cell, seed, ENGINE[op, cell])
    for got, want, value in zip(run_node(case.node, case.inputs), expected, case.node.outputs, strict=True):
        assert got.dtype == want.dtype
        difference = np.abs(got.astype(np.int64) - want.reshape(value.type.shape).astype(np.int64))
        assert difference.max(initial=0) <= (1 if (op, cell) == ("gelu", INT16) else 0)


@pytest.mark.parametrize("op", sorted(TABLE))
@QUICK
@given(seed=SEEDS)
def test_table_rule(op: str, seed: int) -> None:
    """round(f(scale * (x - zero)) / scale') + zero', halves away from zero; a float32 step may move an exact half."""
    case = random_case(op, INT8, seed)
    source, target = case.node.inputs[0].type.quant, case.node.output.type.quant
    assert source is not None
    assert target is not None
    for stored, got in zip(case.inputs[0].ravel().tolist(), run_node(case.node, case.inputs)[0].ravel().tolist(), strict=True):
        real = TABLE[op](float(np.float32(source.scalar_scale) * np.float32(stored - source.scalar_zero_point)))
        exact = min(max(real / target.scalar_scale + target.scalar_zero_point, -1000.0), 1000.0)
        allowed = {min(max(math.floor(exact + 0.5 + nudge), -128), 127) for nudge in (-1e-4, 1e-4)}
        assert got in allowed


@pytest.mark.parametrize("op", sorted(SMOOTH))
@QUICK
@given(seed=SEEDS)
def test_wide_table_is_near_the_function(op: str, seed: int) -> None:
    """The sampled int16 table, interpolated, stays near the float meaning.

    Not near 0, where some functions bend too much within a step of the table (128 stored values).
    """
    case = random_case(op, INT16, seed)
    source, target = case.node.inputs[0].type.quant, case.node.output.type.quant
    assert source is not None
    assert target is not None
    real = (case.inputs[0].astype(np.float64) * source.scalar_scale).astype(np.float32)
    plain = [Value(v.name, TensorType(v.type.shape, DType.F32)) for v in (case.node.inputs[0], case.node.output)]
    node = replace(case.node, inputs=(plain[0],), outputs=(plain[1],))
    want = run_node(node, [real])[0].astype(np.float64) / target.scalar_scale
    usable = (np.abs(want) < 32000) & (np.abs(real) > max(0.2, 8 * 128 * source.scalar_scale))
    got = run_node(case.node, case.inputs)[0].astype(np.float64)
    # A chord of a sine lies off its arc by an eighth of the step's square, however small the sine is there.
    bend = (128 * source.scalar_scale) ** 2 / 8 / target.scalar_scale if op in ("sin", "cos") else 0.0
    np.testing.assert_allclose(got[usable], want[usable], atol=0.01 * np.abs(want[usable]).max(initial=1.0) + bend + 2)


def wide_sample(op: str, index: int, source: float, target: float) -> float:
    """LiteRT's table entry for stored input 128 * index - 32768, unrounded: the function less half the error in mid-step."""
    low, high = np.float32(source) * np.float32(-32768), np.float32(source) * np.float32(32767)
    step, ends = (high - low) / np.float32(512), (-32768 * target, 32767 * target)
    x = high if index == 512 else low + np.float32(index) * step
    reals = [TABLE[op](float(place)) for place in (x, x + step / np.float32(2), low + np.float32(index + 1) * step)]
    here, middle, after = ((ends[y > 0] if math.isinf(y) else y) * 65536 / (ends[1] - ends[0]) for y in reals)
    bias = 0.0 if index == 512 else ((here + after) / 2 - middle) / 2
    return min(max(here - bias, -32768.0), 32767.0)


@pytest.mark.parametrize("op", sorted(set(TABLE) - SMOOTH))
@QUICK
@given(seed=SEEDS)
def test_wide_table_interpolates_its_samples(op: str, seed: int) -> None:
    """Functions with steps or poles, which a table meets at its samples only; the four roundings make up to two steps."""
    case = random_case(op, INT16, seed)
    source, target = case.node.inputs[0].type.quant, case.node.output.type.quant
    assert source is not None
    assert target is not None
    for stored, got in zip(case.inputs[0].ravel().tolist(), run_node(case.node, case.inputs)[0].ravel().tolist(), strict=True):
        index, part = (stored >> 7) + 256, (stored & 127) / 128
        left, right = (wide_sample(op, i, source.scalar_scale, target.scalar_scale) for i in (index, index + 1))
        assert abs(left + (right - left) * part - got) <= 2


@pytest.mark.parametrize("cell", [INT8, INT16])
@pytest.mark.parametrize("op", sorted(MOVED))
@QUICK
@given(seed=SEEDS)
def test_stored_values_move_as_floats_do(op: str, cell: str, seed: int) -> None:
    case = random_case(op, cell, seed)
    raw = stored_fill(case) if op == "pad" else case

    def plain(value: Value) -> Value:
        return Value(value.name, TensorType(value.type.shape, DType.F32 if value.type.quant else value.type.dtype))

    node = replace(raw.node, inputs=tuple(map(plain, raw.node.inputs)), outputs=tuple(map(plain, raw.node.outputs)))
    inputs = [a.astype(v.type.dtype.numpy) for a, v in zip(case.inputs, node.inputs, strict=True)]
    for got, want in zip(run_node(case.node, case.inputs), run_node(node, inputs), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("cell", "engine"), [(INT8, run_tflm), (INT16, run_litert)])
@QUICK
@given(seed=SEEDS)
def test_div_where_the_engines_arithmetic_is_defined(cell: str, engine: Callable[..., list[Array]], seed: int) -> None:
    """Both engines shift right by the sum of four exponents; beyond 31 that is undefined in C, and Strop gives the exact 0."""
    case = random_case("div", cell, seed)
    want = engine(tflite_bytes(case.node, case.constants), case.samples)[0].reshape(case.node.output.type.shape)
    quants = [v.type.quant for v in (*case.node.inputs, case.node.output)]
    scales = [q.scalar_scale for q in quants if q is not None]
    zeros = [q.scalar_zero_point for q in quants if q is not None]
    x, y = np.broadcast_arrays(*(a.astype(np.int64) - z for a, z in zip(case.inputs, zeros, strict=False)))
    shift = math.frexp(scales[0] / scales[1] / scales[2])[1]
    signed = np.where(y < 0, -x, x)
    bits = np.frexp(np.where(signed >= 0, signed, ~signed).astype(np.float64))[1]
    total = 31 - bits + np.frexp(np.abs(y).astype(np.float64))[1] - 1 - shift
    defined = (total >= 0) & (total <= 31)
    got = run_node(case.node, case.inputs)[0]
    np.testing.assert_array_equal(got[defined], want[defined])
    real = np.clip((x * scales[0]) / (y * scales[1]), *case.node.attrs.activation.bounds) / scales[2] + zeros[2]
    low, high = case.node.output.type.dtype.limits
    assert np.abs(got - np.clip(real, low, high))[~defined].max(initial=0) <= 1.0


@pytest.mark.parametrize(("op", "cell"), sorted(EXTENDED))
@QUICK
@given(seed=SEEDS)
def test_extended_arithmetic_is_near_the_real_result(op: str, cell: str, seed: int) -> None:
    case = random_case(op, cell, seed)
    quant = case.node.output.type.quant
    assert quant is not None
    reals = [a * v.type.quant.scalar_scale for a, v in zip(case.inputs, case.node.inputs, strict=True) if v.type.quant]
    x = reals[0]
    want = np.where(x >= 0, x, x * reals[1]) if op == "prelu" else np.clip(x, -1, 1)
    stored = np.clip(want / quant.scalar_scale, -32768, 32767)
    assert np.abs(run_node(case.node, case.inputs)[0] - stored).max() <= 1.0


@QUICK
@given(seed=SEEDS)
def test_hard_sigmoid_table(seed: int) -> None:
    case = random_case("hard_sigmoid", INT8, seed)
    a, source, target = case.node.attrs, case.node.inputs[0].type.quant, case.node.output.type.quant
    assert source is not None
    assert target is not None
    real = np.clip(a.alpha * source.scalar_scale * (case.inputs[0].astype(int) - source.scalar_zero_point) + a.beta, 0.0, 1.0)
    want = np.clip(real / target.scalar_scale + target.scalar_zero_point, -128, 127)
    assert np.abs(run_node(case.node, case.inputs)[0] - want).max() <= 0.5 + 1e-4


@QUICK
@given(seed=SEEDS)
@pytest.mark.parametrize("op", DYNAMIC)
def test_dynamic_layers_follow_their_definition(op: str, seed: int) -> None:
    """One output after the other, by whole numbers and float32 of Python."""
    case = random_case(op, INT8, seed)
    (x, w, *bias), out = case.inputs, run_node(case.node, case.inputs)[0]
    scales = case.node.inputs[1].type.quant
    assert scales is not None
    rows = x if "conv" in op else x.reshape(-1, 1, 1, x.shape[-1])
    weights = w if "conv" in op else w[:, None, None, :]
    attrs = case.node.attrs if "conv" in op else ConvAttrs(activation=case.node.attrs.activation)
    grid = {image: _grid(rows[image]) for image in range(len(rows))}
    for place, found in zip(np.ndindex(*out.reshape(len(rows), -1, out.shape[-1]).shape), out.reshape(-1), strict=True):
        image, pixel, channel = place
        width = (out.shape[2] if "conv" in op else 1) or 1
        total = 0
        for ky, kx, depth in np.ndindex(weights.shape[1], weights.shape[2], 1 if "depthwise" in op else weights.shape[3]):
            row = pixel // width * attrs.stride[0] - attrs.padding[0] + ky * attrs.dilation[0]
            column = pixel % width * attrs.stride[1] - attrs.padding[2] + kx * attrs.dilation[1]
            if not (0 <= row < rows.shape[1] and 0 <= column < rows.shape[2]):
                continue
            if "depthwise" in op:
                source, weight = channel // (weights.shape[3] // rows.shape[3]), weights[0, ky, kx, channel]
            else:
                per_group = weights.shape[0] // (rows.shape[3] // weights.shape[3])
                source, weight = channel // per_group * weights.shape[3] + depth, weights[channel, ky, kx, depth]
            total += int(_steps(rows[image, row, column, source], grid[image])) * int(weight)
        scale = np.float32(scales.scale[channel if scales.axis is not None else 0])
        want = np.float32(total) * grid[image][1] * scale
        want = want + bias[0][channel] if bias else want
        low, high = attrs.activation.bounds
        assert found == np.float32(min(max(want, low), high)), place


def _grid(image: Array) -> tuple[np.float32, np.float32, int]:
    """Steps of one, the size of a step, and the least count."""
    low, high = min(float(image.min()), 0.0), max(float(image.max()), 0.0)
    span = np.float32(np.float32(high) - np.float32(low))
    if span <= np.float32(1e-30):
        return np.float32(0), np.float32(0), 0
    inverse = np.float32(255) / span
    return inverse, span / np.float32(255), _half_away(np.float32(low) * inverse)


def _steps(x: np.float32, grid: tuple[np.float32, np.float32, int]) -> int:
    return min(max(_half_away(x * grid[0]), grid[2]), grid[2] + 255)


def _half_away(x: np.float32) -> int:
    return math.floor(abs(float(x)) + 0.5) * (1 if x >= 0 else -1)


def test_division_by_zero_saturates() -> None:
    case = random_case("div", INT8, 12)
    types = [v.type for v in case.node.inputs]
    assert types[0].quant is not None
    assert types[1].quant is not None
    zero_x, zero_y = types[0].quant.scalar_zero_point, types[1].quant.scalar_zero_point
    divisor = np.full(types[1].shape, zero_y, np.int8)
    up = run_node(case.node, [np.full(types[0].shape, 127, np.int8), divisor])[0]
    down = run_node(case.node, [np.full(types[0].shape, -128, np.int8), divisor])[0]
    none = run_node(case.node, [np.full(types[0].shape, zero_x, np.int8), divisor])[0]
    assert len(np.unique(up)) == len(np.unique(down)) == len(np.unique(none)) == 1
    assert down.flat[0] <= none.flat[0] <= up.flat[0]


def test_an_op_without_integer_meaning_is_an_error() -> None:
    case = random_case("less", INT8, 0)
    wide = [replace(v, type=replace(v.type, dtype=DType.I16)) for v in case.node.inputs]
    with pytest.raises(ModelError, match=r"E111 y0: less has no integer meaning on i16\. Keep this node in float\."):
        run_node(replace(case.node, inputs=tuple(wide)), [a.astype(np.int16) for a in case.inputs])


@pytest.mark.parametrize("cell", [INT8, INT16])
@QUICK
@given(seed=SEEDS)
def test_cast_takes_the_stored_numbers(cell: str, seed: int) -> None:
    case = random_case("cast", cell, seed)
    got = run_node(case.node, case.inputs)[0]
    assert got.dtype == case.node.output.type.dtype.numpy
    assert got.ravel().tolist() == case.inputs[0].ravel().tolist()


def test_every_integer_cell_has_an_oracle() -> None:
    covered = {
        *ENGINE,
        *OTHER,
        *EXTENDED,
        *((op, INT8) for op in DYNAMIC),
        ("cast", INT8),
        ("cast", INT16),
        *((op, INT8) for op in TABLE),
    }
    covered |= {(op, INT16) for op in {*TABLE, "elu", "hard_swish", "hard_sigmoid"}}
    covered |= {(op, cell) for op in MOVED for cell in (INT8, INT16)}
    defined = {(op, cell) for op, cells in CELLS.items() for cell in cells if cell in (INT8, INT16)}
    assert defined - covered == set()
