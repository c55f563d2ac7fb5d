"""Rounds the weights of an integer graph layer by layer, each for the inputs that the layers before it really give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.grams import Moments, from_rows, moments, weight_rows
from calibration.rounding import Rounded, round_weights
from calibration.rows import to_stored
from calibration.walk import Batch, FloatSteps, MakeExecutor, gather
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.quantization import dequantize_array, quant_of
from toolchain.ir.types import Array, DType, Quant
from toolchain.passes.quantize_parameters import least_scales, stored_bias
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS
from toolchain.reference.batched import batched
from toolchain.reference.evaluator import run_node

ROUNDED_OPS = frozenset({"conv_2d", "depthwise_conv_2d", "fully_connected"})
BYTES_AN_ELEMENT = 5
"""A value is held in float32 and in int8."""

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class LayerRounding:
    """What became of a layer's weights. ridge: None where they stayed near the float ones. Errors: mean squares, real units."""

    name: str
    ridge: float | None
    error_nearest: float
    error: float


def refine(
    real: Graph, integer: Graph, samples: Iterable[Sequence[Array]], total: int, executor: MakeExecutor, told: Told
) -> tuple[Graph, list[LayerRounding]]:
    """The integer graph with weights, their scales and biases fitted to the samples, and what was done layer by layer.

    real: the float graph that `integer` was quantized from. samples: of real numbers; total: how many.
    Values are held for as many samples as `walk.HELD_BYTES` allows, evenly spread. Layers whose weights are not int8
    constants, or are those of another layer as well, keep what they have.
    """
    walk = _Walk(real, integer, gather(real, samples, total, BYTES_AN_ELEMENT), executor)
    for index, node in enumerate(integer.nodes):
        told("rounding weights", index, len(integer.nodes))
        walk.step(index, node)
    return walk.result()


