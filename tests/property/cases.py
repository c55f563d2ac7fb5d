"""Random valid single-op graphs, per operation and kind of cell; every backend's property tests draw from here.

`random_case(op, cell, seed)` gives a `Case`: a node and an array for each operand. The table op x cell is `CELLS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from toolchain.ir import attrs as at
from toolchain.ir.functions import UNARY
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.op import ShapeError
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


Maker = Callable[[Draw, str], Case]


def _weights(
    d: Draw, shape: tuple[int, ...], axis: int, channels: int, x: TensorType, has_bias: bool
) -> tuple[list[TensorType], list[Array]]:
    """Types and data of weights and bias."""
    types: list[TensorType] = []
    arrays: list[Array] = []
    if not d.is_quantized:
        types.append(TensorType(shape, d.dtype))
        arrays.append(d.stored(types[0], 1.0))
        bias = TensorType((channels,), d.dtype)
    else:
        per_channel = d.chance(0.7)
        scales = tuple(d.scale(1e-4, 0.05) for _ in range(channels if per_channel else 1))
        zeros = (0,) * len(scales)
        types.append(TensorType(shape, DType.I8, Quant(scales, zeros, axis if per_channel else None)))
        arrays.append(d.rng.integers(-127, 128, shape).astype(np.int8))
        assert x.quant is not None
        products = tuple(float(np.float32(np.float32(x.quant.scalar_scale) * np.float32(s))) for s in scales)
        bias = TensorType(
            (channels,), DType.I32 if d.cell == INT8 else DType.I64, Quant(products, zeros, 0 if per_channel else None)
        )
    if has_bias:
        types.append(bias)
        arrays.append(d.rng.integers(-3000, 3000, channels).astype(bias.dtype.numpy) if d.is_quantized else d.stored(bias, 1.0))
    return types, arrays


def _product_quant(d: Draw, x: TensorType, weights: TensorType, depth: int) -> Quant | None:
    """An output quantization that the sums of `depth` products spread over, give or take a factor of eight."""
    if not d.is_quantized or x.quant is None or weights.quant is None:
        return None
    mean = float(np.exp(np.mean(np.log(weights.quant.scale))))
    span = 40.0 if d.cell == INT8 else 100.0
    scale = x.quant.scalar_scale * mean * span * math.sqrt(depth) * math.exp2(d.rng.uniform(-3, 3))
    return d.quant(scale)


def _conv(d: Draw, op: str) -> Case:
    n, h, w, _ = d.image()
    groups = d.pick(1, 1, 1, 2, 3) if op == "conv_2d" else 1
    depth, out = d.integer(1, 5), d.integer(1, 4) * groups
    kernel = (d.integer(1, 4), d.integer(1, 4))
    stride = (d.integer(1, 3), d.integer(1, 3)) if d.chance(0.3) else (d.integer(1, 2),) * 2
    dilation = (d.integer(1, 3), d.integer(1, 3)) if d.chance(0.3) and stride == (1, 1) else (1, 1)
    depthwise = op == "depthwise_conv_2d"
    multiplier = d.pick(1, 1, 1, 2, 3)
    channels = depth * multiplier if depthwise else out
    x = d.type((n, h, w, depth if depthwise else depth * groups))
    shape = (1, *kernel, channels) if depthwise else (out, *kernel, depth)
    types, arrays = _weights(d, shape, 3 if depthwise else 0, channels, x, d.chance(0.8))
    padding = d.padding((h, w), kernel, stride, dilation)
    attrs = at.ConvAttrs(stride, padding, dilation, d.activation())
    quant = _product_quant(d, x, types[0], kernel[0] * kernel[1] * (1 if depthwise else depth))
    return case(op, [x, *types], [d.stored(x), *arrays], attrs, quant, range(1, 1 + len(types)))


def _transpose_conv(d: Draw, op: str) -> Case:
    n, h, w, depth = d.image(5, 4)
    out, kernel, stride = d.integer(1, 4), (d.integer(1, 4), d.integer(1, 4)), (d.integer(1, 3), d.integer(1, 3))
    full = tuple((size - 1) * s + k for size, s, k in zip((h, w), stride, kernel, strict=True))
    pads: list[int] = []
    for size, step, k, whole in zip((h, w), stride, kernel, full, strict=True):
        # SAME: the output is size * step, and convolving it with SAME padding gives the input's size back.
        total = max((size - 1) * step + k - size * step, 0)
        before = total // 2
        pads += [before, whole - size * step - before]
    if d.chance(0.5):
        pads = [0, 0, 0, 0]
    padding = (pads[0], pads[1], pads[2], pads[3])
    size = (full[0] - pads[0] - pads[1], full[1] - pads[2] - pads[3])
    x = d.type((n, h, w, depth))
    types, arrays = _weights(d, (out, *kernel, depth), 0, out, x, d.chance(0.6))
    attrs = at.TransposeConvAttrs(stride, padding, size, d.activation() if d.chance(0.3) else at.Activation.NONE)
    quant = _product_quant(d, x, types[0], depth * 2)
    return case(op, [x, *types], [d.stored(x), *arrays], attrs, quant, range(1, 1 + len(types)))


def _fully_connected(d: Draw, op: str) -> Case:
    rows, depth, out = d.integer(1, 3), d.integer(1, 20), d.integer(1, 8)
    shape = (rows, depth) if d.chance(0.7) else (d.integer(1, 2), rows, depth)
    x = d.type(shape)
    types, arrays = _weights(d, (out, depth), 0, out, x, d.chance(0.8))
    quant = _product_quant(d, x, types[0], depth)
    return case(op, [x, *types], [d.stored(x), *arrays], at.ActivationAttrs(d.activation()), quant, range(1, 1 + len(types)))


def _batch_matmul(d: Draw, op: str) -> Case:
    rows, depth, columns = d.integer(1, 6), d.integer(1, 8), d.integer(1, 6)
    batch = d.shape(0, 2, 3)
    batch_b = tuple(size if d.chance(0.7) else 1 for size in batch)
    flip_a, flip_b = d.chance(0.4), d.chance(0.4)
    a = d.type((*batch, depth, rows) if flip_a else (*batch, rows, depth))
    b = d.type((*batch_b, columns, depth) if flip_b else (*batch_b, depth, columns))
    quant = _product_quant(d, a, b, depth)
    return case(op, [a, b], [d.stored(a), d.stored(b)], at.MatmulAttrs(flip_a, flip_b), quant)


def _pool(d: Draw, op: str) -> Case:
    n, h, w, channels = d.image()
    window, stride = (d.integer(1, 4), d.integer(1, 4)), (d.integer(1, 3), d.integer(1, 3))
    x = d.type((n, h, w, channels))
    attrs = at.PoolAttrs(window, stride, d.padding((h, w), window, stride), d.activation())
    return case(op, [x], [d.stored(x)], attrs)


def _broadcast_pair(d: Draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast: equal, with ones, or of different rank."""
    shape = d.shape(1, 4)
    if d.chance(0.4):
        return shape, shape
    a = tuple(size if d.chance(0.7) else 1 for size in shape)
    b = tuple(size if d.chance(0.7) else 1 for size in shape)
    if d.chance(0.3):
        b = b[d.integer(0, len(b)) :]
    return (a, b) if d.chance(0.5) else (b, a)


