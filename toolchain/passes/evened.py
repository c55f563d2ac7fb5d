"""Which channels a quantized graph has scaled, by how much, and which it lost: how values of the float graph compare with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS

TOLERANCE = 1e-4
"""Factors this near 1 are what rounding of the weights leaves of 1."""


def evened_factors(before: Graph, after: Graph) -> dict[str, Array]:
    """For every value of an equalized graph whose channels were divided, the divisors along its last axis, float32.

    before, after: the graph that `equalize` took and the one it gave; nothing but constants differs.
    """
    found: dict[str, Array] = {}
    for node in before.nodes:
        if node.op in WEIGHT_AXIS and node.inputs[WEIGHTS].name in before.constants:
            factors = _divisors(node, before, after, found)
        else:
            factors = next((found[value.name] for value in node.inputs if value.name in found), None)
        for output in node.outputs:
            channels = output.type.shape[-1] if output.type.rank else 0
            if factors is not None and channels and channels % len(factors) == 0:
                found[output.name] = np.tile(factors, channels // len(factors))
    return found


def with_factors(graph: Graph, factors: Mapping[str, Array]) -> Graph:
    """The float graph whose named values are divided by factors along their last axis; outputs stay what they are.

    factors: of `evened_factors`. A value that a factor does not fit is an error of the caller.
    """
    constants = dict(graph.constants)
    for node in graph.nodes:
        if node.op not in WEIGHT_AXIS or node.inputs[WEIGHTS].name not in graph.constants:
            continue
        name, own = node.inputs[WEIGHTS].name, factors.get(node.output.name)
        weights = _multiplied(node, graph.constants[name], factors.get(node.inputs[0].name))
        constants[name] = weights if own is None else (weights / _along(node, weights, own)).astype(np.float32)
        if own is not None and len(node.inputs) > BIAS:
            bias = node.inputs[BIAS].name
            constants[bias] = (graph.constants[bias] / own).astype(np.float32)
    return replace(graph, constants=MappingProxyType(constants))


def kept_channels(before: Graph, after: Graph) -> dict[str, Array]:
    """For every value of a quantized graph that lost channels, which of them are left: a mask along its last axis.

    before, after: the graph without and with its dead channels dropped. Values whose weights do not tell are left out.
    """
    found: dict[str, Array] = {}
    old_nodes = before.producers()
    for node in after.nodes:
        old = old_nodes.get(node.name)
        if old is None or old.op != node.op or node.output.type.shape == old.output.type.shape:
            continue
        mask = found.get(old.inputs[0].name)
        if node.op in WEIGHT_AXIS:
            mask = _kept_rows(_rows(before, old, mask), _rows(after, node, None))
        channels, left = (each.output.type.shape[-1] for each in (old, node))
        if mask is not None and channels % len(mask) == 0 and left * len(mask) == channels * int(mask.sum()):
            found[node.name] = np.tile(mask, channels // len(mask))
    return found


def _rows(graph: Graph, node: Node, inputs: Array | None) -> list[bytes]:
    """The stored weights of every output channel with their scale; inputs: which input channels to look at, None for all."""
    value = node.inputs[WEIGHTS]
    weights = np.moveaxis(graph.constants[value.name], WEIGHT_AXIS[node.op], 0)
    if inputs is not None and node.op != "depthwise_conv_2d" and weights.shape[-1] == len(inputs):
        weights = weights[..., inputs]
    scales = () if value.type.quant is None else value.type.quant.scale
    wide = scales if len(scales) == len(weights) else scales * len(weights)
    return [row.tobytes() + np.float32(scale).tobytes() for row, scale in zip(weights, wide, strict=True)]


def _kept_rows(before: list[bytes], after: list[bytes]) -> Array | None:
    """Which rows are left, in their order; None where the rows that are left are not among them."""
    mask, waiting = np.zeros(len(before), bool), iter(range(len(before)))
    for row in after:
        index = next((index for index in waiting if before[index] == row), None)
        if index is None:
            return None
        mask[index] = True
    return mask


def signed_factors(factors: Mapping[str, Array], kept: Mapping[str, Array]) -> dict[str, Array]:
    """Divisors of all channels by value name, those of lost channels negative: what a bundle holds."""
    found: dict[str, Array] = {}
    for name in {**factors, **kept}:
        mask = kept.get(name)
        divisors = factors.get(name, np.ones(0 if mask is None else len(mask), np.float32))
        if mask is None or len(mask) == len(divisors):
            found[name] = divisors if mask is None else np.where(mask, divisors, -divisors).astype(np.float32)
    return found


def _divisors(node: Node, before: Graph, after: Graph, found: Mapping[str, Array]) -> Array | None:
    """What a layer's output channels were divided by: the ratio of its weights, those of its input's channels taken out."""
    name, axis = node.inputs[WEIGHTS].name, WEIGHT_AXIS[node.op]
    others = tuple(index for index in range(before.constants[name].ndim) if index != axis)
    old = np.abs(_multiplied(node, before.constants[name], found.get(node.inputs[0].name)).astype(np.float64)).sum(axis=others)
    new = np.abs(after.constants[name].astype(np.float64)).sum(axis=others)
    if len(node.inputs) > BIAS:
        bias = node.inputs[BIAS].name
        empty = new == 0
        old = np.where(empty, np.abs(before.constants[bias]), old)
        new = np.where(empty, np.abs(after.constants[bias]), new)
    factors = np.divide(old, new, out=np.ones_like(old), where=(new > 0) & (old > 0))
    return None if np.abs(factors - 1.0).max(initial=0.0) < TOLERANCE else factors.astype(np.float32)


def _multiplied(node: Node, weights: Array, factors: Array | None) -> Array:
    """Weights that take the factors of the channels that they read."""
    if factors is None:
        return weights
    repeat = np.repeat if node.op == "depthwise_conv_2d" else np.tile
    return (weights * repeat(factors, weights.shape[-1] // len(factors))).astype(np.float32)


def _along(node: Node, weights: Array, factors: Array) -> Array:
    shape = [1] * weights.ndim
    shape[WEIGHT_AXIS[node.op]] = -1
    return factors.reshape(shape)
