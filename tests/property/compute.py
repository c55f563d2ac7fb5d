"""Random cases of the ops that compute: products, pools, elementwise, normalizations, recurrent layers, conversions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tests.property.draw import FLOAT32, INT8, INT16, Case, Draw, case
from toolchain.ir import attrs as at
from toolchain.ir.optable import OPS
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor

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


def conv(d: Draw, op: str) -> Case:
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


def transpose_conv(d: Draw, op: str) -> Case:
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


def fully_connected(d: Draw, op: str) -> Case:
    rows, depth, out = d.integer(1, 3), d.integer(1, 20), d.integer(1, 8)
    shape = (rows, depth) if d.chance(0.7) else (d.integer(1, 2), rows, depth)
    x = d.type(shape)
    types, arrays = _weights(d, (out, depth), 0, out, x, d.chance(0.8))
    quant = _product_quant(d, x, types[0], depth)
    return case(op, [x, *types], [d.stored(x), *arrays], at.ActivationAttrs(d.activation()), quant, range(1, 1 + len(types)))


def dynamic(d: Draw, op: str) -> Case:
    """A float layer of the same kind, with int8 weights; of the cell that integers have, as its sums are exact."""
    kind = op.removeprefix("dynamic_")
    plain = (fully_connected if kind == "fully_connected" else conv)(Draw(FLOAT32, d.integer(0, 2**31)), kind)
    shape, axis = plain.node.inputs[1].type.shape, 3 if kind == "depthwise_conv_2d" else 0
    per_channel = d.chance(0.7)
    scales = tuple(d.scale(1e-4, 0.05) for _ in range(shape[axis] if per_channel else 1))
    quant = Quant(scales, (0,) * len(scales), axis if per_channel else None)
    types = [plain.node.inputs[0].type, TensorType(shape, DType.I8, quant), *(v.type for v in plain.node.inputs[2:])]
    spread = d.pick(1.0, 1.0, 1e-20, 1e-32, 1e6)
    x = (plain.inputs[0] + np.float32(d.pick(0, 0, 5, -5))) * np.float32(spread)
    arrays = [x, d.rng.integers(-127, 128, shape).astype(np.int8), *plain.inputs[2:]]
    return case(op, types, arrays, plain.node.attrs, None, range(1, len(types)))


def batch_matmul(d: Draw, op: str) -> Case:
    rows, depth, columns = d.integer(1, 6), d.integer(1, 8), d.integer(1, 6)
    batch = d.shape(0, 2, 3)
    batch_b = tuple(size if d.chance(0.7) else 1 for size in batch)
    flip_a, flip_b = d.chance(0.4), d.chance(0.4)
    a = d.type((*batch, depth, rows) if flip_a else (*batch, rows, depth))
    b = d.type((*batch_b, columns, depth) if flip_b else (*batch_b, depth, columns))
    quant = _product_quant(d, a, b, depth)
    return case(op, [a, b], [d.stored(a), d.stored(b)], at.MatmulAttrs(flip_a, flip_b), quant)


def pool(d: Draw, op: str) -> Case:
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


def sum(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    x, y = d.type(a), d.type(b)
    quant = None
    if x.quant and y.quant:
        quant = d.quant(max(x.quant.scalar_scale, y.quant.scalar_scale) * math.exp2(d.rng.uniform(-2, 3)))
    return _pair(d, op, at.ActivationAttrs(d.activation()), x, y, quant)


def mul(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    x, y = d.type(a), d.type(b)
    quant = None
    if x.quant and y.quant:
        span = 60.0 if d.cell == INT8 else 10000.0
        quant = d.quant(x.quant.scalar_scale * y.quant.scalar_scale * span * math.exp2(d.rng.uniform(-3, 3)))
    return _pair(d, op, at.ActivationAttrs(d.activation()), x, y, quant)


def div(d: Draw, op: str) -> Case:
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


def squared_difference(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    x, y = d.type(a), d.type(b)
    quant = None
    if x.quant and y.quant:
        span = 150.0 * max(x.quant.scalar_scale, y.quant.scalar_scale)
        quant = d.quant(span * span / 200.0 * math.exp2(d.rng.uniform(-2, 2)))
    return _pair(d, op, at.Attrs(), x, y, quant)


def same_pair(d: Draw, op: str) -> Case:
    """Both operands and the result of one quantization."""
    a, b = _broadcast_pair(d)
    quant = d.quant()
    return _pair(d, op, at.Attrs(), d.type(a, quant), d.type(b, quant), quant)


def free_pair(d: Draw, op: str) -> Case:
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


def whole_pair(d: Draw, op: str) -> Case:
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


def whole_unary(d: Draw, op: str) -> Case:
    dtype = DType.BOOL if op == "logical_not" else d.pick(DType.I32, DType.U8, DType.BOOL)
    x = TensorType(d.shape(), dtype)
    data = np.abs(d.stored(x)) if dtype is DType.U8 else d.stored(x)
    return case(op, [x], [data], at.Attrs())


def test(d: Draw, op: str) -> Case:
    a, b = _broadcast_pair(d)
    x = d.type(a)
    y = d.type(b, x.quant if d.chance(0.4) else None)
    if x.quant and y.quant and x.quant != y.quant:
        y = d.type(b, per_tensor(x.quant.scalar_scale * d.rng.uniform(0.5, 2.0), y.quant.scalar_zero_point))
    first, second = d.stored(x), d.stored(y)
    if not d.is_quantized:
        first, second = np.rint(first).astype(first.dtype), np.rint(second).astype(second.dtype)
    return case(op, [x, y], [first, second], at.Attrs(), None, [1] if d.chance(0.3) else [])


def float_test(d: Draw, op: str) -> Case:
    x = d.type(d.shape())
    data = d.stored(x).ravel()
    data[d.rng.random(data.size) < 0.3] = d.pick(np.nan, np.inf, -np.inf)
    attrs = at.IsInfAttrs(d.chance(0.7), d.chance(0.7)) if op == "isinf" else at.Attrs()
    return case(op, [x], [data.reshape(x.shape)], attrs)


def where(d: Draw, op: str) -> Case:
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


def unary(d: Draw, op: str) -> Case:
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


def prelu(d: Draw, op: str) -> Case:
    x = d.type(d.image(4, 5))
    shape = x.shape[d.integer(1, 3) :] if d.chance(0.5) else tuple(s if i == 3 else 1 for i, s in enumerate(x.shape))[1:]
    slope = d.type(shape, d.quant(d.scale(1e-3, 0.02)))
    quant = None
    if x.quant is not None:
        quant = d.quant(x.quant.scalar_scale * math.exp2(d.rng.uniform(-1, 1)))
    return case(op, [x, slope], [d.stored(x), d.stored(slope, 0.5)], at.Attrs(), quant, [1])


def normalize(d: Draw, op: str) -> Case:
    x = d.type((*d.shape(0, 3, 4), d.integer(1, 12)), d.quant(d.scale(0.01, 0.3) if d.cell == INT8 else None))
    attrs: at.Attrs = at.Attrs()
    if op == "softmax":
        attrs = at.SoftmaxAttrs(d.pick(1.0, 1.0, 0.5, 2.0), d.cell == INT8 and d.chance(0.2))
    return case(op, [x], [d.stored(x)], attrs)


def recurrent(d: Draw, op: str) -> Case:
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


def quantize(d: Draw, op: str) -> Case:
    dtype = d.pick(DType.I8, DType.I8, DType.I16, DType.U8)
    zero = d.integer(*dtype.limits) if dtype is not DType.I16 else 0
    x = TensorType(d.shape(), DType.F32)
    return case(op, [x], [d.stored(x)], at.CastAttrs(dtype), per_tensor(d.scale(), zero))


def dequantize(d: Draw, op: str) -> Case:
    x = d.type(d.shape())
    return case(op, [x], [d.stored(x)], at.Attrs())


def requantize(d: Draw, op: str) -> Case:
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


def cast(d: Draw, op: str) -> Case:
    """Plain numbers, or the stored ones of a quantized tensor."""
    if d.cell in (INT8, INT16):
        x = d.type(d.shape())
        return case(op, [x], [d.stored(x)], at.CastAttrs(d.pick(DType.I32, DType.F32)))
    source, target = d.pick(DType.F32, DType.I32, DType.U8, DType.BOOL), d.pick(DType.F32, DType.I32, DType.I8, DType.BOOL)
    x = TensorType(d.shape(), source)
    data = d.rng.integers(0, 100, x.shape).astype(source.numpy) if source is DType.U8 else d.stored(x)
    return case(op, [x], [data], at.CastAttrs(target))
