"""Bindings of kernels that move elements without computing."""

from __future__ import annotations

from toolchain.ir.graph import Graph, Node
from toolchain.lowering.kernels.common import Binding, Variant, fields, read, write
from toolchain.lowering.program import Cost, Operand


def as_bytes(operand: Operand, writable: bool = False) -> Operand:
    """The same operand seen as untyped memory."""
    return Operand("void", operand.value, operand.constant, 0, writable)


def _always(graph: Graph, node: Node) -> bool:
    return True


def _bind_copy(graph: Graph, node: Node) -> Binding:
    operands = (as_bytes(read(graph, node.inputs[0])), as_bytes(write(node.output), True))
    return Binding(fields(bytes=node.output.type.bytes), operands)


VARIANTS = tuple(
    Variant(op, "portable", "move.h", "strop_copy", "strop_copy_shape", _always, _bind_copy, Cost(per_output=1))
    for op in ("copy", "reshape")
)
