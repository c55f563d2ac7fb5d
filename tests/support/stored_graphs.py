"""Test support: random float layers whose weights are stored as float16, int8 or int4, and their numbers written out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tests.support.kernel_cases import pick
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, f32
from toolchain.ir.verifier import verify

DTYPES = (DType.F16, DType.I8, DType.I4)
OPS = ("conv_2d", "fully_connected", "depthwise_conv_2d", "transpose_conv_2d")
AXIS = {"conv_2d": 0, "fully_connected": 0, "depthwise_conv_2d": 3, "transpose_conv_2d": 0}
BLOCKS = (None, 1, 2, 3, 5, 8, 32)


class Layers:
    """Builds a graph of layers that each have an input and an output of their own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}

    def size(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def add(self, op: str, dtype: DType, block: int | None) -> None:
        """One more layer with random sizes, stride, dilation, padding and groups."""
        index, rng = len(self.inputs), self.rng
        k = (self.size(1, 3), self.size(1, 3))
        groups = self.size(1, 3) if op == "conv_2d" else 1
        depth, per_group = self.size(1, 7), self.size(1, 9)
        if op == "fully_connected":
            shape, x = (per_group, depth), f32(self.size(1, 3), depth)
            attrs: at.Attrs = at.ActivationAttrs(pick(rng, tuple(at.Activation)))
        else:
            x = f32(self.size(1, 2), self.size(3, 6), self.size(3, 6), groups * depth)
            shape = (groups * per_group, *k, depth)
            attrs = self.window_attrs(op, x, k)
        if op == "depthwise_conv_2d":
            shape = (1, *k, depth * self.size(1, 3))
        source = Value(f"x{index}", x)
        self.inputs.append(source)
        operands = [source, self.stored(f"w{index}", shape, AXIS[op], dtype, block)]
        if rng.random() < 0.7:
            bias = rng.standard_normal(shape[AXIS[op]]).astype(np.float32)
            self.constants[f"b{index}"] = bias
            operands.append(Value(f"b{index}", f32(*bias.shape)))
        self.nodes.append(make_node(op, operands, (f"y{index}",), attrs))

    def window_attrs(self, op: str, x: TensorType, k: tuple[int, int]) -> at.Attrs:
        """Stride, padding, dilation and activation of a convolution that has an output."""
        stride = (self.size(1, 2), self.size(1, 2))
        activation = pick(self.rng, tuple(at.Activation))
        if op == "transpose_conv_2d":
            # All, or as much as TFLite's SAME leaves: it has words for these.
            same = self.size(0, 1) and all(size >= step for size, step in zip(k, stride, strict=True))
            rows, columns = (k[0] - stride[0], k[1] - stride[1]) if same else (0, 0)
            full = [(x.shape[1 + i] - 1) * stride[i] + k[i] for i in (0, 1)]
            cut = (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
            return at.TransposeConvAttrs(stride, cut, (full[0] - rows, full[1] - columns), activation)
        dilation = (self.size(1, 2) if x.shape[1] >= 5 else 1, self.size(1, 2) if x.shape[2] >= 5 else 1)
        pads = (self.size(0, 2), self.size(0, 2), self.size(0, 2), self.size(0, 2))
        return at.ConvAttrs(stride, pads, dilation, activation)

    def stored(self, name: str, shape: tuple[int, ...], axis: int, dtype: DType, block: int | None) -> Value:
        """The real form of new stored weights."""
        if dtype is DType.F16:
            self.constants[name] = halves(self.rng, shape)
            source = Value(name, TensorType(shape, dtype))
            node = make_node("cast", (source,), (f"{name}_real",), at.CastAttrs(DType.F32))
        else:
            low, high = dtype.limits
            self.constants[name] = self.rng.integers(low, high, shape, endpoint=True).astype(np.int8)
            quant = Quant((), (), axis, block)
            count = shape[axis] * quant.parts(shape)
            scales = np.exp(self.rng.uniform(-4, 0, count)).astype(np.float32)
            source = Value(name, TensorType(shape, dtype, replace(quant, scale=tuple(scales.tolist()), zero_point=(0,) * count)))
            node = make_node("dequantize", (source,), (f"{name}_real",))
        self.nodes.append(node)
        return node.output

    def graph(self) -> Graph:
        """The graph so far."""
        outputs = tuple(node.output for node in self.nodes if node.op in OPS)
        return verify(Graph("stored", tuple(self.inputs), outputs, tuple(self.nodes), self.constants))


def halves(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Float16 of all sizes: some subnormal, some zero, none infinite."""
    sizes = np.exp2(rng.integers(-26, 3, shape)) * (rng.random(shape) < 0.9)
    return (rng.standard_normal(shape) * sizes).astype(np.float16)


def stored_layers(
    seed: int,
    dtypes: Sequence[DType] = DTYPES,
    ops: Sequence[str] = OPS,
    each: int = 3,
    blocks: Sequence[int | None] = BLOCKS,
) -> Graph:
    """A graph with so many layers of every op and storage."""
    made = Layers(seed)
    for op in ops:
        for dtype in dtypes:
            for _ in range(each):
                block = None if dtype is DType.F16 else pick(made.rng, blocks)
                made.add(op, dtype, block)
    return made.graph()


def written_out(graph: Graph) -> Graph:
    """The same graph on float32 weights, element by element by the definition of scales, axes and blocks."""
    constants = dict(graph.constants)
    kept: list[Node] = []
    for node in graph.nodes:
        if node.op in OPS:
            kept.append(node)
            continue
        stored, type_ = graph.constants[node.inputs[0].name], node.inputs[0].type
        real = np.empty(type_.shape, np.float32)
        for index in np.ndindex(type_.shape):
            real[index] = np.float32(stored[index]) * _scale(type_, index)
        constants[node.name] = real
    return verify(graph.rewrite(kept, constants))


def _scale(type_: TensorType, index: tuple[int, ...]) -> np.float32:
    if type_.quant is None or type_.quant.axis is None:
        return np.float32(1.0 if type_.quant is None else type_.quant.scale[0])
    axis, block = type_.quant.axis, type_.quant.block
    others = [size for at_, size in enumerate(type_.shape) if at_ != axis]
    place = 0
    for size, at_ in zip(others, [i for a, i in enumerate(index) if a != axis], strict=True):
        place = place * size + at_
    per_channel = len(type_.quant.scale) // type_.shape[axis]
    return np.float32(type_.quant.scale[index[axis] * per_channel + (place // block if block else 0)])


def samples_of(graph: Graph, seed: int) -> list[Array]:
    """One normal sample of every input."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(value.type.shape).astype(np.float32) for value in graph.inputs]
