"""The op table: every operation there is. To add one, declare it in the `OPS` of its family in `toolchain/ir/ops/`."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.ir.attrs import Attrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.op import Op
from toolchain.ir.ops import (
    arithmetic,
    compare,
    conv,
    convert,
    dynamic,
    index,
    matmul,
    pool,
    recurrent,
    reduce,
    resize,
    shape,
    softmax,
    unary,
)
from toolchain.ir.types import Quant, TensorType

FAMILIES = (
    conv.OPS,
    matmul.OPS,
    pool.OPS,
    arithmetic.OPS,
    compare.OPS,
    unary.OPS,
    softmax.OPS,
    reduce.OPS,
    shape.OPS,
    index.OPS,
    resize.OPS,
    recurrent.OPS,
    convert.OPS,
    dynamic.OPS,
)
OPS: dict[str, Op] = {op.name: op for family in FAMILIES for op in family}


def infer(op: str, attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Output types of an op; raises ShapeError (from its rule) when the operands do not fit."""
    return OPS[op].infer(attrs, types)


def make_node(
    op: str, inputs: Sequence[Value], names: Sequence[str], attrs: Attrs | None = None, quant: Quant | None = None
) -> Node:
    """A node whose output types come from the op's own rule.

    quant: the parameters of every output, where the rule leaves them open. Raises ShapeError.
    """
    entry = OPS[op]
    given = entry.attrs() if attrs is None else attrs
    types = entry.infer(given, [value.type for value in inputs])
    first = inputs[0].type.quant if inputs else None
    chosen = quant if quant is not None else (first if entry.same_quant else None)
    outputs = tuple(Value(name, TensorType(t.shape, t.dtype, t.quant or chosen)) for name, t in zip(names, types, strict=True))
    return Node(op, tuple(inputs), outputs, given)


def macs(node: Node) -> int:
    """Multiply-accumulate operations of one run of a node."""
    return OPS[node.op].macs(node)
