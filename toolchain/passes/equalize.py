"""Evens out the ranges of channels before quantization, so that one scale serves all channels of an activation.

A layer's output channel may be divided by any positive factor when every reader multiplies it back: weights do so for free.
Weights are quantized per output channel, so the dividing side loses nothing; a depthwise reader loses nothing either, a
reader that sums over channels trades rounding of its weights for rounding of the activation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from toolchain.ir.attrs import Activation, PadMode
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array, DType
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS

LARGEST_FACTOR = 1000.0
BALANCE = 0.5
"""For weights that are rounded to nearest: half of the unevenness goes into the readers' weights."""

_LINEAR = (Activation.NONE, Activation.RELU)
_POINTWISE = frozenset({"relu", "leaky_relu", "max_pool_2d", "average_pool_2d", "resize_nearest", "resize_bilinear", "copy"})


def equalize(graph: Graph, table: CalibrationTable, balance: float = BALANCE) -> Graph:
    """The float graph, equal but for rounding, with evened channels; its ranges differ, so calibrate it again.

    Changed are weights and biases of layers whose output goes, through nothing that mixes or clips channels, into
    layers with constant weights alone. Values and their names stay. balance: exponent of the activation's range against the
    readers' weights, 1 evens the activation fully, 0 the weights.
    """
    constants = dict(graph.constants)
    users, readers_of = graph.users(), _weight_users(graph)
    ends = {value.name for value in graph.outputs}
    for node in graph.nodes:
        if not _can_divide(graph, node, readers_of):
            continue
        readers = _readers(node, users, ends, graph, readers_of)
        peak = _peaks(table, node.output.name)
        if readers and len(peak) == node.output.type.shape[-1]:
            _apply(node, readers, _factors(peak, readers, constants, balance), constants)
    return replace(graph, constants=MappingProxyType(constants))


def _peaks(table: CalibrationTable, name: str) -> Array:
    """Largest magnitude of every channel, empty where unknown; at least what the channel's size gives by the median crest.

    A channel's largest element is one element, and few samples may have missed it; its root mean square is of all of them.
    """
    if name not in table.ranges:
        return np.zeros(0)
    peak, rms = np.array(table.ranges[name].peak), np.array(table.ranges[name].rms)
    live = rms > 0
    return np.maximum(peak, rms * np.median(peak[live] / rms[live])) if live.any() else peak


def _weight_users(graph: Graph) -> Mapping[str, int]:
    """How many nodes read each constant; one that several read is left alone."""
    return {name: len(nodes) for name, nodes in graph.users().items() if name in graph.constants}


def _has_own_weights(graph: Graph, node: Node, counts: Mapping[str, int]) -> bool:
    if node.op not in WEIGHT_AXIS or node.output.type.dtype is not DType.F32:
        return False
    return all(counts.get(value.name) == 1 for value in node.inputs[1:])


def _can_divide(graph: Graph, node: Node, counts: Mapping[str, int]) -> bool:
    return _has_own_weights(graph, node, counts) and node.attrs.activation in _LINEAR


def _readers(node: Node, users: Mapping[str, list[Node]], ends: set[str], graph: Graph, counts: Mapping[str, int]) -> list[Node]:
    """The layers that read the channels of a node's output, or nothing when anything else does, too."""
    found: list[Node] = []
    waiting = [node.output]
    channels = node.output.type.shape[-1]
    while waiting:
        value = waiting.pop()
        if value.name in ends or value.name not in users:
            return []
        for user in users[value.name]:
            if _has_own_weights(graph, user, counts) and user.inputs[0].name == value.name and _ungrouped(user):
                found.append(user)
            elif _passes_channels(user, channels):
                waiting.append(user.output)
            else:
                return []
    return found


def _ungrouped(node: Node) -> bool:
    return node.op != "conv_2d" or node.inputs[1].type.shape[3] == node.inputs[0].type.shape[3]


def _passes_channels(node: Node, channels: int) -> bool:
    """True for ops that treat channels alone and commute with positive factors."""
    if node.op == "reshape":
        return node.output.type.rank > 0 and node.output.type.shape[-1] % channels == 0 and _keeps_channels(node, channels)
    if node.op == "pad":
        zero = node.attrs.mode is not PadMode.CONSTANT or node.attrs.value == 0.0
        return zero and node.attrs.before[-1] == node.attrs.after[-1] == 0
    if node.op == "reduce_mean":
        rank = node.inputs[0].type.rank
        return rank - 1 not in node.attrs.axes and rank > 1
    return node.op in _POINTWISE and getattr(node.attrs, "activation", Activation.NONE) in _LINEAR


def _keeps_channels(node: Node, channels: int) -> bool:
    """True when the element's channel stays its index modulo the number of channels."""
    return node.inputs[0].type.shape[-1] % channels == 0


def _factors(peak: Array, readers: list[Node], constants: Mapping[str, Array], balance: float) -> Array:
    """One factor per channel, the largest 1: peak ** balance / weights ** (1 − balance), peak alone for depthwise readers."""
    activation = np.maximum(peak, peak.max(initial=0.0) / LARGEST_FACTOR)
    if not activation.size or activation.max() <= 0.0:
        return np.ones_like(peak)
    summing = [reader for reader in readers if reader.op != "depthwise_conv_2d"]
    if not summing:
        return activation / activation.max()
    columns = np.max([_column_peaks(constants[r.inputs[WEIGHTS].name], len(peak)) for r in summing], axis=0)
    columns = np.maximum(columns, columns.max() / LARGEST_FACTOR)
    if columns.max() <= 0.0:
        return np.ones_like(peak)
    factors = activation**balance / columns ** (1.0 - balance)
    return factors / factors.max()


def _column_peaks(weights: Array, channels: int) -> Array:
    """Largest magnitude of the weights that read each channel; the last axis counts channels modulo their number."""
    return np.abs(weights.astype(np.float64)).reshape(-1, channels).max(axis=0)


def _apply(node: Node, readers: list[Node], factors: Array, constants: dict[str, Array]) -> None:
    """Divide the node's channels by the factors and multiply them back in every reader."""
    weights = constants[node.inputs[WEIGHTS].name]
    shape = [1] * weights.ndim
    shape[WEIGHT_AXIS[node.op]] = -1
    constants[node.inputs[WEIGHTS].name] = (weights / factors.reshape(shape)).astype(np.float32)
    if len(node.inputs) > BIAS:
        name = node.inputs[BIAS].name
        constants[name] = (constants[name] / factors).astype(np.float32)
    for reader in readers:
        name = reader.inputs[WEIGHTS].name
        last = constants[name].shape[-1]
        spread = np.repeat if reader.op == "depthwise_conv_2d" else np.tile
        repeated = spread(factors, last // len(factors))
        constants[name] = (constants[name] * repeated).astype(np.float32)
