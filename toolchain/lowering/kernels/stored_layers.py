"""Bindings of float32 layers whose weights are stored as float16, int8 or int4: the kernels read them as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array, DType, Quant, TensorType
from toolchain.lowering.cost import Cost, linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, packed, read, write
from toolchain.lowering.kernels.conv import constant_of
from toolchain.lowering.kernels.float_layers import Geometry, activation_field, conv_geometry, dense_geometry, transpose_geometry
from toolchain.lowering.program import Operand
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS

DEPTHWISE, FOUR = "depthwise_conv_2d", 4


@dataclass(frozen=True, slots=True)
class Storage:
    """How a kernel family reads weights. name: ends the names of its functions."""

    dtype: DType
    name: str
    ctype: str


STORAGES = (Storage(DType.F16, "f16", "uint16_t"), Storage(DType.I8, "s8", "int8_t"), Storage(DType.I4, "s4", "uint8_t"))


def reads_stored(node: Node, weights: TensorType) -> bool:
    """True when there is a kernel that runs the float32 layer on weights of this type."""
    ends = (node.inputs[0], *node.inputs[BIAS:], node.output)
    if node.op not in WEIGHT_AXIS or any(value.type.dtype is not DType.F32 for value in ends):
        return False
    quant = weights.quant
    if weights.dtype is DType.F16:
        return quant is None
    if quant is None or weights.dtype not in (DType.I8, DType.I4) or any(quant.zero_point):
        return False
    blocked = quant.block is not None and quant.parts(weights.shape) > 1
    return quant.axis == WEIGHT_AXIS[node.op] and not (blocked and node.op == DEPTHWISE) if quant.axis is not None else True


def _accepts(dtype: DType) -> Callable[[Graph, Node], bool]:
    def accepts(graph: Graph, node: Node) -> bool:
        weights = node.inputs[WEIGHTS]
        return weights.type.dtype is dtype and graph.constant(weights) is not None and reads_stored(node, weights.type)

    return accepts


def nibbles(rows: Array) -> Array:
    """int4 values (rows, elements) as bytes (rows, ceil(elements / 2)), the first of two in the low nibble."""
    padded = np.pad(rows.astype(np.uint8) & 15, ((0, 0), (0, rows.shape[1] % 2)))
    return (padded[:, 0::2] | padded[:, 1::2] << 4).astype(np.uint8)


def in_fours(rows: Array, groups: int) -> Iterator[Array]:
    """The channels (rows) of every group: fours of them side by side, (1, …), then those left over in rows."""
    per_group, elements = len(rows) // groups, rows.shape[1]
    fours = per_group // FOUR * FOUR
    for group in rows.reshape(groups, per_group, elements):
        yield group[:fours].reshape(-1, FOUR, elements).transpose(0, 2, 1).reshape(1, -1)
        yield group[fours:]


def _stored(rows: Array, dtype: DType) -> Array:
    if dtype is DType.I4:
        return nibbles(rows)
    return np.ascontiguousarray(rows).view(np.uint16) if dtype is DType.F16 else rows


def _scales(quant: Quant, channels: int, groups: int) -> Array:
    """Scales in the order of the channels' weights."""
    scales = np.array(quant.scale * (channels if quant.axis is None else 1), np.float32).reshape(channels, -1)
    return np.concatenate([part.reshape(-1) for part in in_fours(scales, groups)])


def _bind(geometry: Geometry, storage: Storage) -> Callable[[Graph, Node], Binding]:
    def bind(graph: Graph, node: Node) -> Binding:
        weights, type_ = constant_of(graph, node, WEIGHTS), node.inputs[WEIGHTS].type
        channels = type_.shape[WEIGHT_AXIS[node.op]]
        groups, block = 1, 0
        if node.op == DEPTHWISE:
            data = _stored(weights.reshape(-1, channels), storage.dtype)
        else:
            groups = node.inputs[0].type.shape[-1] // type_.shape[-1]
            parts = in_fours(weights.reshape(channels, -1), groups)
            data = np.concatenate([_stored(part, storage.dtype).reshape(-1) for part in parts])
        operands = [read(graph, node.inputs[0]), packed(storage.ctype, data.reshape(-1))]
        if type_.quant is not None:
            block = type_.quant.block or 0 if type_.quant.parts(type_.shape) > 1 else 0
            operands.append(packed("float", _scales(type_.quant, channels, groups)))
        operands.append(_bias(graph, node, operands))
        shape = (*geometry(node), *fields(block=block, has_bias=int(len(node.inputs) > BIAS)), activation_field(node))
        return Binding(shape, (*operands, write(node.output)))

    return bind


def _bias(graph: Graph, node: Node, operands: list[Operand]) -> Operand:
    """The bias or, where there is none, the input again: a kernel without bias does not read it."""
    return read(graph, node.inputs[BIAS]) if len(node.inputs) > BIAS else operands[0]


def _variant(op: str, kernel: str, geometry: Geometry, storage: Storage, cost: Cost) -> Variant:
    function = f"strop_{kernel}_f32_{storage.name}"
    shape, accepts = "strop_conv_2d_f32_shape", _accepts(storage.dtype)
    return Variant(op, "portable", f"{kernel}_f32.h", function, shape, accepts, _bind(geometry, storage), cost)


def _costs(op: str, name: str) -> Cost:
    per_mac, per_output, soft = COSTS[op, name]
    return linear(per_mac=per_mac, per_output=per_output, soft=soft)


COSTS: dict[tuple[str, str], tuple[float, float, float]] = {
    ("conv_2d", "f16"): (4.2, 20, 20),
    ("conv_2d", "s8"): (5.8, 25, 17),
    ("conv_2d", "s4"): (6.2, 30, 16),
    ("fully_connected", "f16"): (4.5, 16, 20),
    ("fully_connected", "s8"): (6.1, 18, 17),
    ("fully_connected", "s4"): (6.6, 18, 16),
    ("depthwise_conv_2d", "f16"): (5.8, 6, 12.6),
    ("depthwise_conv_2d", "s8"): (7.4, 7, 11.5),
    ("depthwise_conv_2d", "s4"): (8.0, 7, 10.8),
    ("transpose_conv_2d", "f16"): (4.4, 8, 18.4),
    ("transpose_conv_2d", "s8"): (6.0, 8, 15.6),
    ("transpose_conv_2d", "s4"): (6.6, 8, 14.3),
}
"""Instructions per MAC and per output with an FPU, and how many times that without one."""

KERNELS: tuple[tuple[str, str, Geometry], ...] = (
    ("conv_2d", "conv_2d", conv_geometry),
    ("fully_connected", "conv_2d", dense_geometry),
    (DEPTHWISE, DEPTHWISE, conv_geometry),
    ("transpose_conv_2d", "transpose_conv_2d", transpose_geometry),
)

VARIANTS = tuple(
    _variant(op, kernel, geometry, storage, _costs(op, storage.name)) for op, kernel, geometry in KERNELS for storage in STORAGES
)
