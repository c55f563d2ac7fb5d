"""Bindings of table kernels: any elementwise function of one 8-bit tensor, and LiteRT's sampled tables of int16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from toolchain.ir.functions import UNARY
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import OPS
from toolchain.ir.quantization import lut_int16, quant_of, sigmoid_table, wide_squash_parameters
from toolchain.ir.types import Array, DType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, as_untyped, fields, is_i16, packed, read, write

WITHOUT_SAMPLES = frozenset({"relu", "relu6", "relu_n1_1", "leaky_relu", "abs", "sqrt", "sigmoid", "tanh"})
"""Unary ops that int16 computes by arithmetic of their own."""

BYTES = (DType.I8, DType.U8, DType.BOOL)
BINARY = (
    *("add", "sub", "mul", "div", "squared_difference", "minimum", "maximum", "prelu"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
)
TABLES = (*UNARY, *BINARY, "requantize")
"""Ops that a table of bytes can stand for."""


def _varying(graph: Graph, node: Node) -> int | None:
    """The operand that is no constant, when every other one is a constant of one element."""
    free = [i for i, value in enumerate(node.inputs) if graph.constant(value) is None]
    fixed = all(value.type.elements == 1 for i, value in enumerate(node.inputs) if i not in free)
    return free[0] if len(free) == 1 and fixed else None


def _accepts_bytes(graph: Graph, node: Node) -> bool:
    """True for an elementwise op with an integer meaning from one 8-bit tensor to another."""
    index = _varying(graph, node)
    if index is None or node.output.type.shape != node.inputs[index].type.shape:
        return False
    source, result = node.inputs[index].type, node.output.type
    single = source.quant is not None and source.quant.axis is None
    return single and source.dtype in BYTES and result.dtype in BYTES and OPS[node.op].has_integer(source.dtype)


def byte_table(graph: Graph, node: Node) -> Array:
    """The results of a node for all 256 bytes of its varying operand, indexed by the byte's bits, as uint8."""
    index = _varying(graph, node) or 0
    source = node.inputs[index].type.dtype
    every = np.arange(256, dtype=np.uint8).view(source.numpy)
    shapes = [(256,) if i == index else (1,) for i in range(len(node.inputs))]
    arrays = [every if i == index else np.asarray(graph.constant(v)).reshape(1) for i, v in enumerate(node.inputs)]
    inputs = tuple(Value(v.name, v.type.with_shape(shape)) for v, shape in zip(node.inputs, shapes, strict=True))
    probe = replace(node, inputs=inputs, outputs=(Value(node.output.name, node.output.type.with_shape((256,))),))
    meaning = OPS[node.op].integer
    if meaning is None:
        raise ValueError(f"{node.op} has no integer meaning")
    return meaning(probe, arrays)[0].view(np.uint8)


def bind_bytes(graph: Graph, node: Node) -> Binding:
    """A node as a table of the results for all 256 bytes."""
    return bind_chain(graph, (node,))


def feeds(graph: Graph, before: Node, after: Node) -> bool:
    """True when both nodes are tables of bytes, and the second reads the first's result alone."""
    if not all(node.op in TABLES and _accepts_bytes(graph, node) for node in (before, after)):
        return False
    return after.inputs[_varying(graph, after) or 0].name == before.output.name


def bind_chain(graph: Graph, nodes: Sequence[Node]) -> Binding:
    """One table for nodes that each read the one before."""
    table = byte_table(graph, nodes[0])
    for node in nodes[1:]:
        table = byte_table(graph, node)[table]
    source, result = nodes[0].inputs[_varying(graph, nodes[0]) or 0], nodes[-1].output
    operands = (as_untyped(read(graph, source)), packed("uint8_t", table), as_untyped(write(result)))
    return Binding(fields(elements=result.type.elements), operands)


def _accepts_sampled(graph: Graph, node: Node) -> bool:
    return is_i16(node.inputs[0], node.output)


def _bind_sampled(graph: Graph, node: Node) -> Binding:
    table = packed("int16_t", lut_int16(node.op, node.attrs, node.inputs[0].type, node.output.type))
    return Binding(fields(elements=node.output.type.elements), (read(graph, node.inputs[0]), table, write(node.output)))


def _accepts_squash(graph: Graph, node: Node) -> bool:
    values = (node.inputs[0], node.output)
    return is_i16(*values) and wide_squash_parameters(node.op, node.inputs[0].type).multiplier <= 32767


def _bind_squash(graph: Graph, node: Node) -> Binding:
    p = wide_squash_parameters(node.op, node.inputs[0].type)
    table = packed("uint16_t", sigmoid_table().astype(np.uint16))
    shape = fields(elements=node.output.type.elements, multiplier=p.multiplier, shift=p.shift)
    return Binding(shape, (read(graph, node.inputs[0]), table, write(node.output)))


def _bind_sqrt(graph: Graph, node: Node) -> Binding:
    x, out = quant_of(node.inputs[0].type), quant_of(node.output.type)
    shape = fields(elements=node.output.type.elements, in_scale=x.scalar_scale, out_scale=out.scalar_scale)
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


def _bytes(op: str) -> Variant:
    return Variant(
        op, "portable", "lut_8.h", "strop_lut_8", "strop_lut_8_shape", _accepts_bytes, bind_bytes, linear(per_output=4)
    )


def _sampled(op: str) -> Variant:
    return Variant(
        op,
        "portable",
        "lut_s16.h",
        "strop_lut_s16",
        "strop_lut_s16_shape",
        _accepts_sampled,
        _bind_sampled,
        linear(per_output=20),
    )


def _squash(op: str) -> Variant:
    function, cost = f"strop_{op}_s16", linear(per_output=21)
    return Variant(op, "portable", "squash_s16.h", function, "strop_squash_s16_shape", _accepts_squash, _bind_squash, cost)


VARIANTS = (
    *(_bytes(op) for op in TABLES),
    *(_sampled(op) for op in UNARY if op not in WITHOUT_SAMPLES),
    _squash("sigmoid"),
    _squash("tanh"),
    Variant(
        "sqrt",
        "portable",
        "sqrt_s16.h",
        "strop_sqrt_s16",
        "strop_sqrt_s16_shape",
        _accepts_sampled,
        _bind_sqrt,
        linear(per_output=17, soft=24),
    ),
)
