"""Removes channels of quantized graphs that carry nothing: constant ones, and ones that no layer reads.

A channel whose weights are all zero has one constant value. A convolution that reads it can take its share into the bias,
exactly, when the value is the zero point or the convolution has no padding. So the channel need not be computed, nor stored,
nor its weights kept. Output bytes do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.attrs import ReshapeAttrs
from toolchain.ir.fixed_point import INT32_MAX, INT32_MIN
from toolchain.ir.graph import Graph, NameSource, Node, Value, names_of
from toolchain.ir.ops.conv import requantize
from toolchain.ir.quantization import conv_multipliers, quant_of
from toolchain.ir.types import Array, DType, Quant, TensorType

LINKS = frozenset({"depthwise_conv_2d", "average_pool_2d", "max_pool_2d", "reshape"})


@dataclass(frozen=True, slots=True)
class Channels:
    """Per channel of a value: is it one constant, and which stored value is it (the zero point where it is none)."""

    constant: Array
    stored: Array


def drop_dead_channels(graph: Graph) -> Graph:
    """The graph without channels that carry nothing; the same graph when there are none."""
    while True:
        known = _constants(graph)
        removed = _removable(graph, known)
        if not any(mask.any() for mask in removed.values()):
            return graph
        rewritten = _Rewrite(graph, known, {name: ~mask for name, mask in removed.items()}).run()
        if rewritten is None:
            return graph
        graph = rewritten


def _layer(graph: Graph, node: Node) -> bool:
    """An int8 convolution, depthwise convolution (multiplier 1) or fully connected layer with constant symmetric weights."""
    if node.op not in ("conv_2d", "depthwise_conv_2d", "fully_connected"):
        return False
    x, w = node.inputs[0].type, node.inputs[1].type
    if any(graph.constant(value) is None for value in node.inputs[1:]) or w.quant is None or any(w.quant.zero_point):
        return False
    if any(t.dtype is not DType.I8 or t.quant is None for t in (x, w, node.output.type)):
        return False
    if node.op == "depthwise_conv_2d":
        return w.shape[3] == x.shape[3]
    return node.op == "fully_connected" or w.shape[3] == x.shape[3]


def _links(graph: Graph, node: Node) -> bool:
    """True for nodes whose output channel c depends on input channel c alone."""
    if node.op not in LINKS or node.inputs[0].type.dtype is not DType.I8 or node.inputs[0].type.quant is None:
        return False
    if node.op == "depthwise_conv_2d":
        return _layer(graph, node)
    if node.op == "reshape":
        return bool(node.output.type.shape) and node.inputs[0].type.shape[-1:] == node.output.type.shape[-1:]
    return not (node.op == "average_pool_2d" and node.attrs.count_padding and any(node.attrs.padding))


def _weights(graph: Graph, node: Node) -> Array:
    """(out, taps, in) weights of a layer; (channels, taps, 1) of a depthwise one."""
    data = graph.constants[node.inputs[1].name].astype(np.int64)
    if node.op == "depthwise_conv_2d":
        return data.reshape(-1, data.shape[3]).T[:, :, None]
    return data.reshape(data.shape[0], -1, data.shape[-1])


def _bias(graph: Graph, node: Node) -> Array:
    if len(node.inputs) == 3:
        return graph.constants[node.inputs[2].name].astype(np.int64)
    return np.zeros(node.output.type.shape[-1], np.int64)


def _absorbed(node: Node, channels: Channels) -> Array:
    """Constant input channels whose share of every sum is the same everywhere."""
    padded = node.op != "fully_connected" and any(node.attrs.padding)
    return channels.constant & ((channels.stored == quant_of(node.inputs[0].type).scalar_zero_point) | (not padded))


def _share(graph: Graph, node: Node, channels: Channels, which: Array) -> Array:
    """What the chosen constant input channels add to each output channel's sum."""
    centred = np.where(which, channels.stored - quant_of(node.inputs[0].type).scalar_zero_point, 0)
    weights = _weights(graph, node).sum(axis=1)
    return weights[:, 0] * centred if node.op == "depthwise_conv_2d" else weights @ centred


def _constants(graph: Graph) -> dict[str, Channels]:
    """Constant channels of every value, from the inputs on."""
    known: dict[str, Channels] = {}
    for node in graph.nodes:
        if _layer(graph, node) or _links(graph, node):
            x = node.inputs[0]
            given = known.get(x.name) or _nothing_known(x)
            known[node.output.name] = _after_layer(graph, node, given) if _layer(graph, node) else _after_link(node, given)
    return known


def _nothing_known(value: Value) -> Channels:
    count = value.type.shape[-1] if value.type.shape else 1
    return Channels(np.zeros(count, bool), np.zeros(count, np.int64))


def _after_layer(graph: Graph, node: Node, given: Channels) -> Channels:
    absorbed = _absorbed(node, given)
    live = np.abs(_weights(graph, node)).sum(axis=1) != 0
    constant = ~live[:, 0] | absorbed if node.op == "depthwise_conv_2d" else ~(live & ~absorbed).any(axis=1)
    if node.op == "fully_connected":
        return _nothing_known(node.output)
    sums = _bias(graph, node) + _share(graph, node, given, absorbed)
    out = node.output.type
    stored = requantize(sums, conv_multipliers(node.inputs[0].type, node.inputs[1].type, out, out.shape[-1]), node)
    return Channels(constant, np.where(constant, stored.astype(np.int64), 0))


def _after_link(node: Node, given: Channels) -> Channels:
    """Pools and reshapes keep a constant as it is, unless a fused clamp could change it."""
    clamps = getattr(node.attrs, "activation", "none") != "none"
    return _nothing_known(node.output) if clamps else given


