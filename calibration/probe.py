"""The loss at the network's end when some of its values, and nothing else, are quantized."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.calibrate import Executor
from calibration.losses import output_losses
from calibration.walk import MakeExecutor, stack
from toolchain.ir.attrs import Attrs, CastAttrs
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.optable import macs
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, DType, Quant, TensorType
from toolchain.passes.quantize_rules import follows_first, shared_operands
from toolchain.reference.batched import batched

INEXACT = frozenset({"average_pool_2d", "resize_bilinear"})
"""Ops that follow their operand's parameters and yet round."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The part of a float graph that some values reach.

    members: the values. part: the nodes that depend on them, as a graph whose inputs are what these nodes need from
    elsewhere. roots: members that are inputs of the part, and of which the others are mere copies, so that storing these is all
    there is to do; empty where a member depends on another in some other way.
    """

    members: tuple[str, ...]
    part: Graph
    roots: tuple[Value, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(macs(node) for node in self.part.nodes)


class Trial:
    """Runs a probe's part on samples, again and again with other parameters.

    values: of the float graph, `count` samples on axis 0. stored: as in `output_losses`.
    """

    def __init__(
        self,
        probe: Probe,
        values: Mapping[str, Array],
        count: int,
        executor: MakeExecutor,
        dtype: DType = DType.I8,
        stored: bool = False,
    ) -> None:
        self._probe, self._values, self._count, self._executor = probe, values, count, executor
        self._dtype, self._stored = dtype, stored
        self._kept = self._runner(probe.part) if probe.roots else None

    def losses(self, quants: Mapping[str, Quant]) -> Array:
        """The loss of every sample when the members are stored with these parameters."""
        part, dtype, values = self._probe.part, self._dtype, self._values
        kept = {root.name: quants[root.name] for root in self._probe.roots}
        given = {name: dequantize_array(quantize_array(values[name], dtype, quant), quant) for name, quant in kept.items()}
        rounded = part if kept else with_rounding(part, {name: quants[name] for name in self._probe.members}, dtype)
        step, run = self._kept or self._runner(rounded)
        parts: list[Array] = []
        for start in range(0, self._count, step):
            sources = {v.name: self._piece(given.get(v.name, values[v.name]), start, step, v) for v in rounded.inputs}
            found = sources | dict(run(list(sources.values()))) if rounded.nodes else sources
            got = {real.name: found[out.name] for real, out in zip(part.outputs, rounded.outputs, strict=True)}
            wanted = {value.name: self._piece(values[value.name], start, step, value) for value in part.outputs}
            parts.append(output_losses(got, wanted, list(got), step, self._stored))
        return np.concatenate(parts)

    def _runner(self, graph: Graph) -> tuple[int, Executor]:
        """How many samples run at once, and what runs them."""
        whole = batched(graph, self._count) if self._count > 1 else graph
        return (self._count, self._executor(whole)) if whole is not None else (1, self._executor(graph))

    def _piece(self, stacked: Array, start: int, step: int, value: Value) -> Array:
        """Samples start to start + step of stacked ones; a single one has the value's own shape."""
        rows = len(stacked) // self._count
        piece = stacked[start * rows : (start + step) * rows]
        return piece.reshape(value.type.shape) if step == 1 else piece


def make_probe(graph: Graph, members: Sequence[str]) -> Probe | None:
    """The probe of some values, None when no graph output depends on them."""
    roots = _roots(graph, frozenset(members))
    nodes = _reached(graph, roots) if roots else _reached(graph, members, within=True)
    made = {output.name for node in nodes for output in node.outputs}
    known = {value.name: value for value in graph.values()}
    ends = made.union(members)
    outputs = tuple(value for value in graph.outputs if value.name in ends and value.type.dtype is DType.F32)
    needed = dict.fromkeys(value.name for node in nodes for value in node.inputs)
    needed |= dict.fromkeys(value.name for value in outputs)
    inputs = tuple(known[name] for name in needed if name not in made and name not in graph.constants)
    constants = {name: graph.constants[name] for name in needed if name in graph.constants}
    part = Graph(graph.name, inputs, outputs, tuple(nodes), constants)
    return Probe(tuple(members), part, tuple(known[name] for name in roots)) if outputs else None


def _reached(graph: Graph, names: Iterable[str], within: bool = False) -> list[Node]:
    """The nodes that depend on some values. within: also those that make one of these values from another."""
    found, given = list[Node](), frozenset(names)
    reached = set(given)
    for node in graph.nodes:
        made = {output.name for output in node.outputs}
        if any(value.name in reached for value in node.inputs) and (within or not made & given):
            found.append(node)
            reached |= made
    return found


def _roots(graph: Graph, members: frozenset[str]) -> tuple[str, ...]:
    """The members that are no copy of other members, where they do not depend on one another; else none."""
    makers = graph.producers()

    def copied(name: str) -> bool:
        node = makers.get(name)
        if node is None:
            return False
        sources = [node.inputs[index].name for index in shared_operands(node)]
        if not sources and follows_first(node) and node.op not in INEXACT:
            sources = [node.inputs[0].name]
        return bool(sources) and members.issuperset(sources)

    roots = tuple(name for name in members if not copied(name))
    reached = {value.name for root in roots for node in _reached(graph, (root,), within=True) for value in node.outputs}
    return () if reached.intersection(roots) else tuple(sorted(roots))


def with_rounding(graph: Graph, quants: Mapping[str, Quant], dtype: DType) -> Graph:
    """A float graph in which readers of the named values see them as stored with these parameters."""
    names = names_of(graph)
    seen: dict[str, Value] = {}
    nodes: list[Node] = []

    def store(value: Value) -> None:
        stored = Value(names.fresh(f"{value.name}_stored"), TensorType(value.type.shape, dtype, quants[value.name]))
        back = Value(names.fresh(f"{value.name}_back"), value.type)
        nodes.extend((Node("quantize", (value,), (stored,), CastAttrs(dtype)), Node("dequantize", (stored,), (back,), Attrs())))
        seen[value.name] = back

    for value in graph.inputs:
        if value.name in quants:
            store(value)
    for node in graph.nodes:
        nodes.append(Node(node.op, tuple(seen.get(v.name, v) for v in node.inputs), node.outputs, node.attrs))
        for output in node.outputs:
            if output.name in quants:
                store(output)
    return graph.rewrite(nodes, None, tuple(seen.get(value.name, value) for value in graph.outputs))


def held_bytes(graph: Graph) -> int:
    """Bytes of all float32 values of one sample."""
    values = (*graph.inputs, *(output for node in graph.nodes for output in node.outputs))
    return int(np.sum([value.type.bytes for value in values], dtype=np.int64))


def float_values(graph: Graph, samples: Sequence[Sequence[Array]], executor: MakeExecutor) -> dict[str, Array]:
    """All float32 values of all samples, stacked on axis 0, by name."""
    run = executor(graph)
    names = [value.name for value in graph.inputs]
    rows = [dict(run(sample)) | dict(zip(names, sample, strict=True)) for sample in samples]
    return dict(zip(rows[0], stack([list(row.values()) for row in rows]), strict=True))
