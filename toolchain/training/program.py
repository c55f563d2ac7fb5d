"""Runs an integer graph on a framework's tensors: exact forward, the float network's gradients.

Quantized values are held as float32 tensors of stored numbers, other floats as they are, other integers as int64. Computed values
have one dimension more than in the graph, the first, which counts samples; so every graph takes batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir.graph import Node, Value
from toolchain.ir.types import Array, Quant, per_tensor
from toolchain.passes.families import NARY
from toolchain.passes.quantize_rules import BIAS
from toolchain.reference.batched import batched
from toolchain.reference.evaluator import run_node
from toolchain.training.arithmetic import round_away, round_even
from toolchain.training.indices import Table
from toolchain.training.plan import LARGEST, SCALE, Plan, is_layer
from toolchain.training.primitives import Kind, Primitives, Tensor

LEAST_SHARE = 1.0 / 64.0
"""A trained scale never falls below this share of the first one."""
BIAS_LIMIT = 2.0**30
HALF = 0.5

Step = Callable[["Run", Node], Sequence[Tensor]]


def kind_of(value: Value) -> Kind:
    """The element type that holds a value in the framework."""
    return "f32" if value.type.quant is not None or value.type.dtype.is_float else "i64"


class Run:
    """One pass through the graph. parameters: tensors by the plan's names. tables: of moving ops, kept from pass to pass."""

    def __init__(self, plan: Plan, p: Primitives, parameters: Mapping[str, Tensor], tables: dict[str, tuple[Table, ...]]) -> None:
        self.plan, self.p, self.tables = plan, p, tables
        self._parameters = parameters
        self._values: dict[str, Tensor] = {}
        self._rank = 0
        self._scales: dict[str, Tensor] = {}

    def scale(self, value: Value) -> Tensor:
        """The float32 scale of a quantized value: a scalar, or a vector for weights."""
        key = self.plan.groups[value.name]
        if key not in self._scales:
            self._scales[key] = self._make_scale(key)
        return self._scales[key]

    def _make_scale(self, key: str) -> Tensor:
        scale, p = self.plan.scales[key], self.p
        first = p.constant(scale.first)
        if scale.damping is None:
            return first
        share = self._parameters[key + SCALE]
        # An addition and then a product: no framework can fuse these to another rounding.
        return first * p.clip(p.straight(p.stop(share), share * scale.damping) + 1.0, LEAST_SHARE, float("inf"))

    def wide_scale(self, value: Value) -> Tensor:
        """The scale in float64, without gradient, for factors of integer arithmetic."""
        return self.p.cast(self.p.stop(self.scale(value)), "f64")

    def zero(self, value: Value) -> float:
        """The zero point of a value."""
        return float(self.plan.zero_points[value.name])

    def begin(self, node: Node) -> None:
        """From now on operands are given to this node: with its rank, where they broadcast."""
        self._rank = node.output.type.rank if node.op in NARY else 0

    def value(self, value: Value) -> Tensor:
        """The tensor of a value: stored numbers where it is quantized."""
        if value.name not in self._values:
            self._values[value.name] = self._constant(value)
        found, missing = self._values[value.name], self._rank - value.type.rank
        if missing <= 0 or value.name in self.plan.graph.constants:
            return found
        return self.p.reshape(found, (-1, *[1] * missing, *value.type.shape))

    def put(self, value: Value, tensor: Tensor) -> None:
        """Set the tensor of a value."""
        self._values[value.name] = tensor

    def centred(self, value: Value) -> Tensor:
        """Stored numbers less the zero point."""
        return self.value(value) - self.zero(value)

    def real(self, value: Value) -> Tensor:
        """The tensor in real units, float32; with a gradient for value and scale."""
        return self.value(value) if value.type.quant is None else self.centred(value) * self.scale(value)

    def _constant(self, value: Value) -> Tensor:
        array = self.plan.graph.constants[value.name]
        kind: Kind = kind_of(value)
        if value.name not in self._parameters:
            return self.p.cast(self.p.constant(array), kind)
        given = self._parameters[value.name]
        scale = self.scale(value)
        if value.name in self.plan.weights:
            quant = value.type.quant
            if quant is not None and quant.axis is not None:
                scale = self.p.reshape(scale, [-1 if axis == quant.axis else 1 for axis in range(value.type.rank)])
            return self.stored(given, scale, 0.0, (-LARGEST, LARGEST))
        return self.stored(given, scale, self.zero(value), value.type.dtype.limits)

    def stored(self, real: Tensor, scale: Tensor, zero: float, limits: tuple[int, int]) -> Tensor:
        """Real numbers on a grid: round(real / scale) + zero within limits, halves away from zero."""
        p, (low, high) = self.p, limits
        ratio = real / scale
        exact = p.clip(round_away(p, ratio) + zero, low, high)
        return p.straight(p.cast(exact, "f32"), self.unsaturated(ratio + zero, limits))

    def unsaturated(self, steps: Tensor, limits: tuple[int, int]) -> Tensor:
        """Steps that keep their gradient where they round to a number within limits: the largest weight of a channel does."""
        return self.p.clip(steps, limits[0] - HALF, limits[1] + HALF)

    def bias(self, node: Node) -> Tensor | None:
        """The stored bias of a layer in float64, None where it has none."""
        if len(node.inputs) <= BIAS:
            return None
        value, p = node.inputs[BIAS], self.p
        if value.name not in self._parameters:
            return p.cast(p.constant(self.plan.graph.constants[value.name]), "f64")
        unit = p.cast(self.scale(node.inputs[0]), "f64") * p.cast(self.scale(node.inputs[1]), "f64")
        ratio = (p.cast(self._parameters[value.name], "f64") + p.constant(self.plan.rests[value.name])) / unit
        return p.straight(p.clip(round_even(p, ratio), -BIAS_LIMIT, BIAS_LIMIT), p.clip(ratio, -BIAS_LIMIT, BIAS_LIMIT))

    def on_host(self, node: Node) -> list[Tensor]:
        """What the reference evaluator gives for a node, without gradient."""
        quantized = [value for value in (*node.inputs, *node.outputs) if value.name in self.plan.groups]
        scales = [self.p.stop(self.scale(value)) for value in quantized]
        inputs = [self.p.stop(self.value(value)) for value in node.inputs]
        kinds: set[Kind] = {kind_of(value) for value in node.outputs}
        if len(kinds) > 1:
            raise ModelError(
                104, node.name, f"{node.op} with results of several kinds cannot be trained", "Replace the operation"
            )

        def run(*arrays: Array) -> list[Array]:
            given, found = arrays[: len(inputs)], arrays[len(inputs) :]
            quants = {value.name: _with_scale(value, scale) for value, scale in zip(quantized, found, strict=True)}
            return _evaluate(node, self.plan, given, quants)

        shapes = [(-1, *value.type.shape) for value in node.outputs]
        return self.p.on_host(run, [*inputs, *scales], shapes, kinds.pop())


