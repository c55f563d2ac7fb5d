"""Random choices of single-op cases: `Case`, what is drawn, and `Draw`, which draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import OPS, make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor

FLOAT32, INT8, INT16, PLAIN = "float32", "int8", "int16", "plain"
"""Kinds of cell. `plain` is unquantized integers or bools, for ops that have no float32 meaning."""

INTEGER_LIMITS = {INT8: (-128, 127), INT16: (-32768, 32767)}


@dataclass(frozen=True)
class Case:
    """A node, one array per operand, and which operands are constants of the graph."""

    node: Node
    inputs: tuple[Array, ...]
    constant: frozenset[int] = frozenset()

    @property
    def graph(self) -> Graph:
        """The node as a graph; operands that are not constants are its inputs."""
        inputs = tuple(v for i, v in enumerate(self.node.inputs) if i not in self.constant)
        return Graph("case", inputs, self.node.outputs, (self.node,), MappingProxyType(self.constants))

    @property
    def constants(self) -> dict[str, Array]:
        """Constant operands by name."""
        return {self.node.inputs[i].name: self.inputs[i] for i in sorted(self.constant)}

    @property
    def samples(self) -> tuple[Array, ...]:
        """Arrays of the graph's inputs."""
        return tuple(array for i, array in enumerate(self.inputs) if i not in self.constant)


class Draw:
    """Random choices of one case."""

    def __init__(self, cell: str, seed: int) -> None:
        self.cell = cell
        self.rng = np.random.default_rng(seed)

    @property
    def is_quantized(self) -> bool:
        return self.cell in INTEGER_LIMITS

    @property
    def dtype(self) -> DType:
        return {FLOAT32: DType.F32, INT8: DType.I8, INT16: DType.I16, PLAIN: DType.I32}[self.cell]

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, *options: Any) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def shape(self, low: int = 1, high: int = 4, most: int = 5) -> tuple[int, ...]:
        """A shape of low to high dimensions of 1 to `most` elements."""
        return tuple(self.integer(1, most) for _ in range(self.integer(low, high)))

    def image(self, most: int = 8, channels: int = 6) -> tuple[int, int, int, int]:
        return self.integer(1, 2), self.integer(1, most), self.integer(1, most), self.integer(1, channels)

    def scale(self, low: float = 1e-3, high: float = 0.3) -> float:
        return float(np.float32(math.exp(self.rng.uniform(math.log(low), math.log(high)))))

    def quant(self, scale: float | None = None) -> Quant | None:
        """Parameters for an activation, None in a float cell; int16 has zero point 0."""
        if not self.is_quantized:
            return None
        zero = 0 if self.cell == INT16 else self.pick(0, -128, 127, self.integer(-128, 127), self.integer(-128, 127))
        low, high = (1e-3, 0.3) if self.cell == INT8 else (1e-5, 1e-2)
        return per_tensor(self.scale(low, high) if scale is None else scale, zero)

    def type(self, shape: Sequence[int], quant: Quant | None = None) -> TensorType:
        """An activation's type in this cell; without `quant` a random one is drawn."""
        return TensorType(tuple(shape), self.dtype, quant if quant is not None else self.quant())

    def stored(self, type_: TensorType, spread: float = 3.0) -> Array:
        """Data for a type: the whole range of int8 and int16, floats around 0, bools, small plain integers."""
        if type_.dtype is DType.BOOL:
            return np.asarray(self.rng.integers(0, 2, type_.shape), np.bool_)
        if type_.dtype.is_float:
            return np.asarray(self.rng.standard_normal(type_.shape) * spread, type_.dtype.numpy)
        low, high = type_.dtype.limits if type_.quant is not None else (-20, 20)
        return np.asarray(self.rng.integers(low, high + 1, type_.shape), type_.dtype.numpy)

    def activation(self) -> at.Activation:
        return self.pick(at.Activation.NONE, at.Activation.NONE, at.Activation.RELU, at.Activation.RELU6, at.Activation.RELU_N1_1)

    def padding(
        self, sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int] = (1, 1)
    ) -> at.Padding:
        """VALID where the window fits, else SAME, at times something that TFLite cannot say."""
        span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        if self.chance(0.5) and all(s <= n for s, n in zip(span, sizes, strict=True)):
            return (0, 0, 0, 0)
        pads: list[int] = []
        for size, step, reach in zip(sizes, stride, span, strict=True):
            total = max((-(-size // step) - 1) * step + reach - size, 0)
            pads += [total // 2, total - total // 2]
        if self.chance(0.1):
            pads = [min(p + self.integer(0, 1), s - 1) for p, s in zip(pads, (span[0], span[0], span[1], span[1]), strict=True)]
        return pads[0], pads[1], pads[2], pads[3]


def value(name: str, type_: TensorType) -> Value:
    """A named value."""
    return Value(name, type_)


def case(
    op: str,
    types: Sequence[TensorType],
    arrays: Sequence[Array],
    attrs: at.Attrs,
    quant: Quant | None = None,
    constant: Sequence[int] = (),
) -> Case:
    """A case with operands named by position and outputs typed by the op's rule."""
    operands = [Value(f"x{i}", type_) for i, type_ in enumerate(types)]
    count = len(OPS[op].infer(attrs, types))
    return Case(make_node(op, operands, [f"y{i}" for i in range(count)], attrs, quant), tuple(arrays), frozenset(constant))
