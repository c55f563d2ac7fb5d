"""What of an integer graph is trained: constants in real units, and scales. Knows no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import OPS, infer
from toolchain.ir.quantization import dequantize_array, quant_of, quantize_array
from toolchain.ir.types import Array, DType, Quant
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS

ALIKE = frozenset({"where", "one_hot", "top_k"})
"""Ops that move stored values besides those with `same_quant`."""

LARGEST = 127
SCALE = "/scale"


@dataclass(frozen=True, slots=True)
class Scale:
    """Values that share a scale. first: float32, () or a vector along an axis. damping: of the gradient; None: not trained.

    A trained scale is first * (1 + parameter), so parameters begin at 0 and are relative, whatever the scale.
    """

    first: Array
    damping: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """An integer graph with what is trained of it.

    parameters: first values (float32) by name: constants in real units under their own name, relative scales under that of
    their group and SCALE. rests: what float32 leaves of biases. groups: the key in `scales` of every value with one.
    zero_points: of activations. weights: names of the constants that layers multiply by.
    """

    graph: Graph
    parameters: Mapping[str, Array]
    rests: Mapping[str, Array]
    groups: Mapping[str, str]
    scales: Mapping[str, Scale]
    zero_points: Mapping[str, int]
    weights: frozenset[str]


def is_layer(node: Node) -> bool:
    """True for layers on integers with constant weights."""
    return node.op in WEIGHT_AXIS and node.inputs[0].type.quant is not None


def make_plan(graph: Graph, real: Graph, *, scales: bool) -> Plan:
    """The plan to train an integer graph.

    real: the float graph it was quantized from. scales: whether scales are trained beside weights and biases.
    Weights begin where the float ones lie when these round to the integers of the graph, else at the integers.
    """
    groups = _groups(graph)
    weights = frozenset(node.inputs[WEIGHTS].name for node in graph.nodes if is_layer(node))
    biases = {node.inputs[BIAS].name: _unit(node) for node in graph.nodes if is_layer(node) and len(node.inputs) > BIAS}
    shared = {name for name in biases if len(graph.users()[name]) > 1}
    values = {value.name: value for value in graph.values() if value.type.quant is not None}
    held = _held(graph, groups, values, shared)
    found = {groups[name]: _scale(value, scales and groups[name] not in held) for name, value in values.items() if name in groups}
    parameters: dict[str, Array] = {}
    rests: dict[str, Array] = {}
    origins = _origins(graph, real)
    for name, value in values.items():
        stored = graph.constants.get(name)
        if stored is None or name in shared or (name not in groups and name not in biases):
            continue
        parameters[name] = _master(stored, value, origins.get(name))
        if name in biases:
            exact = stored.astype(np.float64) * biases[name]
            parameters[name] = exact.astype(np.float32)
            rests[name] = exact - parameters[name].astype(np.float64)
    for name, scale in found.items():
        if scale.damping is not None:
            parameters[name + SCALE] = np.zeros(scale.first.shape, np.float32)
    zeros = {name: quant_of(value.type).scalar_zero_point for name, value in values.items()}
    return Plan(graph, parameters, rests, groups, found, zeros, weights)


def _unit(node: Node) -> Array:
    """A step of a layer's bias in float64; what its own type says is rounded to float32, too coarse for large biases."""
    return quant_of(node.inputs[0].type).scalar_scale * np.array(quant_of(node.inputs[WEIGHTS].type).scale, np.float64)


def _scale(value: Value, trained: bool) -> Scale:
    """The scale of a value; the gradient is damped as learned step sizes are: 1 / sqrt(elements * steps)."""
    quant = quant_of(value.type)
    first = np.array(quant.scale if quant.axis is not None else quant.scalar_scale, np.float32)
    elements = max(value.type.elements // max(first.size, 1), 1)
    return Scale(first, float(1.0 / np.sqrt(elements * LARGEST)) if trained else None)


def _groups(graph: Graph) -> dict[str, str]:
    """For every quantized value but biases the name that stands for all that must have its scale."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for value in (*graph.inputs, *graph.outputs):
        if value.type.quant is not None:
            parent.setdefault(value.name, value.name)
    for node in graph.nodes:
        operands = node.inputs[:BIAS] if is_layer(node) else node.inputs
        names = [value.name for value in (*operands, *node.outputs) if value.type.quant is not None]
        for name in names:
            parent.setdefault(name, name)
        if OPS[node.op].same_quant or node.op in ALIKE:
            for name in names[1:]:
                parent[find(name)] = find(names[0])
    return {name: find(name) for name in parent}


def _held(graph: Graph, groups: Mapping[str, str], values: Mapping[str, Value], shared: set[str]) -> set[str]:
    """Groups whose scales stay: those of inputs, those that the specification fixes, and those beside shared biases."""
    held = {groups[value.name] for value in graph.inputs if value.name in groups}
    quants: dict[str, Quant] = {}
    for name, group in groups.items():
        if (
            quants.setdefault(group, quant_of(values[name].type)) != values[name].type.quant
            or values[name].type.dtype is not DType.I8
        ):
            held.add(group)
    for node in graph.nodes:
        rule = infer(node.op, node.attrs, [value.type for value in node.inputs])
        held.update(groups[o.name] for o, type_ in zip(node.outputs, rule, strict=True) if type_.quant and o.name in groups)
        if is_layer(node) and len(node.inputs) > BIAS and node.inputs[BIAS].name in shared:
            held.update(groups[value.name] for value in node.inputs[:BIAS])
    return held


def _origins(graph: Graph, real: Graph) -> dict[str, Array]:
    """Float weights of layers, by the name of the integer ones."""
    makers = real.producers()
    found: dict[str, Array] = {}
    for node in graph.nodes:
        partner = makers.get(node.name)
        if is_layer(node) and partner is not None and partner.op == node.op:
            array = real.constants.get(partner.inputs[WEIGHTS].name)
            if array is not None and array.shape == node.inputs[WEIGHTS].type.shape:
                found[node.inputs[WEIGHTS].name] = array
    return found


def _master(stored: Array, value: Value, origin: Array | None) -> Array:
    """The float32 constant that training begins with; it rounds to the stored one."""
    quant = quant_of(value.type)
    centre = dequantize_array(stored, quant)
    if origin is None:
        return centre
    limit = dequantize_array(np.full_like(stored, LARGEST), quant)
    inside = np.clip(origin.astype(np.float32), -limit, limit)
    return np.where(quantize_array(inside, value.type.dtype, quant) == stored, inside, centre).astype(np.float32)
