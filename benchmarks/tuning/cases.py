"""Random single-node cases over the shapes that networks for small devices have; a seed always gives the same case."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from toolchain.ir import attrs as at
from toolchain.ir.graph import Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor

MOST_MACS = 300_000
MOST_ELEMENTS = 24_000
SUM_SPREAD = 60.0


@dataclass(frozen=True, slots=True)
class TuningCase:
    """A node and its constant operands by value name."""

    node: Node
    constants: Mapping[str, Array] = field(default_factory=dict[str, Array])


Maker = Callable[[np.random.Generator], TuningCase]


def _int8(name: str, shape: Sequence[int], scale: float, zero_point: int) -> Value:
    return Value(name, TensorType(tuple(shape), DType.I8, per_tensor(scale, zero_point)))


def _channels(rng: np.random.Generator, most: int = 257) -> int:
    """Half of them multiples of eight, as in most networks; from 1 to `most` on a logarithmic scale."""
    count = round(math.exp(rng.uniform(0, math.log(most))))
    return min(max(count // 8 * 8, 8), most) if rng.random() < 0.5 else count


def _activation(rng: np.random.Generator) -> tuple[at.Activation, Quant]:
    """Mostly a ReLU whose zero point is the smallest value, else any."""
    if rng.random() < 0.6:
        return at.Activation(str(rng.choice(["relu", "relu6"]))), per_tensor(0.03, -128)
    return at.Activation(str(rng.choice(["none", "none", "relu"]))), per_tensor(0.05, int(rng.integers(-100, 100)))


def _layer(
    rng: np.random.Generator, op: str, x: Value, weights: tuple[tuple[int, ...], int], attrs: at.Attrs, out: Quant
) -> TuningCase:
    """A layer with random weights and biases whose sums spread over the output's range. weights: shape, channel axis."""
    shape, axis = weights
    data = rng.integers(-127, 128, shape).astype(np.int8)
    channels, zeros = shape[axis], (0,) * shape[axis]
    spread = SUM_SPREAD * math.sqrt(data.size / channels)
    scales = rng.uniform(0.5, 1.5, channels) * out.scalar_scale / (0.02 * spread)
    w = Value("w", TensorType(shape, DType.I8, Quant(tuple(map(float, scales)), zeros, axis)))
    bias = Value("b", TensorType((channels,), DType.I32, Quant((1.0,), (0,))))
    constants: dict[str, Array] = {"w": data, "b": rng.integers(-2000, 2000, channels).astype(np.int32)}
    return TuningCase(make_node(op, (x, w, bias), ("y",), attrs, out), constants)


