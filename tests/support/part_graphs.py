"""Test support: random int8 graphs that join, cut and pad tensors between layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir.attrs import ActivationAttrs, Attrs, AxisAttrs, ConvAttrs, PadAttrs, ReshapeAttrs, SliceAttrs, SplitAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, i8, per_tensor

QUANT = per_tensor(0.5, 3)


class Parts:
    """A graph while it is made: every tensor is int8, and all have one quantization."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.input = Value("x", i8(shape, 0.5, 3))
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}

    def add(self, op: str, inputs: Sequence[Value], attrs: Attrs, results: int = 1) -> tuple[Value, ...]:
        """A node; its results."""
        names = [f"t{len(self.nodes)}" if results == 1 else f"t{len(self.nodes)}_{i}" for i in range(results)]
        node = make_node(op, inputs, names, attrs, QUANT)
        self.nodes.append(node)
        return node.outputs

    def constant(self, shape: tuple[int, ...], first: int = 0) -> Value:
        """Counting bytes."""
        name = f"c{len(self.constants)}"
        self.constants[name] = (np.arange(np.prod(shape)) + first).astype(np.int8).reshape(shape)
        return Value(name, i8(shape, 0.5, 3))

    def layer(self, value: Value, number: int = 0) -> Value:
        """A layer: the value and a constant, added."""
        (found,) = self.add("add", (value, self.constant(value.type.shape, 7 * number)), ActivationAttrs())
        return found

    def concat(self, *values: Value, axis: int = 0) -> Value:
        """Tensors joined."""
        return self.add("concat", values, AxisAttrs(axis))[0]

    def split(self, value: Value, *sizes: int, axis: int = 0) -> tuple[Value, ...]:
        """A tensor cut into parts."""
        return self.add("split", (value,), SplitAttrs(axis, sizes), len(sizes))

    def slice(self, value: Value, first: int, end: int, axis: int = 0) -> Value:
        """A part of a tensor along one axis."""
        begin, ends = [0] * value.type.rank, list(value.type.shape)
        begin[axis], ends[axis] = first, end
        return self.add("slice", (value,), SliceAttrs(tuple(begin), tuple(ends), (1,) * value.type.rank))[0]

    def pad(self, value: Value, before: int, after: int, axis: int = 0, fill: float = 0.0) -> Value:
        """A tensor with constants around it along one axis."""
        sides = [tuple(n if at == axis else 0 for at in range(value.type.rank)) for n in (before, after)]
        return self.add("pad", (value,), PadAttrs(sides[0], sides[1], value=fill))[0]

    def reshape(self, value: Value, *shape: int) -> Value:
        """The same elements in another shape."""
        return self.add("reshape", (value,), ReshapeAttrs(shape))[0]

    def window(self, value: Value, size: int, *, depthwise: bool = False) -> Value:
        """A convolution over an image that keeps its shape."""
        depth, reach = value.type.shape[3], size // 2
        shape = (1, size, size, depth) if depthwise else (depth, size, size, depth)
        weights = Value(f"w{len(self.constants)}", i8(shape, 0.03))
        self.constants[weights.name] = np.random.default_rng(len(self.nodes)).integers(-127, 128, shape).astype(np.int8)
        op = "depthwise_conv_2d" if depthwise else "conv_2d"
        return self.add(op, (value, weights), ConvAttrs(padding=(reach,) * 4))[0]

    def dense(self, value: Value, width: int) -> Value:
        """A fully connected layer over the last dimension."""
        shape = (width, value.type.shape[-1])
        weights = Value(f"w{len(self.constants)}", i8(shape, 0.03))
        self.constants[weights.name] = np.random.default_rng(len(self.nodes)).integers(-127, 128, shape).astype(np.int8)
        return self.add("fully_connected", (value, weights), ActivationAttrs())[0]

    def graph(self, *outputs: Value) -> Graph:
        """The graph that returns some values."""
        return Graph("parts", (self.input,), outputs, tuple(self.nodes), self.constants)


def random_parts(seed: int) -> Graph:
    """A graph of one output: layers, concats, splits, slices, pads and reshapes of images, along their height."""
    rng = np.random.default_rng(seed)
    width, depth = int(rng.integers(1, 5)), int(rng.choice([1, 2, 3, 4]))
    made = Parts((1, int(rng.integers(3, 12)), width, depth))
    values = [made.input]
    for number in range(int(rng.integers(6, 16))):
        value = values[int(rng.integers(len(values)))] if rng.random() < 0.5 else values[-1]
        rows = value.type.shape[1]
        kind = rng.random()
        if kind < 0.15:
            values.append(made.layer(value, number))
        elif kind < 0.3:
            values.append(made.window(value, int(rng.choice([1, 3])), depthwise=rng.random() < 0.5))
        elif kind < 0.5 and rows < 40:
            count = int(rng.integers(2, 4))
            others = [values[int(i)] for i in rng.integers(len(values), size=count)]
            others += [made.constant((1, int(rng.integers(1, 4)), width, depth))] if rng.random() < 0.3 else []
            values.append(made.concat(*(others[int(i)] for i in rng.permutation(len(others))), axis=1))
        elif kind < 0.65 and rows > 1:
            cut = int(rng.integers(1, rows))
            values += made.split(value, cut, rows - cut, axis=1)
        elif kind < 0.8 and rows > 1:
            first = int(rng.integers(0, rows))
            values.append(made.slice(value, first, int(rng.integers(first + 1, rows + 1)), axis=1))
        elif kind < 0.9:
            before, after = (int(n) for n in rng.integers(0, 4, 2))
            values.append(made.pad(value, before, after, axis=1, fill=float(rng.integers(-3, 4))))
        else:
            flat = made.layer(made.reshape(value, rows * width * depth), number)
            values.append(made.reshape(flat, 1, rows, width, depth))
    ends = [value for value in values[1:] if not any(value in node.inputs for node in made.nodes)]
    return made.graph(made.concat(*ends, axis=1) if len(ends) > 1 else ends[0])


def layers_on_parts() -> Graph:
    """Layers of every family that write parts of an image and read parts of it, at words that are no multiples of 8 or 16."""
    made = Parts((1, 6, 3, 4))
    padded = made.pad(made.window(made.input, 3), 1, 2, axis=1, fill=2.0)
    whole = made.concat(made.layer(made.input), made.window(padded, 3, depthwise=True), made.window(padded, 1), axis=1)
    first, second, third = made.split(whole, 5, 7, 12, axis=1)
    pieces = [made.window(first, 3), made.window(second, 1), made.window(third, 3, depthwise=True), made.layer(first, 3)]
    flat = made.reshape(made.slice(made.concat(*pieces, axis=1), 1, 28, axis=1), 1, 324)
    return made.graph(made.concat(made.dense(flat, 12), made.dense(made.slice(flat, 4, 320, axis=1), 5), axis=1))
