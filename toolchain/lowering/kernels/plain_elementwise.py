"""Bindings of elementwise kernels on plain integers and bools, and of changes of element type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import DType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import C_TYPES, Binding, Variant, fields, loops_field, read, write
from toolchain.lowering.kernels.move import bind_copy
from toolchain.lowering.program import Constant, Operand

SIGNED = (DType.I8, DType.I16, DType.I32, DType.I64)
UNSIGNED = (DType.U8, DType.U16, DType.U32, DType.U64)
INTEGERS = (*SIGNED, *UNSIGNED)

ARITHMETIC = ("add", "sub", "mul", "squared_difference", "minimum", "maximum")
QUOTIENTS = ("div", "pow", "mod", "floor_mod", "floor_div")
BITS = ("bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
BOOL_PAIRS = {
    "logical_and": "bitwise_and",
    "logical_or": "bitwise_or",
    "logical_xor": "bitwise_xor",
    "bitwise_and": "bitwise_and",
    "bitwise_or": "bitwise_or",
    "bitwise_xor": "bitwise_xor",
    "equal": "equal",
    "not_equal": "not_equal",
    "less": "less",
    "less_equal": "less_equal",
    "greater": "greater",
    "greater_equal": "greater_equal",
}
"""Operations on bools by the kernel on bytes of 0 and 1 that computes them."""

SIGNED_MAPS = ("relu", "relu6", "relu_n1_1", "abs", "neg", "square", "sign", "bitwise_not")
UNSIGNED_MAPS = ("relu6", "relu_n1_1", "neg", "square", "sign", "bitwise_not")
UNCHANGED = {"floor": INTEGERS, "ceil": INTEGERS, "round": INTEGERS, "relu": UNSIGNED, "abs": UNSIGNED}
"""Functions that give integers back as they are."""


def plain(*dtypes: DType) -> Callable[[Graph, Node], bool]:
    """A test that all inputs are unquantized and of one of the element types."""
    return lambda graph, node: all(v.type.dtype in dtypes and v.type.quant is None for v in node.inputs)


def _bind_pair(graph: Graph, node: Node) -> Binding:
    loops = loops_field(node.name, node.output.type.shape, [value.type.shape for value in node.inputs], ("a", "b"))
    return Binding((loops,), (read(graph, node.inputs[0]), read(graph, node.inputs[1]), write(node.output)))


def _bind_map(graph: Graph, node: Node) -> Binding:
    return Binding(fields(count=node.output.type.elements), (read(graph, node.inputs[0]), write(node.output)))


def _pair(op: str, kernel: str, dtype: DType, cost: float) -> Variant:
    function = f"strop_{kernel}_pair_{'u8' if dtype is DType.BOOL else dtype}"
    shape = "strop_binary_raw_shape"
    return Variant(op, "portable", "binary_raw.h", function, shape, plain(dtype), _bind_pair, linear(per_output=cost))


def _map(op: str, dtype: DType) -> Variant:
    shape = "strop_unary_raw_shape"
    return Variant(op, "portable", "unary_raw.h", f"strop_{op}_map_{dtype}", shape, plain(dtype), _bind_map, linear(per_output=6))


def _same(op: str, dtypes: tuple[DType, ...]) -> Variant:
    return Variant(op, "portable", "move.h", "strop_copy", "strop_copy_shape", plain(*dtypes), bind_copy, linear(per_output=1))


def _unsigned(dtype: DType) -> DType:
    """The unsigned type of the same size."""
    return {DType.I8: DType.U8, DType.I16: DType.U16, DType.I32: DType.U32, DType.I64: DType.U64}.get(dtype, dtype)


def _cast_types(source: DType, target: DType) -> tuple[DType, DType] | None:
    """The types of the kernel that casts between two element types, None where their bytes are the same."""
    stored = DType.U8 if source is DType.BOOL else source
    if source is target or (source is DType.BOOL and target.bits == 8):
        return None
    if target is DType.BOOL:
        return _unsigned(stored), target
    if DType.F32 in (stored, target):
        return stored, target
    if stored.bits == target.bits:
        return None
    narrower = target.bits < stored.bits
    return _unsigned(stored) if narrower else stored, _unsigned(target)


def _viewed(operand: Operand, dtype: DType) -> Operand:
    """The operand as elements of another type of the same size."""
    ctype = C_TYPES[dtype]
    if operand.constant is None:
        return Operand(ctype, operand.value, writable=operand.writable)
    return Operand(ctype, constant=Constant(ctype, operand.constant.data.view(np.dtype(dtype.numpy))))


def _bind_cast(graph: Graph, node: Node) -> Binding:
    types = _cast_types(node.inputs[0].type.dtype, node.output.type.dtype)
    source, target = types if types else (DType.U8, DType.U8)
    operands = (_viewed(read(graph, node.inputs[0]), source), _viewed(write(node.output), target))
    return Binding(fields(count=node.output.type.elements), operands)


def _is_cast(source: DType, target: DType) -> Callable[[Graph, Node], bool]:
    def accepts(graph: Graph, node: Node) -> bool:
        ends: tuple[Value, Value] = (node.inputs[0], node.output)
        held = all(value.type.dtype in C_TYPES for value in ends)
        return held and _cast_types(ends[0].type.dtype, ends[1].type.dtype) == (source, target)

    return accepts


def _keeps_bytes(graph: Graph, node: Node) -> bool:
    ends = (node.inputs[0].type, node.output.type)
    held = all(t.dtype in C_TYPES for t in ends)
    return held and _cast_types(ends[0].dtype, ends[1].dtype) is None


def _casts() -> tuple[Variant, ...]:
    pairs = {_cast_types(source, target) for source in C_TYPES for target in C_TYPES} - {None}
    return tuple(
        Variant(
            "cast",
            "portable",
            "cast_raw.h",
            f"strop_cast_{source}_{target}",
            "strop_cast_shape",
            _is_cast(source, target),
            _bind_cast,
            linear(per_output=7),
        )
        for source, target in sorted(pair for pair in pairs if pair is not None)
    )


VARIANTS = (
    *(_pair(op, op, dtype, 9) for op in (*ARITHMETIC, *BITS, *COMPARISONS) for dtype in INTEGERS),
    *(_pair(op, op, dtype, 30) for op in QUOTIENTS for dtype in INTEGERS),
    *(_pair(op, kernel, DType.BOOL, 9) for op, kernel in BOOL_PAIRS.items()),
    *(_pair("prelu", "prelu", dtype, 9) for dtype in SIGNED),
    *(_map(op, dtype) for op in SIGNED_MAPS for dtype in SIGNED),
    *(_map(op, dtype) for op in UNSIGNED_MAPS for dtype in UNSIGNED),
    _map("logical_not", DType.BOOL),
    Variant(
        "bitwise_not",
        "portable",
        "unary_raw.h",
        "strop_logical_not_map_bool",
        "strop_unary_raw_shape",
        plain(DType.BOOL),
        _bind_map,
        linear(per_output=6),
    ),
    *(_same(op, dtypes) for op, dtypes in UNCHANGED.items()),
    *_casts(),
    Variant("cast", "portable", "move.h", "strop_copy", "strop_copy_shape", _keeps_bytes, bind_copy, linear(per_output=1)),
)