@dataclass(frozen=True, slots=True)
class _Window:
    """A filter's or pool's place: kernel, stride, padding, input height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    size: tuple[int, int]

    @property
    def outputs(self) -> int:
        """Pixels of the result."""
        (kh, kw), (sh, sw), (top, bottom, left, right), (h, w) = self.kernel, self.stride, self.padding, self.size
        return ((h + top + bottom - kh) // sh + 1) * ((w + left + right - kw) // sw + 1)


def _window(rng: np.random.Generator, kernel: tuple[int, int]) -> _Window:
    """Strides 1 to 3, padding none, same or any, and a map that the filter fits in."""
    step = int(rng.choice([1, 1, 1, 2, 2, 3]))
    stride = (step, step) if rng.random() < 0.6 else (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    kind = rng.random()
    if kind < 0.3:
        pads = [0, 0, 0, 0]
    elif kind < 0.6:
        pads = [(kernel[0] - 1) // 2, kernel[0] // 2, (kernel[1] - 1) // 2, kernel[1] // 2]
    else:
        pads = [int(rng.integers(0, kernel[i // 2])) for i in range(4)]
    square = int(rng.integers(1, 25))
    size = [square, square if rng.random() < 0.7 else int(rng.integers(1, 25))]
    fitting = (max(size[0], kernel[0]), max(size[1], kernel[1]))
    return _Window(kernel, stride, (pads[0], pads[1], pads[2], pads[3]), fitting)


def _filter(rng: np.random.Generator) -> tuple[int, int]:
    kind = rng.random()
    if kind < 0.25:
        return (1, 1)
    if kind < 0.5:
        return (3, 3)
    return (int(rng.integers(1, 8)), int(rng.integers(1, 8)))


def conv_2d(rng: np.random.Generator) -> TuningCase:
    """A convolution; one in ten is dilated, one in ten has groups."""
    while True:
        place, depth, out = _window(rng, _filter(rng)), _channels(rng), _channels(rng)
        if rng.random() < 0.2:  # as in residual networks: 3x3 filters of many channels that move by one
            place, depth = _Window((3, 3), (1, 1), (1, 1, 1, 1), place.size), max(depth // 4 * 4, 4)
        groups = int(rng.choice([2, 3, 4])) if rng.random() < 0.1 else 1
        dilation = (
            (2, 2) if place.stride == (1, 1) and min(place.size) >= 2 * max(place.kernel) and rng.random() < 0.1 else (1, 1)
        )
        macs = place.outputs * math.prod(place.kernel) * depth * out * groups
        if macs <= MOST_MACS and math.prod(place.size) * depth * groups <= MOST_ELEMENTS:
            break
    x = _int8("x", (1, *place.size, depth * groups), 0.02, int(rng.integers(-128, 128)))
    act, quant = _activation(rng)
    attrs = at.ConvAttrs(place.stride, place.padding, dilation, act)
    return _layer(rng, "conv_2d", x, ((out * groups, *place.kernel, depth), 0), attrs, quant)


def depthwise_conv_2d(rng: np.random.Generator) -> TuningCase:
    """A depthwise convolution, half of them 3x3; one in seven has a channel multiplier."""
    while True:
        kernel = (3, 3) if rng.random() < 0.5 else (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
        place, channels = _window(rng, kernel), _channels(rng)
        multiplier = int(rng.choice([2, 3])) if rng.random() < 0.15 else 1
        macs = place.outputs * math.prod(kernel) * channels * multiplier
        if macs <= MOST_MACS and math.prod(place.size) * channels <= MOST_ELEMENTS:
            break
    x = _int8("x", (1, *place.size, channels), 0.02, int(rng.integers(-128, 128)))
    act, quant = _activation(rng)
    attrs = at.ConvAttrs(place.stride, place.padding, (1, 1), act)
    return _layer(rng, "depthwise_conv_2d", x, ((1, *kernel, channels * multiplier), 3), attrs, quant)


def fully_connected(rng: np.random.Generator) -> TuningCase:
    """A fully connected layer, most on one row."""
    while True:
        rows = 1 if rng.random() < 0.8 else int(rng.integers(2, 20))
        depth, out = _channels(rng, 1024), _channels(rng)
        if rows * depth * out <= MOST_MACS:
            break
    act, quant = _activation(rng)
    x = _int8("x", (rows, depth), 0.02, int(rng.integers(-128, 128)))
    return _layer(rng, "fully_connected", x, ((out, depth), 0), at.ActivationAttrs(act), quant)


def transpose_conv_2d(rng: np.random.Generator) -> TuningCase:
    """A transposed convolution that doubles or triples a map."""
    step, kernel = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    height, width = int(rng.integers(2, 8)), int(rng.integers(2, 8))
    size = ((height - 1) * step + kernel, (width - 1) * step + kernel)
    depth, out = int(rng.integers(1, 33)), int(rng.integers(1, 33))
    x = _int8("x", (1, height, width, depth), 0.02, int(rng.integers(-128, 128)))
    attrs = at.TransposeConvAttrs((step, step), (0, 0, 0, 0), size)
    return _layer(rng, "transpose_conv_2d", x, ((out, kernel, kernel, depth), 0), attrs, per_tensor(0.05, 3))


def _pool(op: str) -> Maker:
    def make(rng: np.random.Generator) -> TuningCase:
        place, channels = _window(rng, (int(rng.integers(1, 6)), int(rng.integers(1, 6)))), _channels(rng, 64)
        whole = rng.random() < 0.4
        kernel, padding = (place.size, (0, 0, 0, 0)) if whole else (place.kernel, place.padding)
        x = _int8("x", (1, *place.size, channels), 0.05, int(rng.integers(-128, 128)))
        attrs = at.PoolAttrs(kernel, place.stride, padding)
        return TuningCase(make_node(op, (x,), ("y",), attrs, x.type.quant))

    return make


def _pair(op: str) -> Maker:
    def make(rng: np.random.Generator) -> TuningCase:
        shape = (1, int(rng.integers(1, 13)), int(rng.integers(1, 13)), _channels(rng, 64))
        a, b = (_int8(name, shape, float(rng.uniform(0.02, 0.05)), int(rng.integers(-128, 128))) for name in "ab")
        return TuningCase(make_node(op, (a, b), ("y",), at.ActivationAttrs(), per_tensor(0.07, int(rng.integers(-100, 100)))))

    return make


def _single(op: str, attrs: at.Attrs | None = None, out: Quant | None = None) -> Maker:
    def make(rng: np.random.Generator) -> TuningCase:
        x = _int8("x", (int(rng.integers(1, 9)), int(rng.integers(1, 200))), 0.05, int(rng.integers(-128, 128)))
        return TuningCase(make_node(op, (x,), ("y",), attrs, out))

    return make


def _columns(rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Height, width, channels and the column at which an image is cut; half of the time at words."""
    unit = 4 if rng.random() < 0.5 else 1
    height, channels = int(rng.integers(2, 12)), unit * int(rng.integers(1, 17))
    width = int(rng.integers(2, 30))
    return height, width, channels, int(rng.integers(1, width))