def _with_scale(value: Value, scale: Array) -> Quant:
    quant = value.type.quant
    if quant is None or quant.axis is not None:
        return Quant(tuple(np.asarray(scale).tolist()), (0,) * np.size(scale), None if quant is None else quant.axis)
    return per_tensor(float(scale), quant.scalar_zero_point)


def _evaluate(node: Node, plan: Plan, arrays: Sequence[Array], quants: Mapping[str, Quant]) -> list[Array]:
    """The evaluator's outputs for arrays of the framework's element types, computed ones with samples on axis 0."""
    constant = [value.name in plan.graph.constants for value in node.inputs]
    count = next((len(array) for array, fixed in zip(arrays, constant, strict=True) if not fixed), 1)
    stored = [np.asarray(a).astype(v.type.dtype.numpy) for v, a in zip(node.inputs, arrays, strict=True)]
    whole = _stacked(node, plan, count)
    if whole is not None:
        merged = [a if fixed else a.reshape(-1, *a.shape[2:]) for a, fixed in zip(stored, constant, strict=True)]
        found = run_node(_typed(whole, quants), merged)
        return [array.reshape(count, *value.type.shape) for array, value in zip(found, node.outputs, strict=True)]
    typed = _typed(node, quants)
    rows = [run_node(typed, [a if fixed else a[i] for a, fixed in zip(stored, constant, strict=True)]) for i in range(count)]
    return [np.stack(parts) for parts in zip(*rows, strict=True)]


