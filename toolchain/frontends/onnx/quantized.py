"""Which integer tensors of a file carry quantization: those that only dequantizing readers see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from toolchain.frontends.onnx.tensors import DTYPES, read_tensor
from toolchain.ir.types import Array, Quant

MOVES = frozenset(
    {
        "Clip",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Relu",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that keep stored values, or at least their parameters, from their first operand to their results."""

TRIPLES: dict[str, tuple[int, ...]] = {
    "DequantizeLinear": (0,),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
    "QLinearAdd": (0, 3),
    "QLinearMul": (0, 3),
    "QLinearGlobalAveragePool": (0,),
    "QLinearAveragePool": (0,),
    "QLinearSigmoid": (0,),
    "QLinearLeakyRelu": (0,),
    "QLinearSoftmax": (0,),
    "QLinearWhere": (1, 4),
    "QGemm": (0, 3),
}
"""Operands that are followed by their scale and zero point, by operator."""


def quant_of_arrays(scale: Array, zero_point: Array | None, axis: int | None) -> Quant:
    """The quantization that a scale and a zero point tensor give; one element is per tensor whatever the axis."""
    scales = tuple(float(each) for each in scale.reshape(-1).astype(np.float32))
    zeros = (0,) * len(scales) if zero_point is None else tuple(int(each) for each in zero_point.reshape(-1))
    if len(zeros) == 1 and len(scales) > 1:
        zeros *= len(scales)
    return Quant(scales, zeros, axis if len(scales) > 1 else None)


def raw_tensors(proto: onnx.GraphProto) -> frozenset[str]:
    """Names of tensors whose stored integers some operator computes with, directly or after moving them."""
    raw: set[str] = set()
    for node in reversed(proto.node):
        moves = node.op_type in MOVES and not any(name in raw for name in node.output)
        for position, name in enumerate(node.input):
            kept = (moves and position == 0) or position in TRIPLES.get(node.op_type, ()) or _in_concat(node, position)
            if not kept or any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
                raw.add(name)
    return frozenset(raw)


def _in_concat(node: onnx.NodeProto, position: int) -> bool:
    return node.op_type == "QLinearConcat" and position >= 2 and (position - 2) % 3 == 0


def input_quantization(proto: onnx.GraphProto, raw: frozenset[str], base_dir: Path) -> dict[str, Quant]:
    """The quantization of integer graph inputs, by name, as their readers dequantize them; only where all agree."""
    stored = {tensor.name: tensor for tensor in proto.initializer}
    for node in proto.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                stored[node.output[0]] = attribute.t
    source = {entry.name: entry.name for entry in proto.input if entry.name not in stored and entry.name not in raw}
    found: dict[str, set[Quant | None]] = {}
    for node in proto.node:
        if node.op_type in MOVES and node.input and node.input[0] in source:
            source |= dict.fromkeys(node.output, source[node.input[0]])
        for position in TRIPLES.get(node.op_type, ()):
            if position < len(node.input) and node.input[position] in source:
                found.setdefault(source[node.input[position]], set()).add(_parameters(node, position, stored, base_dir))
    agreed = {name: next(iter(quants)) for name, quants in found.items() if len(quants) == 1}
    return {name: quant for name, quant in agreed.items() if quant is not None}


def _parameters(node: onnx.NodeProto, position: int, stored: Mapping[str, onnx.TensorProto], base_dir: Path) -> Quant | None:
    """One scale and zero point that are stored in the file, else None."""
    names = [node.input[i] if i < len(node.input) else "" for i in (position + 1, position + 2)]
    if names[0] not in stored or (names[1] and names[1] not in stored):
        return None
    if any(name and stored[name].data_type not in DTYPES for name in names):
        return None
    scale = read_tensor(stored[names[0]], base_dir)
    zero = read_tensor(stored[names[1]], base_dir) if names[1] else None
    return quant_of_arrays(scale, zero, None) if scale.size == 1 else None
