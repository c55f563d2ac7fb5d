"""What would mend a layer: each remedy is tried in the quantized network and measured at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.choose import SURE
from calibration.debugger.findings import Remedy
from calibration.debugger.patches import Unrounded, covered, tied, with_range, with_weights
from calibration.debugger.stacks import Forms, Piece, Stacks
from calibration.debugger.twins import Layer
from calibration.prepare import silent
from calibration.ranges import Method, RangeMethod, Seen
from calibration.refine import ROUNDED_OPS, refine
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array, DType, Quant
from toolchain.passes.quantize_parameters import Layer as Steps
from toolchain.passes.quantize_parameters import QuantizedWeights, quantize_weights, range_quant
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS

METHODS = (
    RangeMethod(Method.MINMAX),
    RangeMethod(Method.PERCENTILE, 99.99),
    RangeMethod(Method.PERCENTILE, 99.9),
    RangeMethod(Method.MSE),
    RangeMethod(Method.ENTROPY),
)
SETTINGS = len(METHODS) + 4
"""How many changed networks are run for a layer."""

LEAST_FITTED = 2
"""Weights are fitted to one half of the samples and judged by the other."""

ENOUGH = 0.8
"""A remedy is the cure when it gains this share of what the best one does and none before it in COSTS does."""

COSTS = ("range", "rounding", "int16", "float")
"""Kinds of remedies, cheapest on the device first."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What remedies are measured on. pieces: samples with all their values. before: the quantized network's loss of each.

    beyond: values that go further here than in calibration.
    """

    stacks: Stacks
    pieces: Sequence[Piece]
    before: Array
    beyond: frozenset[str]

    def of(self, layer: Layer) -> tuple[Remedy, ...]:
        """All remedies that a layer takes, best first."""
        found = [*self._ranges(layer), *self._roundings(layer), *self._wider(layer)]
        return tuple(sorted(found, key=lambda remedy: (remedy.after, COSTS.index(remedy.kind))))

    def _try(self, kind: str, setting: str, graph: Graph, advice: str) -> Remedy:
        forms = Forms(graph)
        after = np.concatenate([self.stacks.changed_losses(piece, forms) for piece in self.pieces])
        gains, whole = self.before - after, float(self.before.mean())
        error = float(gains.std(ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else math.inf
        gain = float(gains.mean())
        return Remedy(kind, setting, whole, float(after.mean()), gain / whole if whole > 0 else 0.0, gain > SURE * error, advice)

    def _ranges(self, layer: Layer) -> list[Remedy]:
        """The best of the range methods on the samples at hand."""
        graph = self.stacks.twins.quantized
        names = tied(graph, layer.value.name)
        seen = self._seen(names)
        if not seen:
            return []
        tried: dict[Quant, str] = {quant_of(layer.value.type): ""}
        found: list[Remedy] = []
        for method in METHODS:
            quant = range_quant(*covered([each.bounds(method) for each in seen.values()]), layer.value.type.dtype)
            changed = None if quant in tried else with_range(graph, names, quant)
            tried[quant] = str(method)
            if changed is not None:
                advice = "calibrate on such samples, or " if layer.value.name in self.beyond else ""
                found.append(self._try("range", str(method), changed, f"{advice}--ranges {method}"))
        return sorted(found, key=lambda remedy: remedy.after)[:1]

    def _seen(self, names: frozenset[str]) -> dict[str, Seen]:
        """Float values among some that are tied together."""
        found: dict[str, Seen] = {}
        for piece in self.pieces:
            for name in names & piece.real.keys():
                seen = found.setdefault(name, Seen())
                for sample in np.split(piece.real[name], len(piece.indices)):
                    seen.update(sample)
        return found

    def _roundings(self, layer: Layer) -> list[Remedy]:
        """Weights to nearest, and fitted to the samples at hand; the better one where it is not what the layer has."""
        node, real = self._node(layer), self._exact(layer)
        if node is None or not real or node.op not in ROUNDED_OPS:
            return []
        graph, found = self.stacks.twins.quantized, list[Remedy]()
        mean = np.mean([self._mean(piece, node) for piece in self.pieces], axis=0)
        scales = (quant_of(node.inputs[0].type).scalar_scale, quant_of(node.output.type).scalar_scale)
        bias = DType.I64 if node.inputs[0].type.dtype is DType.I16 else DType.I32
        steps = Steps(WEIGHT_AXIS[node.op], *scales, tuple(mean.tolist()), bias)
        nearest = quantize_weights(real[WEIGHTS], real.get(BIAS), steps)
        found.append(self._try("rounding", "nearest", with_weights(graph, node.name, nearest), "--rounding nearest"))
        fitted = self._fitted(layer, with_weights(graph, node.name, nearest))
        if fitted is not None:
            found.append(self._try("rounding", "optimal", with_weights(graph, node.name, fitted), "--rounding optimal"))
        return sorted(found, key=lambda remedy: remedy.after)[:1]

    def _fitted(self, layer: Layer, graph: Graph) -> QuantizedWeights | None:
        """The layer's weights rounded for the least error on the samples at hand; graph: with weights rounded to nearest."""
        twins = self.stacks.twins
        partner, node = twins.real.producers()[layer.value.name], graph.producers()[layer.value.name]
        alone = [
            Graph(each.name, (own.inputs[0],), own.outputs, (own,), each.constants)
            for each, own in ((twins.real, partner), (graph, node))
        ]
        values = [sample for piece in self.pieces for sample in np.split(piece.real[partner.inputs[0].name], len(piece.indices))]
        samples = [(value,) for value in values]
        if len(samples) < LEAST_FITTED:
            return None
        made, layers = refine(alone[0], alone[1], samples, len(samples), self.stacks.executor, silent)
        if not layers:
            return None
        weights, bias = made.nodes[0].inputs[WEIGHTS], made.nodes[0].inputs[BIAS:]
        return QuantizedWeights(
            made.constants[weights.name],
            quant_of(weights.type),
            made.constants[bias[0].name] if bias else None,
            quant_of((bias[0] if bias else weights).type),
        )

    def _mean(self, piece: Piece, node: Node) -> Array:
        name = node.inputs[0].name
        real = self.stacks.twins.part_of(name, piece.real[name])
        return real.reshape(-1, real.shape[-1]).astype(np.float64).mean(axis=0)

    def _wider(self, layer: Layer) -> list[Remedy]:
        """The layer's output in 16 bits, and the layer and its output in float."""
        graph, exact = self.stacks.twins.quantized, self._exact(layer)
        names = frozenset(tied(graph, layer.value.name) - graph.constants.keys())
        found: list[Remedy] = []
        seen = self._seen(names)
        if seen and layer.value.type.dtype is DType.I8:
            low, high = covered([each.extremes.bounds() for each in seen.values()])
            wide = dict.fromkeys(names, range_quant(low, high, DType.I16))
            changed = Unrounded(graph, names, wide, layer.value.name, {}).run()
            found.append(self._try("int16", "its output", changed, "--precision int16x8"))
        changed = Unrounded(graph, names, {}, layer.value.name, exact).run()
        found.append(self._try("float", "the layer", changed, "--precision float32"))
        return found

    def _node(self, layer: Layer) -> Node | None:
        """The layer's node, where it has weights and reads a value that the float graph has, too."""
        if layer.part is None or layer.op not in WEIGHT_AXIS:
            return None
        node = layer.part.nodes[-1]
        return node if node.inputs[0].name in {value.name for value in layer.part.inputs} else None

    def _exact(self, layer: Layer) -> dict[int, Array]:
        """The float constants of a layer with weights by operand index, empty where the float graph has no such layer."""
        node, partner = self._node(layer), self.stacks.twins.real.producers().get(layer.value.name)
        if node is None or partner is None or partner.op != node.op or len(partner.inputs) != len(node.inputs):
            return {}
        real, pairs = self.stacks.twins.real.constants, list(zip(partner.inputs, node.inputs, strict=True))[WEIGHTS:]
        alike = all(own.name in real and own.type.shape == other.type.shape for own, other in pairs)
        return {index: real[own.name] for index, (own, _) in enumerate(pairs, WEIGHTS)} if alike else {}


def cure_of(remedies: Sequence[Remedy]) -> Remedy | None:
    """The cheapest remedy that gains nearly as much as the best one, None where none gains for sure."""
    helping = [remedy for remedy in remedies if remedy.sure]
    best = max((remedy.gain for remedy in helping), default=0.0)
    fitting = [remedy for remedy in helping if remedy.gain >= ENOUGH * best]
    return min(fitting, key=lambda remedy: (COSTS.index(remedy.kind), remedy.after), default=None)
