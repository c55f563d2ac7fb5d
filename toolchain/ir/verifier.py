"""Checks that a graph is well formed; runs after every front end and every pass."""

from __future__ import annotations

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.op import ShapeError
from toolchain.ir.optable import OPS
from toolchain.ir.types import Array, DType, TensorType, dtype_of

MAX_TENSOR_BYTES = 2**31 - 1


def verify(graph: Graph) -> Graph:
    """Return the graph when it is well formed, else raise ModelError with the node or value at fault.

    E107: a tensor of 2 GiB or more. E108: order, names, types or shapes that contradict. E111: quantization.
    """
    known: dict[str, Value] = {}
    for value in graph.inputs:
        _define(known, value)
    for name, array in graph.constants.items():
        if name in known:
            raise ModelError(108, name, "the constant has the name of a graph input", "Rename one of them")
        if array.dtype == object:
            raise ModelError(108, name, "the constant holds Python objects", "Store numbers")
    for node in graph.nodes:
        _verify_inputs(graph, node, known)
        _verify_node(node)
        for output in node.outputs:
            if output.name in graph.constants:
                raise ModelError(108, output.name, "the value is both computed and constant", "Rename one of them")
            _define(known, output)
    for output in graph.outputs:
        if output.name not in graph.constants and known.get(output.name) != output:
            raise ModelError(108, output.name, "the graph output is made by no node", "Check the model's output list")
    if not graph.outputs:
        raise ModelError(108, graph.name, "the graph has no outputs", "Export the model with at least one output")
    return graph


def _define(known: dict[str, Value], value: Value) -> None:
    if value.name in known:
        raise ModelError(108, value.name, "the value is defined twice", "Give every tensor its own name")
    _verify_type(value)
    known[value.name] = value


def _verify_type(value: Value) -> None:
    type_ = value.type
    if any(size < 0 for size in type_.shape):
        raise ModelError(108, value.name, f"shape {type_.shape} has a negative size", "Fix the input shape")
    if type_.bytes > MAX_TENSOR_BYTES:
        hint = f"Keep every tensor below {MAX_TENSOR_BYTES:,} B"
        raise ModelError(107, value.name, f"shape {type_.shape} needs {type_.bytes:,} B", hint)
    if type_.quant is not None:
        _verify_quant(value)


def _verify_quant(value: Value) -> None:
    quant, type_ = value.type.quant, value.type
    if quant is None:
        return
    if quant.block is not None and (quant.axis is None or quant.block < 1 or any(quant.zero_point)):
        what = f"blocks of {quant.block} with axis {quant.axis} and zero points {quant.zero_point[:4]}"
        raise ModelError(111, value.name, what, "Give blocks an axis, at least one element, and zero points of 0")
    known = quant.axis is None or 0 <= quant.axis < type_.rank
    count = -1 if not known else 1 if quant.axis is None else type_.shape[quant.axis] * quant.parts(type_.shape)
    if len(quant.scale) != count or len(quant.zero_point) != count:
        parts = "channels" if quant.block is None else "blocks"
        what = f"{len(quant.scale)} scales and {len(quant.zero_point)} zero points for {count} {parts}"
        raise ModelError(111, value.name, what, f"Give one of each for each of the {parts}")
    if not all(np.isfinite(scale) and scale > 0 for scale in quant.scale):
        raise ModelError(111, value.name, "a scale is not a positive finite number", "Quantize the model again")
    low, high = (0, 0) if not type_.dtype.is_integer else type_.dtype.limits
    if not type_.dtype.is_integer or any(not low <= zero <= high for zero in quant.zero_point):
        what = f"zero points {quant.zero_point[:4]} do not fit element type {type_.dtype}"
        raise ModelError(111, value.name, what, "Quantize the model again")


def _verify_inputs(graph: Graph, node: Node, known: dict[str, Value]) -> None:
    for value in node.inputs:
        constant = graph.constants.get(value.name)
        if constant is not None:
            _verify_type(value)
            _verify_constant(value, constant)
        elif value.name not in known:
            what = f"{node.op} reads {value.name!r}, which no earlier node makes"
            raise ModelError(108, node.name, what, "Order the nodes; a graph must have no cycle")
        elif known[value.name] != value:
            what = f"{node.op} reads {value.name!r} as {describe(value.type)}, it is {describe(known[value.name].type)}"
            raise ModelError(108, node.name, what, "This is a defect of the pass that ran last")


def _verify_constant(value: Value, array: Array) -> None:
    stored = DType.I8 if value.type.dtype is DType.I4 else value.type.dtype
    if array.shape != value.type.shape or dtype_of(array) is not stored:
        what = f"the data is {array.dtype} {array.shape}, the type says {describe(value.type)}"
        raise ModelError(108, value.name, what, "Export the model again")


def _verify_node(node: Node) -> None:
    entry = OPS.get(node.op)
    if entry is None:
        raise ModelError(104, node.name, f"there is no operation {node.op!r}", "Use an operation of the op table")
    if not isinstance(node.attrs, entry.attrs):
        what = f"{node.op} has attributes {type(node.attrs).__name__}, {entry.attrs.__name__} are needed"
        raise ModelError(108, node.name, what, "This is a defect of the pass that ran last")
    least, most = entry.inputs
    if not least <= len(node.inputs) <= most:
        what = f"{node.op} has {len(node.inputs)} inputs, {least} to {most} are needed"
        raise ModelError(108, node.name, what, "Export the model again")
    try:
        expected = entry.infer(node.attrs, [value.type for value in node.inputs])
    except ShapeError as fault:
        raise ModelError(108, node.name, f"{node.op}: {fault}", "Check the shapes in the model") from fault
    _verify_outputs(node, expected)
    first = node.inputs[0].type.quant if node.inputs else None
    if entry.same_quant and any(output.type.quant != first for output in node.outputs):
        what = f"{node.op} must keep the quantization of its input"
        raise ModelError(111, node.name, what, "Insert a requantize")


def _verify_outputs(node: Node, expected: tuple[TensorType, ...]) -> None:
    if len(expected) != len(node.outputs):
        what = f"{node.op} has {len(node.outputs)} outputs, its rule gives {len(expected)}"
        raise ModelError(108, node.name, what, "Export the model again")
    for output, rule in zip(node.outputs, expected, strict=True):
        same = output.type.shape == rule.shape and output.type.dtype is rule.dtype
        if not same or (rule.quant is not None and output.type.quant != rule.quant):
            what = f"{node.op} makes {describe(rule)}, the graph says {describe(output.type)}"
            raise ModelError(108, output.name, what, "Check the shapes in the model")


def describe(type_: TensorType) -> str:
    """A type in words, for messages: `i8 (1, 49, 10, 1) scale 0.5 zero point 3`."""
    text = f"{type_.dtype} {type_.shape}"
    if type_.quant is None:
        return text
    if type_.quant.axis is not None:
        blocks = "" if type_.quant.block is None else f" in blocks of {type_.quant.block}"
        return f"{text} with {len(type_.quant.scale)} scales on axis {type_.quant.axis}{blocks}"
    return f"{text} scale {type_.quant.scalar_scale:.6g} zero point {type_.quant.scalar_zero_point}"
