"""Which operands of an op are weights, and which must carry the parameters of its output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolchain.ir.graph import Graph, Node
from toolchain.ir.op import ShapeError
from toolchain.ir.optable import OPS
from toolchain.ir.types import DType, Quant, TensorType, per_tensor

WEIGHTS, BIAS = 1, 2

WEIGHT_AXIS = {"conv_2d": 0, "depthwise_conv_2d": 3, "transpose_conv_2d": 0, "fully_connected": 0}
"""Output channel axis of the weights, quantized per channel, by op. Operand 1 is the weights, operand 2 the bias."""

KEPT_FLOAT = frozenset({"quantize", "dequantize", "requantize", "cast"})
"""Ops that convert between representations: they stay as they are."""

_SHARED_OPERANDS = {
    "minimum": (0, 1),
    "maximum": (0, 1),
    "where": (1, 2),
    "one_hot": (1, 2),
    "scatter_elements": (0, 2),
    "scatter_nd": (0, 2),
}


def shared_operands(node: Node) -> tuple[int, ...]:
    """Indices of the operands that must have the output's parameters where the output follows more than one operand."""
    return tuple(range(len(node.inputs))) if node.op == "concat" else _SHARED_OPERANDS.get(node.op, ())


def follows_first(node: Node) -> bool:
    """True when the outputs carry the parameters of the first operand, and of it alone."""
    return (OPS[node.op].same_quant or node.op == "top_k") and not shared_operands(node)


@dataclass(frozen=True, slots=True)
class Formats:
    """Stored types of an integer precision: activations, and biases (accumulators)."""

    activation: DType = DType.I8

    @property
    def bias(self) -> DType:
        """int32, or int64 beside 16-bit activations."""
        return DType.I64 if self.activation is DType.I16 else DType.I32


@dataclass(frozen=True, slots=True)
class Precisions:
    """What every node computes in. default: stored type of activations, i8 or i16. nodes: others by name; f32 stays in float."""

    default: DType = DType.I8
    nodes: Mapping[str, DType] = field(default_factory=dict)

    def of(self, node: Node) -> DType:
        """The type asked for a node's activations."""
        return self.nodes.get(node.name, self.default)


def has_integer_meaning(graph: Graph, node: Node, formats: Formats) -> bool:
    """True when the op computes on stored integers, has a float32 operand, and its weights and bias are constants."""
    entry = OPS[node.op]
    if not entry.has_integer(formats.activation) or node.op in KEPT_FLOAT:
        return False
    floats = [value for value in (*node.inputs, *node.outputs) if value.type.dtype.is_float]
    if not floats or any(value.type.dtype is not DType.F32 for value in floats):
        return False
    if any(value.type.quant is not None for value in (*node.inputs, *node.outputs)):
        return False
    if node.op in WEIGHT_AXIS and any(value.name not in graph.constants for value in node.inputs[1:]):
        return False
    return _takes(node, formats)


def probe(node: Node, formats: Formats) -> tuple[TensorType, ...]:
    """Output types of the op's own rule for quantized operands with stand-in parameters. Raises ShapeError."""
    return OPS[node.op].infer(node.attrs, [_stand_in(node, index, formats) for index in range(len(node.inputs))])


def _takes(node: Node, formats: Formats) -> bool:
    try:
        probe(node, formats)
    except ShapeError:
        return False
    return True


def _stand_in(node: Node, index: int, formats: Formats) -> TensorType:
    type_ = node.inputs[index].type
    if type_.dtype is not DType.F32:
        return type_
    dtype = formats.activation
    if node.op in WEIGHT_AXIS and index:
        dtype = DType.I8 if index == WEIGHTS else formats.bias
    return TensorType(type_.shape, dtype, per_tensor(1.0))


def fixed_quants(node: Node, formats: Formats) -> tuple[Quant | None, ...]:
    """Per output the parameters that the specification fixes (softmax, sigmoid, …), None where they are free."""
    shared = follows_first(node) or bool(shared_operands(node))
    return tuple(None if shared else type_.quant for type_ in probe(node, formats))
