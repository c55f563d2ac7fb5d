"""The loss at the network's end when some of its values, and nothing else, are quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.losses import output_losses
from calibration.walk import MakeExecutor, stack
from toolchain.ir.attrs import Attrs, CastAttrs
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.optable import macs
from toolchain.ir.types import Array, DType, Quant, TensorType
from toolchain.reference.batched import batched


@dataclass(frozen=True, slots=True)
class Probe:
    """The part of a float graph that some values reach.

    members: the values. part: the nodes that depend on them, as a graph whose inputs are what these nodes need from
    elsewhere, the members that no member reaches among them.
    """

    members: tuple[str, ...]
    part: Graph

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(macs(node) for node in self.part.nodes)

    def losses(
        self,
        quants: Mapping[str, Quant],
        values: Mapping[str, Array],
        count: int,
        executor: MakeExecutor,
        dtype: DType,
        stored: bool = False,
    ) -> Array:
        """The loss of every sample when the members are stored with these parameters.

        values: of the float graph, `count` samples on axis 0. stored: as in `output_losses`.
        """
        rounded = with_rounding(self.part, {name: quants[name] for name in self.members}, dtype)
        names = [value.name for value in self.part.outputs]
        whole = batched(rounded, count) if count > 1 else rounded
        step = count if whole is not None else 1
        run = executor(whole if whole is not None else rounded)
        parts: list[Array] = []
        for start in range(0, count, step):
            found = run([_piece(values[value.name], start, step, count, value) for value in self.part.inputs])
            got = {name: found[out.name] for name, out in zip(names, rounded.outputs, strict=True)}
            wanted = {value.name: _piece(values[value.name], start, step, count, value) for value in self.part.outputs}
            parts.append(output_losses(got, wanted, names, step, stored))
        return np.concatenate(parts)


def _piece(stacked: Array, start: int, step: int, count: int, value: Value) -> Array:
    """Samples start to start + step of `count` stacked ones; a single one has the value's own shape."""
    rows = len(stacked) // count
    piece = stacked[start * rows : (start + step) * rows]
    return piece.reshape(value.type.shape) if step == 1 else piece


def make_probe(graph: Graph, members: Sequence[str]) -> Probe | None:
    """The probe of some values, None when no graph output depends on them."""
    reached = set(members)
    nodes: list[Node] = []
    for node in graph.nodes:
        if any(value.name in reached for value in node.inputs):
            nodes.append(node)
            reached.update(output.name for output in node.outputs)
    made = {output.name for node in nodes for output in node.outputs}
    known = {value.name: value for value in graph.values()}
    outputs = tuple(value for value in graph.outputs if value.name in reached and value.type.dtype is DType.F32)
    needed = dict.fromkeys(value.name for node in nodes for value in node.inputs)
    needed |= dict.fromkeys(value.name for value in outputs)
    inputs = tuple(known[name] for name in needed if name not in made and name not in graph.constants)
    constants = {name: graph.constants[name] for name in needed if name in graph.constants}
    return Probe(tuple(members), Graph(graph.name, inputs, outputs, tuple(nodes), constants)) if outputs else None


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