def _typed(node: Node, quants: Mapping[str, Quant]) -> Node:
    def typed(value: Value) -> Value:
        return Value(value.name, replace(value.type, quant=quants[value.name])) if value.name in quants else value

    return replace(node, inputs=tuple(map(typed, node.inputs)), outputs=tuple(map(typed, node.outputs)))


def _stacked(node: Node, plan: Plan, count: int) -> Node | None:
    """The node for several samples on axis 0; None where that means something else."""
    constants = {value.name: plan.graph.constants[value.name] for value in node.inputs if value.name in plan.graph.constants}
    inputs = tuple({v.name: v for v in node.inputs if v.name not in constants}.values())
    alone = replace(plan.graph, inputs=inputs, outputs=node.outputs, nodes=(node,), constants=constants)
    whole = batched(alone, count)
    return None if whole is None else whole.nodes[0]


class Program:
    """The differentiable form of a plan."""

    def __init__(self, plan: Plan, p: Primitives, steps: Mapping[str, Step], ends: Mapping[str, Step]) -> None:
        """steps: the table of ops. ends: ops in whose place training may take the float form at the network's end."""
        self.plan, self._p, self._steps, self._ends = plan, p, steps, ends
        self._last = {value.name for value in plan.graph.outputs}
        self._tables: dict[str, tuple[Table, ...]] = {}

    def start(self, parameters: Mapping[str, Tensor]) -> Run:
        """A pass that has computed nothing yet."""
        return Run(self.plan, self._p, parameters, self._tables)

    def run(self, inputs: Sequence[Tensor], parameters: Mapping[str, Tensor], *, soft_ends: bool) -> list[Tensor]:
        """The graph's outputs in real units for samples on axis 0.

        inputs: float32 in real units, int64 where the graph takes integers. soft_ends: probabilities that leave the
        network are computed in float from exact integers, so that a loss may take their logarithm.
        """
        run, graph = self.start(parameters), self.plan.graph
        soft: dict[str, Tensor] = {}
        for value, tensor in zip(graph.inputs, inputs, strict=True):
            run.put(value, _entered(run, value, tensor))
        for node in graph.nodes:
            if soft_ends and node.op in self._ends and node.name in self._last:
                soft[node.name] = self._ends[node.op](run, node)[0]
            run.begin(node)
            for value, tensor in zip(node.outputs, self._steps[node.op](run, node), strict=True):
                run.put(value, tensor)
        return [self._left(value, soft[value.name] if value.name in soft else run.real(value)) for value in graph.outputs]

    def _left(self, value: Value, tensor: Tensor) -> Tensor:
        """An output as users see it: samples take the place of the graph's own batch of one."""
        shape = value.type.shape
        return self._p.reshape(tensor, (-1, *(shape[1:] if shape[:1] == (1,) else shape)))

    def constants(self, parameters: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Stored constants by name, and scales by group, as a pass with these parameters has them."""
        run, graph = self.start(parameters), self.plan.graph
        stored = {
            value.name: run.value(value)
            for value in graph.values()
            if value.name in parameters and value.name in self.plan.groups
        }
        for node in graph.nodes:
            if is_layer(node) and len(node.inputs) > BIAS and node.inputs[BIAS].name in parameters:
                stored[node.inputs[BIAS].name] = run.bias(node)
        values = {self.plan.groups[v.name]: v for v in graph.values() if v.name in self.plan.groups}
        return stored, {key: run.scale(value) for key, value in values.items()}


def _entered(run: Run, value: Value, tensor: Tensor) -> Tensor:
    tensor = run.p.reshape(tensor, (-1, *value.type.shape))
    if value.type.quant is None:
        return tensor
    return run.stored(tensor, run.scale(value), run.zero(value), value.type.dtype.limits)