def _cut(rng: np.random.Generator) -> TuningCase:
    height, width, channels, column = _columns(rng)
    x = _int8("x", (1, height, width, channels), 0.05, 0)
    attrs = at.SliceAttrs((0, 0, column, 0), (1, height, width, channels), (1, 1, 1, 1))
    return TuningCase(make_node("slice", (x,), ("y",), attrs))


def _joined(rng: np.random.Generator) -> TuningCase:
    height, width, channels, column = _columns(rng)
    sizes = (("a", column), ("b", width - column))
    parts = tuple(_int8(name, (1, height, size, channels), 0.05, 0) for name, size in sizes)
    return TuningCase(make_node("concat", parts, ("y",), at.AxisAttrs(2), parts[0].type.quant))


def _mean(rng: np.random.Generator) -> TuningCase:
    """The mean over an image."""
    shape = (1, int(rng.integers(1, 13)), int(rng.integers(1, 13)), _channels(rng, 64))
    x = _int8("x", shape, 0.05, int(rng.integers(-128, 128)))
    return TuningCase(make_node("reduce_mean", (x,), ("y",), at.ReduceAttrs((1, 2)), per_tensor(0.04, 3)))


def _wide(make: Maker) -> Maker:
    """The same on int16 activations without zero points, with int64 biases."""

    def widened(value: Value) -> Value:
        type_ = value.type
        if type_.dtype is DType.I32:
            return Value(value.name, TensorType(type_.shape, DType.I64, type_.quant))
        if type_.quant is None or type_.quant.axis is not None:
            return value
        return Value(value.name, TensorType(type_.shape, DType.I16, per_tensor(type_.quant.scalar_scale / 256)))

    def wide(rng: np.random.Generator) -> TuningCase:
        case = make(rng)
        node, quant = case.node, case.node.output.type.quant
        out = None if quant is None else per_tensor(quant.scalar_scale / (128 if quant.scalar_scale == 1 / 256 else 256))
        data = {name: array.astype(np.int64) if array.dtype == np.int32 else array for name, array in case.constants.items()}
        return TuningCase(make_node(node.op, tuple(map(widened, node.inputs)), ("y",), node.attrs, out), data)

    return wide


MAKERS: dict[str, Maker] = {
    "conv_2d": conv_2d,
    "depthwise_conv_2d": depthwise_conv_2d,
    "fully_connected": fully_connected,
    "transpose_conv_2d": transpose_conv_2d,
    "average_pool_2d": _pool("average_pool_2d"),
    "max_pool_2d": _pool("max_pool_2d"),
    "add": _pair("add"),
    "sub": _pair("sub"),
    "mul": _pair("mul"),
    "softmax": _single("softmax", at.SoftmaxAttrs(), per_tensor(1 / 256, -128)),
    "sigmoid": _single("sigmoid", None, per_tensor(1 / 256, -128)),
    "hard_swish": _single("hard_swish", None, per_tensor(0.04, 3)),
    "slice": _cut,
    "concat": _joined,
    "requantize": _single("requantize", at.CastAttrs(DType.I8), per_tensor(0.04, 3)),
    "reduce_mean": _mean,
    "conv_2d_s16": _wide(conv_2d),
    "depthwise_conv_2d_s16": _wide(depthwise_conv_2d),
    "fully_connected_s16": _wide(fully_connected),
    "average_pool_2d_s16": _wide(_pool("average_pool_2d")),
    "max_pool_2d_s16": _wide(_pool("max_pool_2d")),
    "add_s16": _wide(_pair("add")),
    "sub_s16": _wide(_pair("sub")),
    "mul_s16": _wide(_pair("mul")),
    "softmax_s16": _wide(_single("softmax", at.SoftmaxAttrs(), per_tensor(1 / 256, -128))),
    "sigmoid_s16": _wide(_single("sigmoid", None, per_tensor(1 / 256, -128))),
    "tanh_s16": _wide(_single("tanh", None, per_tensor(1 / 256, -128))),
}
COUNTS = {"conv_2d": 260, "depthwise_conv_2d": 160, "fully_connected": 80, "conv_2d_s16": 40, "depthwise_conv_2d_s16": 40}
FEW = 24


def tuning_cases(op: str, seed: int, count: int | None = None) -> list[TuningCase]:
    """Cases of an operation, `count` or as many as its variants need."""
    rng = np.random.default_rng((seed, zlib.crc32(op.encode())))
    return [MAKERS[op](rng) for _ in range(COUNTS.get(op, FEW) if count is None else count)]
