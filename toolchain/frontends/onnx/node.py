"""One node of the ONNX file with its operands resolved, and typed access to its attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import AttributeProto

from toolchain.errors import ModelError
from toolchain.ir.graph import Value

if TYPE_CHECKING:
    from toolchain.frontends.onnx.builder import Builder

Scope = dict[str, Value | None]
Importer = Callable[["Builder", "OnnxNode"], Sequence[Value | None] | Value]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a graph is imported in: tensors by name, opset by domain, importer by domain and operator, nesting."""

    scope: Scope
    opsets: Mapping[str, int]
    table: Mapping[tuple[str, str], Importer]
    depth: int = 0


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node as importers see it. inputs: None where an optional operand is left out. opset: of the node's domain."""

    op: str
    place: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, onnx.AttributeProto]
    opset: int
    within: Surroundings

    def optional(self, index: int) -> Value | None:
        """Operand `index`, or None when the node has not got it."""
        return self.inputs[index] if index < len(self.inputs) else None

    def operand(self, index: int) -> Value:
        """Operand `index`. Raises ModelError(108) when the node has not got it."""
        value = self.optional(index)
        if value is None:
            raise ModelError(108, self.place, f"{self.op} lacks input {index}", "Export the model again")
        return value

    def operands(self) -> tuple[Value, ...]:
        """All operands of an op that takes any number. Raises ModelError(108) when one is missing."""
        return tuple(self.operand(index) for index in range(max(1, len(self.inputs))))

    def wants(self, index: int) -> bool:
        """True when output `index` is used."""
        return index < len(self.outputs) and self.outputs[index] != ""

    def has(self, name: str) -> bool:
        """True when the attribute is given."""
        return name in self.attributes

    def integer(self, name: str, default: int) -> int:
        """An integer attribute. Raises ModelError(103) when it is of another type."""
        found = self._get(name, AttributeProto.INT)
        return default if found is None else int(found.i)

    def real(self, name: str, default: float) -> float:
        """A float attribute. Raises ModelError(103) when it is of another type."""
        found = self._get(name, AttributeProto.FLOAT)
        return default if found is None else float(found.f)

    def text(self, name: str, default: str) -> str:
        """A string attribute. Raises ModelError(103) when it is of another type."""
        found = self._get(name, AttributeProto.STRING)
        return default if found is None else found.s.decode("utf-8", "replace")

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, or None when it is not given. Raises ModelError(103) when it is of another type."""
        found = self._get(name, AttributeProto.INTS)
        return None if found is None else tuple(int(value) for value in found.ints)

    def reals(self, name: str) -> tuple[float, ...] | None:
        """A list of floats, or None when it is not given. Raises ModelError(103) when it is of another type."""
        found = self._get(name, AttributeProto.FLOATS)
        return None if found is None else tuple(float(value) for value in found.floats)

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings, or None when it is not given. Raises ModelError(103) when it is of another type."""
        found = self._get(name, AttributeProto.STRINGS)
        return None if found is None else tuple(value.decode("utf-8", "replace") for value in found.strings)

    def tensor(self, name: str) -> onnx.TensorProto | None:
        """A tensor attribute, or None when it is not given. Raises ModelError(103) when it is of another type."""
        found = self._get(name, AttributeProto.TENSOR)
        return None if found is None else found.t

    def graph(self, name: str) -> onnx.GraphProto:
        """A graph attribute. Raises ModelError(103) when it is missing or of another type."""
        found = self._get(name, AttributeProto.GRAPH)
        if found is None:
            raise ModelError(103, self.place, f"{self.op} lacks the graph {name!r}", "Export the model again")
        return found.g

    def axis(self, rank: int, default: int, name: str = "axis") -> int:
        """An axis attribute counted from the front. Raises ModelError(108) when it lies outside the rank."""
        return normal_axis(self.integer(name, default), rank, self.place)

    def unsupported(self, what: str, hint: str = "Export the model without it") -> ModelError:
        """E104 for this node."""
        return ModelError(104, self.place, f"{self.op}: {what}", hint)

    def malformed(self, what: str) -> ModelError:
        """E108 for this node."""
        return ModelError(108, self.place, f"{self.op}: {what}", "Check the shapes and attributes in the model")

    def _get(self, name: str, kind: int) -> onnx.AttributeProto | None:
        found = self.attributes.get(name)
        if found is not None and found.type != kind:
            what = f"attribute {name!r} is {AttributeProto.AttributeType.Name(found.type)}"
            wanted = AttributeProto.AttributeType.Name(kind)
            raise ModelError(103, self.place, f"{what}, {self.op} needs {wanted}", "Export the model again")
        return found


def normal_axis(axis: int, rank: int, place: str) -> int:
    """An axis counted from the front. Raises ModelError(108) when it lies outside the rank."""
    if not -rank <= axis < rank:
        raise ModelError(108, place, f"axis {axis} does not exist in {rank} dimensions", "Check the axes in the model")
    return axis % rank


def normal_axes(axes: tuple[int, ...], rank: int, place: str) -> tuple[int, ...]:
    """Ascending axes counted from the front. Raises ModelError(108) when one lies outside the rank or comes twice."""
    found = sorted(normal_axis(axis, rank, place) for axis in axes)
    if len(set(found)) != len(found):
        raise ModelError(108, place, f"axes {axes} name a dimension twice", "Check the axes in the model")
    return tuple(found)