def _removable(graph: Graph, known: Mapping[str, Channels]) -> dict[str, Array]:
    """Channels that can go, by value: readers do without them, and every value linked to theirs loses them too."""
    users, ends = graph.users(), {value.name for value in graph.outputs}
    makers = {node.output.name: node for node in graph.nodes if _layer(graph, node) or _links(graph, node)}
    removed = {name: np.full(len(known[name].constant), name not in ends) for name in known}
    changed = True
    while changed:
        changed = False
        for name, mask in removed.items():
            keep = mask.copy()
            for reader in users.get(name, []):
                keep &= _spared(graph, reader, name, known[name], removed)
            if _links(graph, makers[name]):
                keep &= removed.get(makers[name].inputs[0].name, np.zeros(len(keep), bool))
            elif makers[name].op == "fully_connected":
                keep[:] = False
            if keep.all():
                keep[0] = False
            changed |= bool((keep != mask).any())
            removed[name] = keep
    return removed


def _spared(graph: Graph, reader: Node, name: str, channels: Channels, removed: Mapping[str, Array]) -> Array:
    """Channels of a value that one reader can do without."""
    nothing = np.zeros(len(channels.constant), bool)
    if [value.name for value in reader.inputs].count(name) != 1 or reader.inputs[0].name != name:
        return nothing
    if _links(graph, reader):
        return removed.get(reader.output.name, nothing)
    if _layer(graph, reader):
        unread = ~_weights(graph, reader).any(axis=(0, 1))
        return _absorbed(reader, channels) | unread
    return nothing


class _Rewrite:
    """Builds the graph in which only the kept channels are left."""

    def __init__(self, graph: Graph, known: Mapping[str, Channels], kept: Mapping[str, Array]) -> None:
        self.graph, self.known, self.kept = graph, known, kept
        self.names: NameSource = names_of(graph)
        self.constants: dict[str, Array] = dict(graph.constants)
        self.values: dict[str, Value] = {}

    def run(self) -> Graph | None:
        """The new graph, or None when a bias would leave int32."""
        nodes: list[Node] = []
        for node in self.graph.nodes:
            built = self._node(node)
            if built is None:
                return None
            nodes.append(built)
        return self.graph.rewrite(nodes, self.constants)

    def _value(self, value: Value) -> Value:
        mask = self.kept.get(value.name)
        if mask is None or mask.all():
            return value
        if value.name not in self.values:
            shape = (*value.type.shape[:-1], int(mask.sum()))
            self.values[value.name] = Value(value.name, value.type.with_shape(shape))
        return self.values[value.name]

    def _node(self, node: Node) -> Node | None:
        inputs, outputs = tuple(map(self._value, node.inputs)), tuple(map(self._value, node.outputs))
        if inputs == node.inputs and outputs == node.outputs:
            return node
        if node.op == "reshape":
            return replace(node, inputs=inputs, outputs=outputs, attrs=ReshapeAttrs(outputs[0].type.shape))
        if not _layer(self.graph, node):
            return replace(node, inputs=inputs, outputs=outputs)
        operands = self._operands(node)
        return None if operands is None else replace(node, inputs=(inputs[0], *operands), outputs=outputs)

    def _kept(self, value: Value) -> Array:
        return self.kept.get(value.name, np.ones(value.type.shape[-1], bool))

    def _operands(self, node: Node) -> tuple[Value, ...] | None:
        """Weights and bias of a layer with fewer channels."""
        into, out, w = self._kept(node.inputs[0]), self._kept(node.output), node.inputs[1]
        given = self.known.get(node.inputs[0].name) or _nothing_known(node.inputs[0])
        folded = _bias(self.graph, node)
        if node.op != "depthwise_conv_2d":
            folded = folded + _share(self.graph, node, given, ~into & given.constant)
        if folded.min() < INT32_MIN or folded.max() > INT32_MAX:
            return None
        data, axis = self.graph.constants[w.name], 0
        if node.op == "depthwise_conv_2d":
            data, axis = data[..., out], 3
        else:
            data = data[out][..., into]
        weights = self._constant(w.name, data, DType.I8, _sliced(quant_of(w.type), out, axis))
        if len(node.inputs) < 3 and not folded.any():
            return (weights,)
        return weights, self._constant(f"{node.name}_bias", folded[out].astype(np.int32), DType.I32, self._bias_quant(node, out))

    def _bias_quant(self, node: Node, out: Array) -> Quant:
        if len(node.inputs) == 3 and node.inputs[2].type.quant is not None:
            return _sliced(node.inputs[2].type.quant, out, 0)
        scale_in, weights = quant_of(node.inputs[0].type).scalar_scale, quant_of(node.inputs[1].type)
        scales = tuple(float(np.float32(scale_in) * np.float32(scale)) for scale in weights.scale)
        return _sliced(Quant(scales, (0,) * len(scales), None if weights.axis is None else 0), out, 0)

    def _constant(self, base: str, data: Array, dtype: DType, quant: Quant) -> Value:
        name = self.names.fresh(base)
        self.constants[name] = np.ascontiguousarray(data)
        return Value(name, TensorType(data.shape, dtype, quant))


def _sliced(quant: Quant, kept: Array, axis: int) -> Quant:
    """The parameters of the kept channels."""
    if quant.axis != axis:
        return quant
    chosen = np.flatnonzero(kept)
    return Quant(tuple(quant.scale[i] for i in chosen), tuple(quant.zero_point[i] for i in chosen), axis)
