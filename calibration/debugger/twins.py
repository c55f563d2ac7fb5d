"""The quantized graph and the float graph that it came from, value by value in the same units."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.errors import DataError
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, DType, TensorType
from toolchain.passes.evened import with_factors


@dataclass(frozen=True, slots=True)
class Layer:
    """A quantized value that the float graph has too.

    part: the nodes that make it of other such values, which are the part's inputs; None for an input of the network.
    real: the float nodes that make it of the same values; None for an input, and where they need others.
    """

    value: Value
    op: str
    part: Graph | None = None
    real: Graph | None = None


@dataclass(frozen=True, slots=True)
class Twins:
    """Both graphs. real: the float graph with its channels divided as they were before quantization; same names.

    kept: of values whose channels the quantized graph has not all, a mask of those that it has.
    """

    quantized: Graph
    real: Graph
    layers: tuple[Layer, ...]
    kept: Mapping[str, Array]

    @property
    def ends(self) -> tuple[tuple[Value, str], ...]:
        """Outputs of the quantized graph with the names that the float graph has for them; those of numbers alone."""
        pairs = zip(self.quantized.outputs, self.real.outputs, strict=True)
        return tuple((value, own.name) for value, own in pairs if own.type.dtype is DType.F32)

    def part_of(self, name: str, array: Array) -> Array:
        """Of a float value the channels that the quantized graph has."""
        return array[..., self.kept[name]] if name in self.kept else array

    def put(self, name: str, array: Array, part: Array) -> Array:
        """A float value with other elements in the channels that the quantized graph has."""
        if name not in self.kept:
            return part
        changed = array.copy()
        changed[..., self.kept[name]] = part
        return changed


def make_twins(quantized: Graph, real: Graph, factors: Mapping[str, Array]) -> Twins:
    """Pair the values of two graphs by name and shape.

    real: float, canonical. factors: what channels were divided by before quantization, negative where they were lost, of
    `toolchain.passes.evened.signed_factors`.
    Raises DataError E201 when the float graph is not that of the quantized one.
    """
    for kind, ours, theirs in (("inputs", quantized.inputs, real.inputs), ("outputs", quantized.outputs, real.outputs)):
        if [value.type.shape for value in ours] != [value.type.shape for value in theirs]:
            what = f"its {kind} are {_shown(theirs)}, the bundle's are {_shown(ours)}"
            raise DataError(201, real.name, what, "Give the float model that the bundle was compiled from")
    shared = _shared(quantized, real, {name: array > 0 for name, array in factors.items()})
    if any(value.name not in shared for value in quantized.inputs):
        what = f"its inputs are {_shown(real.inputs)}, the bundle's are {_shown(quantized.inputs)}"
        raise DataError(201, real.name, what, "Give the float model that the bundle was compiled from")
    lengths = {output.name: output.type.shape[-1:] for node in real.nodes for output in node.outputs}
    fitting = {name: np.abs(array) for name, array in factors.items() if lengths.get(name) == array.shape}
    scaled = with_factors(real, fitting)
    kept = {name: factors[name] > 0 for name in shared & fitting.keys() if (factors[name] < 0).any()}
    layers = _layers(quantized, scaled, shared)
    if all(layer.part is None for layer in layers):
        what = f"none of its {len(real.nodes)} layers has the name of one of the bundle's {len(quantized.nodes)}"
        raise DataError(201, real.name, what, "Give the float model that the bundle was compiled from")
    return Twins(quantized, scaled, tuple(layers), kept)


def _shown(values: Sequence[Value]) -> str:
    return ", ".join(f"{value.name} {value.type.shape}" for value in values)


def _shared(quantized: Graph, real: Graph, masks: Mapping[str, Array]) -> frozenset[str]:
    """The values that both graphs have: inputs, and float values that nodes make."""
    theirs = {value.name: value.type for value in real.inputs}
    theirs |= {out.name: out.type for node in real.nodes for out in node.outputs if out.type.dtype is DType.F32}
    ours = (*quantized.inputs, *(out for node in quantized.nodes for out in node.outputs))
    return frozenset(value.name for value in ours if _alike(value.type, theirs.get(value.name), masks.get(value.name)))


def _alike(ours: TensorType, theirs: TensorType | None, mask: Array | None) -> bool:
    """True for the same shape, but for channels that a mask of all channels leaves out."""
    if theirs is None or not theirs.elements or not ours.elements:
        return False
    lost = mask is not None and theirs.shape == (*ours.shape[:-1], len(mask))
    if ours.shape != theirs.shape and not lost:
        return False
    return ours.dtype is theirs.dtype if ours.quant is None else ours.quant.axis is None and theirs.dtype is DType.F32


def _layers(graph: Graph, real: Graph, shared: Container[str]) -> list[Layer]:
    found = [Layer(value, "input") for value in graph.inputs if value.type.quant is not None]
    ours, theirs = graph.producers(), real.producers()
    for op, output in ((node.op, output) for node in graph.nodes for output in node.outputs):
        if output.name in shared and output.type.quant is not None:
            part = _part(graph, output.name, shared, ours)
            same = _part(real, output.name, {value.name for value in part.inputs}, theirs)
            known = {value.name for value in same.inputs} <= {value.name for value in part.inputs}
            found.append(Layer(output, op, part, same if known else None))
    return found


def _part(graph: Graph, name: str, ends: Container[str], producers: Mapping[str, Node]) -> Graph:
    """The nodes that make a value, back to the nearest values of some names or to inputs of the graph."""
    inputs: dict[str, Value] = {}
    needed: set[str] = set()
    waiting = [producers[name]]
    while waiting:
        node = waiting.pop()
        needed.add(node.name)
        for operand in node.inputs:
            if operand.name in graph.constants:
                continue
            if operand.name in ends or operand.name not in producers:
                inputs[operand.name] = operand
            elif producers[operand.name].name not in needed:
                waiting.append(producers[operand.name])
    nodes = tuple(node for node in graph.nodes if node.name in needed)
    output = next(output for output in producers[name].outputs if output.name == name)
    names = {operand.name for node in nodes for operand in node.inputs}
    constants = {name: array for name, array in graph.constants.items() if name in names}
    return Graph(graph.name, tuple(inputs.values()), (output,), nodes, constants)


def stored(real: Array, kind: TensorType) -> Array:
    """Real numbers as a value of a type stores them."""
    return real.astype(kind.dtype.numpy) if kind.quant is None else quantize_array(real, kind.dtype, kind.quant)


def real_numbers(array: Array, kind: TensorType) -> Array:
    """The opposite of `stored`."""
    return array if kind.quant is None else dequantize_array(array, kind.quant)