def _pair(d: Draw, op: str, attrs: at.Attrs, x: TensorType, y: TensorType, quant: Quant | None) -> Case:
    arrays = [d.stored(x), d.stored(y)]
    constant = [1] if d.chance(0.3) else []
    return case(op, [x, y], arrays, attrs, quant, constant)


def _sum(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    x, y = d.type(a), d.type(b)
    quant = None
    if x.quant and y.quant:
        quant = d.quant(max(x.quant.scalar_scale, y.quant.scalar_scale) * math.exp2(d.rng.uniform(-2, 3)))
    return _pair(d, op, at.ActivationAttrs(d.activation()), x, y, quant)


def _mul(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    x, y = d.type(a), d.type(b)
    quant = None
    if x.quant and y.quant:
        span = 60.0 if d.cell == INT8 else 10000.0
        quant = d.quant(x.quant.scalar_scale * y.quant.scalar_scale * span * math.exp2(d.rng.uniform(-3, 3)))
    return _pair(d, op, at.ActivationAttrs(d.activation()), x, y, quant)


def _div(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    x, y = d.type(a), d.type(b)
    quant = None
    if x.quant and y.quant:
        quant = d.quant(x.quant.scalar_scale / y.quant.scalar_scale * math.exp2(d.rng.uniform(-6, 2)))
    made = _pair(d, op, at.ActivationAttrs(d.activation()), x, y, quant)
    zero = y.quant.scalar_zero_point if y.quant else 0
    stored = made.inputs[1]
    divisor = np.where(stored == zero, zero + (1 if zero < 127 else -1), stored).astype(stored.dtype)
    return Case(made.node, (made.inputs[0], divisor), made.constant)


def _squared_difference(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    x, y = d.type(a), d.type(b)
    quant = None
    if x.quant and y.quant:
        span = 150.0 * max(x.quant.scalar_scale, y.quant.scalar_scale)
        quant = d.quant(span * span / 200.0 * math.exp2(d.rng.uniform(-2, 2)))
    return _pair(d, op, at.Attrs(), x, y, quant)


def _same_pair(d: Draw, op: str) -> Case:
    """Both operands and the result of one quantization."""
    a, b = _broadcast_pair(d)
    quant = d.quant()
    return _pair(d, op, at.Attrs(), d.type(a, quant), d.type(b, quant), quant)


def _free_pair(d: Draw, op: str) -> Case:
    """Floats whose second operand stays away from 0 and whose first is positive (pow, mod, floor_div)."""
    a, b = _broadcast_pair(d)
    x, y = d.type(a), d.type(b)
    made = _pair(d, op, at.Attrs(), x, y, None)
    first, second = made.inputs
    if op == "pow":
        first, second = np.abs(first) + np.float32(0.1), np.clip(second, -3, 3)
    else:
        second = np.where(second == 0, 1, second)
    return Case(made.node, (first.astype(x.dtype.numpy), second.astype(y.dtype.numpy)), made.constant)


def _whole_pair(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    if op.startswith("logical"):
        x, y = TensorType(a, DType.BOOL), TensorType(b, DType.BOOL)
        return case(op, [x, y], [d.stored(x), d.stored(y)], at.Attrs())
    dtype = d.pick(DType.I32, DType.U8, DType.I16, DType.U32)
    x, y = TensorType(a, dtype), TensorType(b, dtype)
    high = dtype.bits - 1 if op.startswith("shift") else min(dtype.limits[1], 1 << 20)
    first = d.rng.integers(max(dtype.limits[0], -(1 << 20)), min(dtype.limits[1], 1 << 20), a)
    second = d.rng.integers(0, high + 1, b)
    return case(op, [x, y], [first.astype(dtype.numpy), second.astype(dtype.numpy)], at.Attrs())


def _whole_unary(d: Draw, op: str) -> Case:
    dtype = DType.BOOL if op == "logical_not" else d.pick(DType.I32, DType.U8, DType.BOOL)
    x = TensorType(d.shape(), dtype)
    data = np.abs(d.stored(x)) if dtype is DType.U8 else d.stored(x)
    return case(op, [x], [data], at.Attrs())


def _test(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    x = d.type(a)
    y = d.type(b, x.quant if d.chance(0.4) else None)
    if x.quant and y.quant and x.quant != y.quant:
        y = d.type(b, per_tensor(x.quant.scalar_scale * d.rng.uniform(0.5, 2.0), y.quant.scalar_zero_point))
    first, second = d.stored(x), d.stored(y)
    if not d.is_quantized:
        first, second = np.rint(first).astype(first.dtype), np.rint(second).astype(second.dtype)
    return case(op, [x, y], [first, second], at.Attrs(), None, [1] if d.chance(0.3) else [])


def _float_test(d: Draw, op: str) -> Case:
    x = d.type(d.shape())
    data = d.stored(x).ravel()
    data[d.rng.random(data.size) < 0.3] = d.pick(np.nan, np.inf, -np.inf)
    attrs = at.IsInfAttrs(d.chance(0.7), d.chance(0.7)) if op == "isinf" else at.Attrs()
    return case(op, [x], [data.reshape(x.shape)], attrs)


def _where(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    quant = d.quant()
    x, y = d.type(a, quant), d.type(b, quant)
    shape = np.broadcast_shapes(a, b)
    condition = TensorType(shape if d.chance(0.6) else tuple(size if d.chance(0.5) else 1 for size in shape), DType.BOOL)
    return case(op, [condition, x, y], [d.stored(condition), d.stored(x), d.stored(y)], at.Attrs())


DOMAIN: dict[str, tuple[float, float]] = {
    "log": (0.01, 20.0),
    "sqrt": (0.0, 20.0),
    "rsqrt": (0.01, 20.0),
    "reciprocal": (0.1, 20.0),
    "asin": (-1.0, 1.0),
    "acos": (-1.0, 1.0),
    "acosh": (1.0, 20.0),
    "atanh": (-0.99, 0.99),
    "exp": (-10.0, 5.0),
    "sinh": (-5.0, 5.0),
    "cosh": (-5.0, 5.0),
    "tan": (-1.4, 1.4),
}
"""Where a function is drawn in float cells, if not around 0."""

SPAN: dict[str, float] = {"tanh": 4.0, "sigmoid": 8.0, "elu": 6.0, "exp": 3.0}
"""Half the real range of the input in quantized cells, 6 where it is not said."""

POSITIVE_ONLY = ("rsqrt", "sqrt", "log", "acosh", "reciprocal")


def _unary_attrs(d: Draw, op: str) -> at.Attrs:
    if op == "leaky_relu":
        return at.AlphaAttrs(float(np.float32(d.rng.uniform(-0.5, 1.5))))
    if op == "elu":
        return at.AlphaAttrs(1.0 if d.chance(0.7) else 0.5)
    if op == "gelu":
        return at.GeluAttrs(d.chance(0.5))
    if op == "hard_sigmoid":
        return at.HardSigmoidAttrs(*d.pick((0.2, 0.5), (1 / 6, 0.5)))
    return at.Attrs()


def _unary(d: Draw, op: str) -> Case:
    shape, attrs = d.shape(), _unary_attrs(d, op)
    if not d.is_quantized:
        x = d.type(shape)
        low, high = DOMAIN.get(op, (0.0, 0.0))
        data = d.rng.uniform(low, high, shape).astype(np.float32) if high > low else d.stored(x)
        return case(op, [x], [data], attrs)
    steps = 128.0 if d.cell == INT8 else 32768.0
    scale = SPAN.get(op, 6.0) / steps * math.exp2(d.rng.uniform(-2, 2))
    x = d.type(shape, d.quant(scale))
    data = d.stored(x)
    assert x.quant is not None
    if op in POSITIVE_ONLY:
        quant = per_tensor(x.quant.scalar_scale, -128 if d.cell == INT8 else 0)
        x = TensorType(x.shape, x.dtype, quant)
        data = np.maximum(data, quant.scalar_zero_point + 1).astype(data.dtype)
    fixed = OPS[op].infer(attrs, [x])[0].quant
    out = fixed if fixed is not None else d.quant(SPAN.get(op, 6.0) / steps * math.exp2(d.rng.uniform(-2, 2)))
    return case(op, [x], [data], attrs, out)


def _prelu(d: Draw, op: str) -> Case:
    x = d.type(d.image(4, 5))
    shape = x.shape[d.integer(1, 3) :] if d.chance(0.5) else tuple(s if i == 3 else 1 for i, s in enumerate(x.shape))[1:]
    slope = d.type(shape, d.quant(d.scale(1e-3, 0.02)))
    quant = None
    if x.quant is not None:
        quant = d.quant(x.quant.scalar_scale * math.exp2(d.rng.uniform(-1, 1)))
    return case(op, [x, slope], [d.stored(x), d.stored(slope, 0.5)], at.Attrs(), quant, [1])


def _normalize(d: Draw, op: str) -> Case:
    x = d.type((*d.shape(0, 3, 4), d.integer(1, 12)), d.quant(d.scale(0.01, 0.3) if d.cell == INT8 else None))
    attrs: at.Attrs = at.Attrs()
    if op == "softmax":
        attrs = at.SoftmaxAttrs(d.pick(1.0, 1.0, 0.5, 2.0), d.cell == INT8 and d.chance(0.2))
    return case(op, [x], [d.stored(x)], attrs)


def _axes(d: Draw, rank: int) -> tuple[int, ...]:
    chosen = [axis for axis in range(rank) if d.chance(0.5)]
    return tuple(chosen) if chosen else (d.integer(0, rank - 1),)


def _reduce(d: Draw, op: str) -> Case:
    shape = d.shape(1, 4, 6)
    attrs = at.ReduceAttrs(_axes(d, len(shape)), d.chance(0.5))
    if op in ("reduce_any", "reduce_all"):
        x = TensorType(shape, DType.BOOL)
        return case(op, [x], [d.stored(x)], attrs)
    x = d.type(shape)
    quant = x.quant
    count = math.prod(shape[axis] for axis in attrs.axes)
    if x.quant is not None and op in ("reduce_sum", "reduce_mean") and d.chance(0.8):
        factor = math.sqrt(count) if op == "reduce_sum" else 1.0 / math.sqrt(count)
        quant = d.quant(x.quant.scalar_scale * factor * math.exp2(d.rng.uniform(-1, 1)))
    if op == "reduce_prod" and x.quant is not None:
        quant = d.quant(min(x.quant.scalar_scale, 0.05) * math.exp2(d.rng.uniform(-1, 3)))
    return case(op, [x], [d.stored(x, 1.5)], attrs, quant)


def _arg(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 4, 6))
    data = d.stored(x)
    if d.chance(0.5):
        data = np.rint(data / 30).astype(data.dtype)
    return case(op, [x], [data], at.ArgAttrs(d.integer(0, x.rank - 1), d.chance(0.3), d.chance(0.2)))


def _cumsum(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 4, 6))
    return case(op, [x], [d.stored(x)], at.CumsumAttrs(d.integer(0, x.rank - 1), d.chance(0.5), d.chance(0.5)), x.quant)


def _top_k(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 3, 8))
    axis = d.integer(0, x.rank - 1)
    return case(op, [x], [d.stored(x)], at.TopKAttrs(axis, d.integer(1, x.shape[axis]), d.chance(0.7)))


def _move(d: Draw, op: str) -> Case:
    x = d.type(d.image(6, 4) if "space" in op or d.chance(0.5) else d.shape(1, 4))
    return case(op, [x], [d.stored(x)], _move_attrs(d, op, x.shape))


def _move_attrs(d: Draw, op: str, shape: tuple[int, ...]) -> at.Attrs:
    rank = len(shape)
    match op:
        case "reshape":
            return at.ReshapeAttrs(d.pick((math.prod(shape),), shape[::-1], (1, *shape)))
        case "transpose":
            return at.PermAttrs(tuple(int(axis) for axis in d.rng.permutation(rank)))
        case "tile":
            return at.TileAttrs(tuple(d.integer(1, 3) for _ in range(rank)))
        case "reverse":
            return at.AxesAttrs(_axes(d, rank) if d.chance(0.3) else (d.integer(0, rank - 1),))
        case "split":
            axis = d.integer(0, rank - 1)
            cut = d.integer(0, shape[axis])
            sizes = tuple(size for size in (cut, shape[axis] - cut) if size)
            return at.SplitAttrs(axis, sizes)
        case "pad":
            return _pad_attrs(d, shape)
        case "copy":
            return at.Attrs()
        case _:
            return _slice_attrs(d, shape)


def _pad_attrs(d: Draw, shape: tuple[int, ...]) -> at.PadAttrs:
    mode = d.pick(*at.PadMode)
    limit = {at.PadMode.REFLECT: 1, at.PadMode.SYMMETRIC: 0}.get(mode)
    most = [3 if limit is None else size - limit for size in shape]
    before, after = (tuple(d.integer(0, min(m, 3)) for m in most) for _ in range(2))
    fill = float(np.float32(d.rng.uniform(-2, 2))) if mode is at.PadMode.CONSTANT and d.chance(0.3) else 0.0
    return at.PadAttrs(before, after, mode, fill)


def _slice_attrs(d: Draw, shape: tuple[int, ...]) -> at.SliceAttrs:
    begin: list[int] = []
    end: list[int] = []
    step: list[int] = []
    for size in shape:
        a, b = sorted((d.integer(0, size - 1), d.integer(0, size - 1)))
        stride = d.integer(1, 2)
        if d.chance(0.25):
            begin, end, step = [*begin, b], [*end, a - 1], [*step, -stride]
        else:
            begin, end, step = [*begin, a], [*end, b + 1], [*step, stride]
    return at.SliceAttrs(tuple(begin), tuple(end), tuple(step))


def _block(d: Draw, op: str) -> Case:
    block = d.integer(1, 3)
    n, h, w, channels = d.image(3, 3)
    shape = (n, h * block, w * block, channels) if op == "space_to_depth" else (n, h, w, channels * block * block)
    x = d.type(shape)
    return case(op, [x], [d.stored(x)], at.BlockAttrs(block))


def _broadcast_to(d: Draw, op: str) -> Case:
    shape = d.shape(1, 4)
    x = d.type(tuple(size if d.chance(0.6) else 1 for size in shape)[d.integer(0, len(shape) - 1) :])
    return case(op, [x], [d.stored(x)], at.ReshapeAttrs(shape))


def _concat(d: Draw, op: str) -> Case:
    shape, quant = d.shape(), d.quant()
    axis = d.integer(0, len(shape) - 1)
    types = [d.type((*shape[:axis], d.integer(1, 4), *shape[axis + 1 :]), quant) for _ in range(d.integer(1, 4))]
    return case(op, types, [d.stored(t) for t in types], at.AxisAttrs(axis), quant)


def _resize(d: Draw, op: str) -> Case:
    x = d.type(d.image(6, 4))
    mode = d.pick(*at.ResizeMode)
    nearest = d.pick(*at.NearestMode)
    if d.chance(0.5):
        nearest = at.NearestMode.FLOOR if mode is at.ResizeMode.ASYMMETRIC else at.NearestMode.ROUND_PREFER_CEIL
    return case(op, [x], [d.stored(x)], at.ResizeAttrs((d.integer(1, 12), d.integer(1, 12)), mode, nearest))


def _indices(d: Draw, shape: Sequence[int], size: int) -> tuple[TensorType, Array]:
    type_ = TensorType(tuple(shape), d.pick(DType.I32, DType.I32, DType.I64))
    return type_, d.rng.integers(0, size, shape).astype(type_.dtype.numpy)


def _gather(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 4))
    if op == "gather_elements":
        axis = d.integer(0, x.rank - 1)
        shape = tuple(d.integer(1, 6) if i == axis else d.integer(1, size) for i, size in enumerate(x.shape))
        type_, data = _indices(d, shape, x.shape[axis])
        return case(op, [x, type_], [d.stored(x), data], at.AxisAttrs(axis))
    if op == "gather":
        axis = d.integer(0, x.rank - 1)
        batch = d.integer(0, axis) if d.chance(0.3) else 0
        type_, data = _indices(d, (*x.shape[:batch], *d.shape(0, 2, 4)), x.shape[axis])
        return case(op, [x, type_], [d.stored(x), data], at.GatherAttrs(axis, batch), None, [1] if d.chance(0.3) else [])
    batch = d.integer(0, x.rank - 1) if d.chance(0.3) else 0
    depth = d.integer(1, x.rank - batch)
    type_ = TensorType((*x.shape[:batch], *d.shape(1, 2, 3), depth), DType.I32)
    data = np.stack([d.rng.integers(0, x.shape[batch + i], type_.shape[:-1]) for i in range(depth)], -1).astype(np.int32)
    return case(op, [x, type_], [d.stored(x), data], at.GatherAttrs(0, batch))


def _scatter(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 3))
    reduction = d.pick(at.Reduction.NONE, at.Reduction.MIN, at.Reduction.MAX) if d.is_quantized else d.pick(*at.Reduction)
    if op == "scatter_elements":
        axis = d.integer(0, x.rank - 1)
        shape = tuple(d.integer(1, size) for size in x.shape)
        type_, data = _indices(d, shape, x.shape[axis])
        updates = d.type(shape, x.quant)
        attrs = at.ScatterAttrs(axis, reduction)
    else:
        depth = d.integer(1, x.rank)
        type_ = TensorType((*d.shape(1, 2, 3), depth), DType.I32)
        data = np.stack([d.rng.integers(0, x.shape[i], type_.shape[:-1]) for i in range(depth)], -1).astype(np.int32)
        updates = d.type((*type_.shape[:-1], *x.shape[depth:]), x.quant)
        attrs = at.ScatterAttrs(0, reduction)
    return case(op, [x, type_, updates], [d.stored(x), data, d.stored(updates)], attrs)


def _one_hot(d: Draw, op: str) -> Case:
    depth = d.integer(1, 6)
    indices = TensorType(d.shape(1, 3), DType.I32)
    data = d.rng.integers(-depth - 1, depth + 2, indices.shape).astype(np.int32)
    on = d.type(())
    off = d.type((), on.quant)
    attrs = at.OneHotAttrs(d.integer(0, indices.rank), depth, d.chance(0.5))
    return case(op, [indices, on, off], [data, d.stored(on), d.stored(off)], attrs, on.quant, [1, 2])


def _recurrent(d: Draw, op: str) -> Case:
    gates, biases, states = {"lstm": (4, 1, 2), "gru": (3, 2, 1), "rnn": (1, 1, 1)}[op]
    n, time, features, hidden = d.integer(1, 2), d.integer(1, 5), d.integer(1, 5), d.integer(1, 5)
    shapes: list[tuple[int, ...]] = [
        (n, time, features),
        (gates * hidden, features),
        (gates * hidden, hidden),
        (biases * gates * hidden,),
    ]
    shapes += [(n, hidden)] * d.integer(0, states)
    types = [TensorType(shape, DType.F32) for shape in shapes]
    arrays = [d.stored(t, 1.0 if i == 0 else 0.5) for i, t in enumerate(types)]
    return case(op, types, arrays, at.RecurrentAttrs(d.chance(0.5), d.chance(0.5)), None, [1, 2, 3])


def _quantize(d: Draw, op: str) -> Case:
    dtype = d.pick(DType.I8, DType.I8, DType.I16, DType.U8)
    zero = d.integer(*dtype.limits) if dtype is not DType.I16 else 0
    x = TensorType(d.shape(), DType.F32)
    return case(op, [x], [d.stored(x)], at.CastAttrs(dtype), per_tensor(d.scale(), zero))


def _dequantize(d: Draw, op: str) -> Case:
    x = d.type(d.shape())
    return case(op, [x], [d.stored(x)], at.Attrs())


def _requantize(d: Draw, op: str) -> Case:
    x = d.type(d.shape())
    assert x.quant is not None
    target = (
        d.pick(DType.I8, DType.I8, DType.I16, DType.U8, DType.I32) if d.cell == INT8 else d.pick(DType.I8, DType.I16, DType.I32)
    )
    zero = {DType.I8: d.integer(-128, 127), DType.U8: d.integer(0, 255)}.get(target, 0)
    ratio = math.exp2(d.rng.uniform(-2, 2))
    if d.dtype is not target and DType.I16 in (d.dtype, target):
        ratio *= 1 / 256 if target is DType.I16 else 256
    return case(op, [x], [d.stored(x)], at.CastAttrs(target), per_tensor(x.quant.scalar_scale * ratio, zero))


def _cast(d: Draw, op: str) -> Case:
    source, target = d.pick(DType.F32, DType.I32, DType.U8, DType.BOOL), d.pick(DType.F32, DType.I32, DType.I8, DType.BOOL)
    x = TensorType(d.shape(), source)
    data = d.rng.integers(0, 100, x.shape).astype(source.numpy) if source is DType.U8 else d.stored(x)
    return case(op, [x], [data], at.CastAttrs(target))


_UNARY_OPS = [op for op in OPS if op in UNARY]

MAKERS: dict[str, Maker] = {
    "conv_2d": _conv,
    "depthwise_conv_2d": _conv,
    "transpose_conv_2d": _transpose_conv,
    "fully_connected": _fully_connected,
    "batch_matmul": _batch_matmul,
    "max_pool_2d": _pool,
    "average_pool_2d": _pool,
    "add": _sum,
    "sub": _sum,
    "mul": _mul,
    "div": _div,
    "squared_difference": _squared_difference,
    "minimum": _same_pair,
    "maximum": _same_pair,
    **dict.fromkeys(("pow", "mod", "floor_mod", "floor_div"), _free_pair),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right"), _whole_pair),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), _whole_pair),
    **dict.fromkeys(("bitwise_not", "logical_not"), _whole_unary),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), _test),
    **dict.fromkeys(("isnan", "isinf"), _float_test),
    "where": _where,
    **dict.fromkeys(_UNARY_OPS, _unary),
    "prelu": _prelu,
    **dict.fromkeys(("softmax", "log_softmax", "l2_norm"), _normalize),
    **{op: _reduce for op in OPS if op.startswith("reduce_")},
    **dict.fromkeys(("argmax", "argmin"), _arg),
    "cumsum": _cumsum,
    "top_k": _top_k,
    **dict.fromkeys(("copy", "reshape", "transpose", "tile", "reverse", "split", "pad", "slice"), _move),
    **dict.fromkeys(("space_to_depth", "depth_to_space"), _block),
    "broadcast_to": _broadcast_to,
    "concat": _concat,
    **dict.fromkeys(("resize_nearest", "resize_bilinear"), _resize),
    **dict.fromkeys(("gather", "gather_nd", "gather_elements"), _gather),
    **dict.fromkeys(("scatter_nd", "scatter_elements"), _scatter),
    "one_hot": _one_hot,
    **dict.fromkeys(("lstm", "gru", "rnn"), _recurrent),
    "quantize": _quantize,
    "dequantize": _dequantize,
    "requantize": _requantize,
    "cast": _cast,
}

_NO_FLOAT = {op for op, maker in MAKERS.items() if maker in (_whole_pair, _whole_unary)} | {"reduce_any", "reduce_all", "cast"}
CELLS: dict[str, tuple[str, ...]] = {
    op: tuple(
        cell
        for cell, defined in (
            (FLOAT32, op not in _NO_FLOAT and op not in ("dequantize", "requantize")),
            (INT8, entry.has_integer(DType.I8) and op != "quantize"),
            (INT16, entry.has_integer(DType.I16) and op != "quantize"),
            (PLAIN, op in _NO_FLOAT),
        )
        if defined
    )
    for op, entry in OPS.items()
}
"""The kinds of cell in which each operation has a meaning."""


def random_case(op: str, cell: str, seed: int) -> Case:
    """A valid case of the op in the cell; the same seed gives the same case. The rare misfit is drawn again."""
    for attempt in range(100):
        try:
            return MAKERS[op](Draw(cell, seed + attempt * 1_000_003), op)
        except ShapeError:
            continue
    raise AssertionError(f"no valid case of {op} was found")
