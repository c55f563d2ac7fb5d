"""Collects the table ops that the importers emit; nodes whose operands are all constants are computed at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from toolchain.errors import ModelError
from toolchain.frontends.onnx.node import OnnxNode
from toolchain.ir.attrs import Attrs, CastAttrs, PermAttrs, ReshapeAttrs
from toolchain.ir.graph import Graph, NameSource, Node, Value
from toolchain.ir.op import ShapeError
from toolchain.ir.optable import OPS, macs, make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, dtype_of
from toolchain.ir.verifier import MAX_TENSOR_BYTES
from toolchain.reference.evaluator import run_node

MAX_NODES = 100_000
MAX_FOLD_BYTES = 2**28
MAX_FOLD_MACS = 10**9
MAX_RANK = 16
MAX_IMPORTED = 300_000

Move = Callable[[Array], Array]
AxisOf = Callable[[int], int]


class Builder:
    """A graph in the making. Importers call `emit` and the shorthands below; all of them return new values."""

    def __init__(self, base_dir: Path, taken: Iterable[str]) -> None:
        self.base_dir = base_dir
        self.constants: dict[str, Array] = {}
        self.nodes: list[Node] = []
        self.place = ""
        self.raw: frozenset[str] = frozenset()
        self._names = NameSource(taken)
        self._small: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._weights: dict[str, Value] = {}
        self._renames: dict[str, str] = {}
        self._computed: set[str] = set()
        self._folded_bytes = 0
        self._folded_macs = 0
        self._imported = 0

    def enter(self, place: str) -> None:
        """Note that a node of the file is imported, in a subgraph each time it runs. Raises ModelError(104) for too many."""
        self.place = place
        self._imported += 1
        if self._imported > MAX_IMPORTED:
            what = f"the model unrolls to more than {MAX_IMPORTED:,} nodes"
            raise ModelError(104, place, what, "Use a smaller model or fewer steps")

    def constant(self, array: npt.ArrayLike, base: str = "constant", quant: Quant | None = None) -> Value:
        """A new constant; equal small ones are shared. Raises ModelError(104) for element types the IR lacks."""
        data = np.asarray(array)
        dtype = dtype_of(data)
        if dtype is None:
            raise ModelError(104, self.place, f"element type {data.dtype} is not supported", "Export with float32 or integers")
        key = (dtype.value, data.shape, data.tobytes()) if data.nbytes <= 64 and quant is None else None
        if key is not None and key in self._small:
            return self._small[key]
        value = Value(self._names.fresh(base), TensorType(data.shape, dtype, quant))
        self.constants[value.name] = np.ascontiguousarray(data).reshape(data.shape)
        if key is not None:
            self._small[key] = value
        return value

    def named_constant(self, name: str, array: Array) -> Value:
        """A constant under the name the model gives it."""
        dtype = dtype_of(array)
        if dtype is None:
            raise ModelError(104, name, f"element type {array.dtype} is not supported", "Export with float32 or integers")
        self.constants[name] = array
        return Value(name, TensorType(array.shape, dtype))

    def like(self, number: float, value: Value) -> Value:
        """A scalar constant of the element type of `value`."""
        return self.constant(np.array(number).astype(value.type.dtype.numpy), "scalar")

    def ints(self, numbers: Sequence[int]) -> Value:
        """An int64 vector constant."""
        return self.constant(np.array(numbers, np.int64).reshape(len(numbers)), "indices")

    def data(self, value: Value | None) -> Array | None:
        """The data of a constant, None for computed values."""
        return None if value is None else self.constants.get(value.name)

    def need(self, node: OnnxNode, index: int, what: str) -> Array:
        """The data of operand `index`, which shapes depend on. Raises ModelError(105) when it is computed at run time."""
        value = node.operand(index)
        data = self.data(value)
        if data is None:
            message = f"{node.op}: {what} is {self._renames.get(value.name, value.name)!r}, which is only known at run time"
            raise ModelError(105, node.place, message, "Make it a constant of the model")
        return data

    def emit(
        self, op: str, inputs: Sequence[Value], attrs: Attrs | None = None, quant: Quant | None = None, base: str = ""
    ) -> Value:
        """One node with one output; see emit_all."""
        return self.emit_all(op, inputs, attrs, quant, 1, base)[0]

    def emit_all(
        self,
        op: str,
        inputs: Sequence[Value],
        attrs: Attrs | None = None,
        quant: Quant | None = None,
        outputs: int = 1,
        base: str = "",
    ) -> tuple[Value, ...]:
        """Append a node, or fold it when every operand is constant.

        Raises ModelError: 104 when the op table has no such op or the graph grows beyond MAX_NODES, 107 for a result
        of 2 GiB, 108 when the operands do not fit.
        """
        if op not in OPS:
            raise ModelError(104, self.place, f"operation {op} is not in the op table", "Replace the layer in the model")
        names = [self._names.fresh(f"{base or self.place}") for _ in range(outputs)]
        try:
            node = make_node(op, inputs, names, attrs, quant)
        except ShapeError as fault:
            raise ModelError(108, self.place, f"{op}: {fault}", "Check the shapes in the model") from fault
        for output in node.outputs:
            if output.type.rank > MAX_RANK:
                what = f"{op} makes {output.type.rank} dimensions, {MAX_RANK} are supported"
                raise ModelError(104, self.place, what, "Reshape to fewer dimensions")
            if output.type.bytes > MAX_TENSOR_BYTES:
                what = f"{op} makes shape {output.type.shape}, {output.type.bytes:,} B"
                raise ModelError(107, self.place, what, f"Keep every tensor below {MAX_TENSOR_BYTES:,} B")
        if self._folds(node):
            return self._fold(node)
        if len(self.nodes) >= MAX_NODES:
            raise ModelError(104, self.place, f"the graph has more than {MAX_NODES:,} operations", "Use a smaller model")
        self.nodes.append(node)
        self._computed.update(names)
        return node.outputs

    def _folds(self, node: Node) -> bool:
        if any(value.name not in self.constants for value in node.inputs) or node.op == "dequantize":
            return False
        if any(value.type.quant is not None for value in (*node.inputs, *node.outputs)):
            return False
        small = sum(output.type.bytes for output in node.outputs) <= MAX_FOLD_BYTES
        return small and macs(node) + self._folded_macs <= MAX_FOLD_MACS

    def _fold(self, node: Node) -> tuple[Value, ...]:
        self._folded_macs += macs(node)
        results = run_node(node, [self.constants[value.name] for value in node.inputs])
        for output, result in zip(node.outputs, results, strict=True):
            self.constants[output.name] = result.astype(output.type.dtype.numpy, copy=False).reshape(output.type.shape)
            self._folded_bytes += output.type.bytes
        if self._folded_bytes > MAX_TENSOR_BYTES:
            what = f"constants computed at import take {self._folded_bytes:,} B"
            raise ModelError(107, self.place, what, f"Keep them below {MAX_TENSOR_BYTES:,} B")
        return node.outputs

    def transpose(self, value: Value, perm: Sequence[int]) -> Value:
        """Dimensions in another order; the identity emits nothing, constants with quantization are moved in place."""
        order = tuple(perm)
        if order == tuple(range(value.type.rank)):
            return value
        weights = self._weights.get(value.name)
        if weights is not None:
            return self._move_weights(weights, lambda data: data.transpose(order), order.index)
        return self.emit("transpose", (value,), PermAttrs(order))

    def expand(self, value: Value, shape: Sequence[int]) -> Value:
        """Broadcast to a shape; the identity emits nothing."""
        target = tuple(int(size) for size in shape)
        return value if target == value.type.shape else self.emit("broadcast_to", (value,), ReshapeAttrs(target))

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """The same elements in another shape; the identity emits nothing."""
        target = tuple(int(size) for size in shape)
        if target == value.type.shape:
            return value
        weights = self._weights.get(value.name)
        axis = weights.type.quant.axis if weights is not None and weights.type.quant is not None else None
        moved = None if axis is None else _same_axis(value.type.shape, target, axis)
        if weights is not None and (axis is None or moved is not None):
            return self._move_weights(weights, lambda data: data.reshape(target), lambda _: moved if moved is not None else 0)
        return self.emit("reshape", (value,), ReshapeAttrs(target))

    def dequantize(self, value: Value) -> Value:
        """The real values of a quantized tensor; constants are remembered so that moving them moves the stored data."""
        result = self.emit("dequantize", (value,))
        if value.name in self.constants:
            self._weights[result.name] = value
        return result

    def quantized_constant(self, data: Array, dtype: DType, quant: Quant, base: str) -> Value:
        """A constant that carries quantization."""
        value = Value(self._names.fresh(base), TensorType(data.shape, dtype, quant))
        self.constants[value.name] = np.ascontiguousarray(data).reshape(data.shape)
        return value

    def is_weight(self, value: Value) -> bool:
        """True for constants and dequantized constants."""
        return value.name in self.constants or value.name in self._weights

    def cast(self, value: Value, dtype: DType) -> Value:
        """Another element type; the identity emits nothing."""
        return value if value.type.dtype is dtype else self.emit("cast", (value,), CastAttrs(dtype))

    def add(self, x: Value, y: Value) -> Value:
        """x + y."""
        return self.emit("add", (x, y))

    def sub(self, x: Value, y: Value) -> Value:
        """x − y."""
        return self.emit("sub", (x, y))

    def mul(self, x: Value, y: Value) -> Value:
        """x * y."""
        return self.emit("mul", (x, y))

    def div(self, x: Value, y: Value) -> Value:
        """x / y; integers are cut towards zero."""
        return self.emit("div", (x, y))

    def unary(self, op: str, x: Value) -> Value:
        """A table op of one operand without attributes."""
        return self.emit(op, (x,))

    def rename(self, value: Value, name: str) -> None:
        """Give a computed value the model's own name at the end, unless it has one already."""
        if value.name in self._computed:
            self._renames.setdefault(value.name, name)

    def as_output(self, value: Value, name: str, taken: set[str]) -> Value:
        """The value under the name of a graph output: renamed where it is free to be, else copied."""
        if value.name in self._computed and self._renames.get(value.name) not in taken:
            self._renames[value.name] = name
            return value
        if value.name in self.constants:
            self.constants[name] = self.constants[value.name]
            return Value(name, value.type)
        node = make_node("copy", (value,), (self._names.fresh(name),))
        self.nodes.append(node)
        self._renames[node.name] = name
        return node.output

    def finish(self, name: str, inputs: Sequence[Value], outputs: Sequence[Value]) -> Graph:
        """The graph, without dead nodes and constants, with the model's names."""
        live = {value.name for value in outputs}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if any(output.name in live for output in node.outputs):
                kept.append(node)
                live.update(value.name for value in node.inputs)
        graph = Graph(name, tuple(inputs), tuple(outputs), tuple(reversed(kept)), MappingProxyType(dict(self.constants)))
        named = graph.map_values(lambda value: Value(self._renames.get(value.name, value.name), value.type))
        return named.rewrite(named.nodes)

    def _move_weights(self, weights: Value, move: Move, axis_of: AxisOf) -> Value:
        quant = weights.type.quant
        if quant is None:
            raise AssertionError(f"{weights.name} is kept as quantized weights without quantization")
        moved = quant if quant.axis is None else replace(quant, axis=axis_of(quant.axis))
        data = np.ascontiguousarray(move(self.constants[weights.name]))
        return self.dequantize(self.quantized_constant(data, weights.type.dtype, moved, weights.name))


def _same_axis(old: tuple[int, ...], new: tuple[int, ...], axis: int) -> int | None:
    """Where dimension `axis` of `old` is found whole in `new`, or None when the reshape splits or merges it."""
    before = int(np.prod(old[:axis], dtype=np.int64))
    for index, size in enumerate(new):
        if int(np.prod(new[:index], dtype=np.int64)) == before and size == old[axis]:
            return index
    return None
