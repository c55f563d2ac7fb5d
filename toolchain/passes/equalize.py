"""Evens out the ranges of channels before quantization, so that one scale serves all channels of an activation.

A layer's output channel may be divided by any positive factor when every reader multiplies it back: weights do so for free.
Weights are quantized per output channel, so the dividing side loses nothing; a depthwise reader loses nothing either, a
reader that sums over channels trades rounding of its weights for rounding of the activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from toolchain.ir.attrs import Activation, PadMode
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph, Node, Value
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
    layers with constant weights alone; layers whose outputs are summed are changed together. Values and their names stay.
    balance: exponent of the activation's range against the readers' weights, 1 evens the activation fully, 0 the weights.
    """
    constants = dict(graph.constants)
    readers_of = _weight_users(graph)
    search = _Search(graph, readers_of)
    done: set[str] = set()
    for node in graph.nodes:
        if node.name in done or not _can_divide(graph, node, readers_of):
            continue
        found = search.around(node)
        done.update([node.name] if found is None else [maker.name for maker in found.makers])
        if found is not None and found.readers:
            peak = _joint_peaks(table, found.values, node.output.type.shape[-1])
            if peak.size:
                _apply(found, _factors(peak, found.readers, constants, balance), constants)
    return replace(graph, constants=MappingProxyType(constants))


@dataclass(frozen=True, slots=True)
class _Channels:
    """Values whose channels can only be scaled together: the layers that make them and the layers that read them."""

    makers: list[Node]
    readers: list[Node]
    values: list[Value]


def _joint_peaks(table: CalibrationTable, values: Sequence[Value], channels: int) -> Array:
    """How large every channel is beside the largest, in the geometric mean over the values; empty where nothing is known."""
    logs: list[Array] = []
    for value in values:
        peak = _peaks(table, value.name)
        if len(peak) == channels and peak.max() > 0.0:
            logs.append(np.log(np.maximum(peak / peak.max(), 1.0 / LARGEST_FACTOR)))
    return np.exp(np.mean(logs, axis=0)) if logs else np.zeros(0)


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


class _Search:
    """Finds what has to be scaled with a layer's output: through sums to the other layers that add to it."""

    def __init__(self, graph: Graph, counts: Mapping[str, int]) -> None:
        self._graph, self._counts = graph, counts
        self._users, self._producers = graph.users(), graph.producers()
        self._ends = {value.name for value in (*graph.inputs, *graph.outputs)}

    def around(self, node: Node) -> _Channels | None:
        """The values that are scaled with the node's output, or None where anything else makes or reads one of them."""
        channels = node.output.type.shape[-1]
        found = _Channels([], [], [])
        waiting, seen = [node.output], {node.output.name}
        while waiting:
            value = waiting.pop()
            joined = self._join(value, channels, found)
            if joined is None:
                return None
            found.values.append(value)
            waiting += [other for other in joined if other.name not in seen]
            seen.update(other.name for other in joined)
        return found

    def _join(self, value: Value, channels: int, found: _Channels) -> list[Value] | None:
        """The values that are tied to a value, after its makers and readers were noted; None where it cannot be scaled."""
        maker = self._producers.get(value.name)
        if value.name in self._ends or maker is None or value.name not in self._users:
            return None
        tied: list[Value] = []
        if _can_divide(self._graph, maker, self._counts) and value.type.shape[-1] == channels:
            found.makers.append(maker)
        elif _passes_channels(maker, channels) or self._sums(maker):
            tied += maker.inputs
        else:
            return None
        for user in self._users[value.name]:
            if _has_own_weights(self._graph, user, self._counts) and user.inputs[0].name == value.name and _ungrouped(user):
                found.readers.append(user)
            elif _passes_channels(user, channels) or self._sums(user):
                tied.append(user.output)
            else:
                return None
        return tied

    def _sums(self, node: Node) -> bool:
        """True for sums of computed values of one shape."""
        plain = node.op in ("add", "sub") and node.attrs.activation in _LINEAR
        return plain and all(
            value.name not in self._graph.constants and value.type.shape == node.output.type.shape for value in node.inputs
        )


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


def _apply(found: _Channels, factors: Array, constants: dict[str, Array]) -> None:
    """Divide the makers' channels by the factors and multiply them back in every reader."""
    for node in found.makers:
        weights = constants[node.inputs[WEIGHTS].name]
        shape = [1] * weights.ndim
        shape[WEIGHT_AXIS[node.op]] = -1
        constants[node.inputs[WEIGHTS].name] = (weights / factors.reshape(shape)).astype(np.float32)
        if len(node.inputs) > BIAS:
            name = node.inputs[BIAS].name
            constants[name] = (constants[name] / factors).astype(np.float32)
    for reader in found.readers:
        name = reader.inputs[WEIGHTS].name
        last = constants[name].shape[-1]
        spread = np.repeat if reader.op == "depthwise_conv_2d" else np.tile
        repeated = spread(factors, last // len(factors))
        constants[name] = (constants[name] * repeated).astype(np.float32)
