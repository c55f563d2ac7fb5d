"""Test support: layers of any shape a network may have, drawn apart from those that the cost model is fitted on."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.tuning.cases import TuningCase
from toolchain.ir.attrs import Activation, ActivationAttrs, Attrs, ConvAttrs
from toolchain.ir.graph import Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor

SEED = 77_001
MOST_MACS = 600_000
MOST_BYTES = 40_000


def _channels(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 258)) if rng.random() < 0.4 else int(np.exp(rng.uniform(0, np.log(257.99))))


def _case(
    rng: np.random.Generator, op: str, shape: tuple[int, ...], filters: tuple[int, ...], attrs: Attrs, axis: int
) -> TuningCase:
    zero = int(rng.integers(-128, 128))
    x = Value("x", TensorType(shape, DType.I8, per_tensor(0.03, zero)))
    channels = filters[axis]
    data = rng.integers(-127, 128, filters).astype(np.int8)
    taps = data.size / channels
    out = per_tensor(0.04, -128 if rng.random() < 0.5 else int(rng.integers(-128, 128)))
    scales = rng.uniform(0.3, 1.7, channels) * 0.04 / (0.03 * 55 * math.sqrt(taps))
    w = Value("w", TensorType(filters, DType.I8, Quant(tuple(map(float, scales)), (0,) * channels, axis)))
    b = Value("b", TensorType((channels,), DType.I32, Quant((1.0,), (0,))))
    constants: dict[str, Array] = {"w": data, "b": rng.integers(-3000, 3000, channels).astype(np.int32)}
    return TuningCase(make_node(op, (x, w, b), ("y",), attrs, out), constants)


def _activation(rng: np.random.Generator) -> Activation:
    return Activation(str(rng.choice(["none", "relu", "relu6", "relu_n1_1"], p=[0.35, 0.35, 0.2, 0.1])))


def _image(rng: np.random.Generator, op: str) -> TuningCase:
    depthwise = op == "depthwise_conv_2d"
    while True:
        kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
        if rng.random() < 0.5:
            kernel = ((1, 1), (3, 3))[int(depthwise or rng.random() < 0.5)]
        stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        pads = tuple(int(rng.integers(0, kernel[i // 2])) for i in range(4))
        size = tuple(int(rng.integers(max(1, k - 2), 26)) for k in kernel)
        if any(s + pads[2 * i] + pads[2 * i + 1] < k for i, (s, k) in enumerate(zip(size, kernel, strict=True))):
            continue
        depth = _channels(rng)
        out = depth * int(rng.choice([1, 1, 1, 2, 3])) if depthwise else _channels(rng)
        filters = (1, *kernel, out) if depthwise else (out, *kernel, depth)
        pixels = math.prod((s + pads[2 * i] + pads[2 * i + 1] - kernel[i]) // stride[i] + 1 for i, s in enumerate(size))
        macs = pixels * out * math.prod(kernel) * (1 if depthwise else depth)
        if macs <= MOST_MACS and math.prod(size) * depth <= MOST_BYTES and pixels * out <= MOST_BYTES and out <= 257:
            break
    attrs = ConvAttrs(stride, (pads[0], pads[1], pads[2], pads[3]), (1, 1), _activation(rng))
    return _case(rng, op, (1, *size, depth), filters, attrs, 3 if depthwise else 0)


def _rows(rng: np.random.Generator) -> TuningCase:
    rows = int(rng.choice([1, 1, 1, 1, 2, 7]))
    depth, out = _channels(rng), _channels(rng)
    return _case(rng, "fully_connected", (rows, depth), (out, depth), ActivationAttrs(_activation(rng)), 0)


def layer_cases(op: str, count: int) -> list[TuningCase]:
    """The first `count` layers of an operation, always the same."""
    rng = np.random.default_rng((SEED, ("conv_2d", "depthwise_conv_2d", "fully_connected").index(op)))
    return [_rows(rng) if op == "fully_connected" else _image(rng, op) for _ in range(count)]