class _Walk:
    """Both graphs side by side, node by node of the integer one."""

    def __init__(self, real: Graph, integer: Graph, batches: Sequence[Batch], executor: MakeExecutor) -> None:
        self._real, self._integer, self._batches = real, integer, batches
        self._steps = FloatSteps(real, executor)
        self._makers = real.producers()
        self._constants: dict[str, Array] = dict(integer.constants)
        self._nodes: list[Node] = []
        self._layers: list[LayerRounding] = []
        self._forms = {batch.count: _form(integer, batch.count) for batch in batches}
        self._stored = [Batch(b.first, b.count, _stored_inputs(integer, real, b)) for b in batches]
        self._uses = Counter(value.name for node in integer.nodes for value in node.inputs)
        self._shares = Counter(self._uses)
        self._real_uses = Counter(value.name for node in real.nodes for value in node.inputs)

    def result(self) -> tuple[Graph, list[LayerRounding]]:
        return self._integer.rewrite(self._nodes, self._constants), self._layers

    def step(self, index: int, node: Node) -> None:
        """Fit the node's weights, then run it in both graphs."""
        partner = self._makers.get(node.name)
        changed = node
        if partner is not None and self._fits(node, partner):
            changed = self._round(node, partner)
        self._nodes.append(changed)
        for stored in self._stored:
            form = replace(self._forms[stored.count][index], inputs=self._operands(stored.count, index, changed))
            inputs = [stored.values[v.name] if v.name in stored.values else self._constants[v.name] for v in form.inputs]
            stored.values.update({o.name: a for o, a in zip(form.outputs, run_node(form, inputs), strict=True)})
        if partner is not None:
            for batch in self._batches:
                batch.values.update(self._steps.run(partner.name, batch, batch.values))
        self._forget(node, partner)

    def _operands(self, count: int, index: int, changed: Node) -> tuple[Value, ...]:
        """Operands of the stacked node with the constants of the changed one."""
        given = self._forms[count][index].inputs
        return tuple(new if new.name in self._constants else old for old, new in zip(given, changed.inputs, strict=True))

    def _forget(self, node: Node, partner: Node | None) -> None:
        for uses, batches, spent in ((self._uses, self._stored, node), (self._real_uses, self._batches, partner)):
            for value in () if spent is None else spent.inputs:
                uses[value.name] -= 1
                for batch in batches if uses[value.name] == 0 else ():
                    batch.values.pop(value.name, None)

    def _fits(self, node: Node, partner: Node) -> bool:
        """True for layers with int8 weights of their own and float ones to compare with."""
        if node.op not in ROUNDED_OPS or partner.op != node.op or partner.inputs[WEIGHTS].name not in self._real.constants:
            return False
        x, w = node.inputs[0].type, node.inputs[WEIGHTS].type
        own = all(value.name in self._integer.constants and self._shares[value.name] == 1 for value in node.inputs[1:])
        return w.dtype is DType.I8 and x.dtype in (DType.I8, DType.I16) and own

    def _round(self, node: Node, partner: Node) -> Node:
        one, other = self._moments(node, partner)
        both = one.join(other)
        rows = weight_rows(node, self._real.constants[partner.inputs[WEIGHTS].name].astype(np.float64))
        bias = np.zeros(rows.shape[:2])
        if len(partner.inputs) > BIAS:
            bias = self._real.constants[partner.inputs[BIAS].name].astype(np.float64).reshape(rows.shape[:2])
        quant, x, out = quant_of(node.inputs[WEIGHTS].type), node.inputs[0].type, node.output.type
        scale_in = quant_of(x).scalar_scale
        scales = np.array(quant.scale, np.float64).reshape(*rows.shape[:2], 1)
        least = least_scales(bias, scale_in, quant_of(out).scalar_scale)
        found = round_weights(rows, scales, least, one, other)
        self._layers.append(LayerRounding(node.name, found.ridge, found.nearest, found.error))
        return self._replaced(node, found, both, rows, bias)

    def _replaced(self, node: Node, found: Rounded, both: Moments, rows: Array, bias: Array) -> Node:
        """The node with new constants; the bias takes the mean of what is left of the error."""
        scales = found.scales.reshape(-1).astype(np.float32)
        weights = node.inputs[WEIGHTS]
        scale_in = quant_of(node.inputs[0].type).scalar_scale
        real = found.stored * scales.astype(np.float64).reshape(found.scales.shape)
        wanted = np.einsum("gri,gi->gr", rows, both.real_mean) - np.einsum("gri,gi->gr", real, both.mean) + bias
        axis = WEIGHT_AXIS[node.op]
        quant = Quant(tuple(scales.tolist()), (0,) * len(scales), axis)
        inputs = [node.inputs[0], Value(weights.name, replace(weights.type, quant=quant))]
        self._constants[weights.name] = from_rows(node, found.stored).astype(np.int8)
        if len(node.inputs) > BIAS:
            value = node.inputs[BIAS]
            self._constants[value.name], quant = stored_bias(wanted.reshape(-1), scale_in, scales, value.type.dtype)
            inputs.append(Value(value.name, replace(value.type, quant=quant)))
        return replace(node, inputs=tuple(inputs))

    def _moments(self, node: Node, partner: Node) -> tuple[Moments, Moments]:
        """Moments over every other sample, and over the rest."""
        found: list[Moments | None] = [None, None]
        quant = quant_of(node.inputs[0].type)
        for batch, stored in zip(self._batches, self._stored, strict=True):
            x = dequantize_array(stored.values[node.inputs[0].name], quant)
            y = batch.values[partner.inputs[0].name]
            for half in range(2):
                mine = slice((half - batch.first) % 2, None, 2)
                if len(x[mine]):
                    part = moments(node, x[mine], y[mine])
                    before = found[half]
                    found[half] = part if before is None else before.join(part)
        empty = Moments(0.0, *(np.zeros(0),) * 4)
        one, other = (empty if part is None else part for part in found)
        return one, other


def _form(graph: Graph, count: int) -> Sequence[Node]:
    form = graph if count == 1 else batched(graph, count)
    if form is None:
        raise ValueError(f"{graph.name} takes batches in float but not on integers")
    return form.nodes


def _stored_inputs(integer: Graph, real: Graph, batch: Batch) -> dict[str, Array]:
    """A batch's inputs as the integer graph stores them."""
    arrays = to_stored([batch.values[own.name] for own in real.inputs], integer.inputs)
    return {value.name: array for value, array in zip(integer.inputs, arrays, strict=True)}
