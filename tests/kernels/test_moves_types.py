"""Moves of every element size: portable C against the evaluator, exact."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.property.cases import FLOAT32
from tests.support.float_cases import whole_array
from tests.support.kernel_cases import Case, check_cases, drawn_case
from toolchain.ir.attrs import (
    AxesAttrs,
    AxisAttrs,
    PadAttrs,
    PermAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
)
from toolchain.ir.graph import Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor

MOVES = (
    *("transpose", "concat", "split", "slice", "pad", "tile", "broadcast_to", "reverse", "space_to_depth", "depth_to_space"),
    *("where", "gather", "gather_nd", "gather_elements", "scatter_nd", "scatter_elements"),
    *("one_hot", "resize_nearest", "reshape"),
)
KINDS = (
    *((DType.I8, None), (DType.BOOL, None), (DType.U16, None), (DType.I32, None), (DType.I64, None), (DType.U64, None)),
    *((DType.I8, per_tensor(0.5, -3)), (DType.I16, per_tensor(0.25, 0))),
)


def retyped(case: Case, dtype: DType, quant: Quant | None, rng: np.random.Generator) -> Case:
    """The case with its float32 tensors of another type."""

    def change(value: Value) -> Value:
        return Value(value.name, TensorType(value.type.shape, dtype, quant)) if value.type.dtype is DType.F32 else value

    def data(value: Value, array: Array) -> Array:
        return whole_array(rng, change(value).type) if value.type.dtype is DType.F32 else array

    node = case.node
    attrs = replace(node.attrs, value=1.0) if isinstance(node.attrs, PadAttrs) else node.attrs
    free = [v for v in node.inputs if v.name not in case.constants]
    samples = tuple(tuple(data(v, array) for v, array in zip(free, sample, strict=True)) for sample in case.samples)
    constants = {v.name: data(v, case.constants[v.name]) for v in node.inputs if v.name in case.constants}
    return Case(Node(node.op, tuple(map(change, node.inputs)), tuple(map(change, node.outputs)), attrs), samples, constants)


def joins_without_order(case: Case, dtype: DType, quant: Quant | None) -> bool:
    """True for scatters that compute sums or products, which bools and quantized tensors have not."""
    return getattr(case.node.attrs, "reduction", "none") in ("add", "mul") and (dtype is DType.BOOL or quant is not None)


@pytest.mark.parametrize(("dtype", "quant"), KINDS, ids=[f"{d}{'q' if q else ''}" for d, q in KINDS])
def test_element_types(dtype: DType, quant: Quant | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    drawn = [drawn_case(op, FLOAT32, zlib.crc32(op.encode()) % 100_000 + i) for op in MOVES for i in range(4)]
    check_cases([retyped(c, dtype, quant, rng) for c in drawn if not joins_without_order(c, dtype, quant)], tmp_path)


def made(op: str, shape: tuple[int, ...], attrs: object, results: int = 1) -> Case:
    x = Value("x", TensorType(shape, DType.I16))
    node = make_node(op, (x,), [f"y{i}" for i in range(results)], attrs)  # type: ignore[arg-type]
    return Case(node, ((whole_array(np.random.default_rng(3), x.type),),))


def test_deep_and_flat_shapes(tmp_path: Path) -> None:
    six = (2, 3, 2, 3, 2, 3)
    cases = [
        made("transpose", six, PermAttrs((5, 3, 1, 4, 2, 0))),
        made("transpose", (2, 1, 3, 1), PermAttrs((3, 0, 1, 2))),
        made("transpose", (2, 2, 2, 2, 2, 2, 2, 2), PermAttrs((7, 6, 5, 4, 3, 2, 1, 0))),
        made("tile", (2, 3, 1, 2), TileAttrs((2, 1, 4, 3))),
        made("broadcast_to", (2, 1, 2, 1, 2), ReshapeAttrs((3, 2, 3, 2, 3, 2))),
        made("reverse", six, AxesAttrs((0, 2, 4))),
        made("slice", six, SliceAttrs((1, 2, 0, 2, 1, 0), (-1, -1, 2, -1, -1, 3), (-1, -2, 1, -1, -2, 2))),
        made("slice", (4, 5), SliceAttrs((0, 0), (4, 5), (1, 1))),
        made("slice", (4, 5), SliceAttrs((2, 0), (2, 5), (1, 1))),
        made("split", (2, 7, 3), SplitAttrs(1, (1, 4, 2)), 3),
        made("split", (2, 7, 3), SplitAttrs(1, (7,))),
        made("concat", (2, 7, 3), AxisAttrs(1)),
        *(made("slice", (2, 3, 7, depth), SliceAttrs((0, 0, 2, 0), (2, 3, 6, depth), (1, 1, 1, 1))) for depth in (3, 4)),
        *(made("concat", (2, 3, 5, depth), AxisAttrs(2)) for depth in (3, 4)),
        made("pad", (3,), PadAttrs((2,), (1,))),
        made("pad", (3, 2), PadAttrs((0, 0), (0, 0))),
        made("reverse", (1, 4), AxesAttrs((0,))),
    ]
    check_cases(cases, tmp_path)


def test_many_operands(tmp_path: Path) -> None:
    operands = [Value(f"x{i}", TensorType((2, i % 3 + 1, 2), DType.U8)) for i in range(40)]
    rng = np.random.default_rng(5)
    node = make_node("concat", operands, ("y",), AxisAttrs(1))
    check_cases([Case(node, (tuple(whole_array(rng, v.type) for v in operands),))], tmp_path)


def test_empty_tensors(tmp_path: Path) -> None:
    """Tensors without elements have no bytes, and nothing is read or written for them."""
    x, none = Value("x", TensorType((3, 2), DType.I16)), Value("n", TensorType((0, 2), DType.I16))
    other = Value("m", none.type)
    picks = Value("i", TensorType((0,), DType.I32))
    nodes = [
        make_node("split", (x,), ("y0", "y1"), SplitAttrs(0, (0, 3))),
        make_node("concat", (none, x), ("y",), AxisAttrs(0)),
        make_node("gather", (x, picks), ("y",)),
        make_node("add", (none, other), ("y",)),
        make_node("reduce_sum", (none,), ("y",), ReduceAttrs((0,))),
        make_node("tile", (x,), ("y",), TileAttrs((0, 1))),
        make_node("pad", (none,), ("y",), PadAttrs((1, 0), (1, 0), value=7.0)),
        make_node("transpose", (none,), ("y",), PermAttrs((1, 0))),
        make_node("cast", (none,), ("y",)),
        make_node("where", (Value("c", TensorType((0, 1), DType.BOOL)), none, other), ("y",)),
    ]
    rng = np.random.default_rng(2)
    check_cases([Case(node, (tuple(whole_array(rng, v.type) for v in node.inputs),)) for node in nodes], tmp_path)
