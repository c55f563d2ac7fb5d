"""Quantized convolutions and fully connected layers in portable C against the evaluator, over their whole shape range."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.kernel_cases import Case, check_cases, make_case, pick, quant, value
from toolchain.ir.attrs import Activation, ActivationAttrs, Attrs, ConvAttrs, TransposeConvAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import Array, DType, Quant, per_tensor

CASES = 50
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31)
KINDS = ("int8", "int16", "int8 with computed weights")


class Layer:
    """Draws of one case: activations of one kind and weights that are constant or computed."""

    def __init__(self, rng: np.random.Generator, kind: str) -> None:
        self.rng = rng
        self.dtype = DType.I16 if kind == "int16" else DType.I8
        self.computed = "computed" in kind
        self.bias = DType.I64 if kind == "int16" else DType.I32

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def channels(self) -> int:
        return pick(self.rng, CHANNELS)

    def batch(self) -> int:
        return self.integer(1, 2)

    def activation(self) -> Activation:
        return pick(self.rng, tuple(Activation))

    def quant(self, low: float, high: float) -> Quant:
        return quant(self.rng, self.dtype, (low, high) if self.dtype is DType.I8 else (low / 100, high / 100))

    def weight_quant(self, channels: int, axis: int) -> Quant:
        """Symmetric weights with one scale, or one per channel."""
        if self.rng.random() < 0.5:
            return per_tensor(float(self.rng.uniform(1e-3, 0.1)))
        scales = tuple(float(np.float32(s)) for s in self.rng.uniform(1e-3, 0.1, channels))
        return Quant(scales, (0,) * channels, axis)

    def weights(self, shape: tuple[int, ...]) -> Array:
        """Weights over the whole int8 range."""
        return self.rng.integers(-128, 128, shape).astype(np.int8)

    def case(self, op: str, x: Value, w: Value, attrs: Attrs, out: Quant) -> Case:
        """The case with a bias in four of five."""
        channels = w.type.shape[3] if op == "depthwise_conv_2d" else w.type.shape[0]
        constants = {"w": self.weights(w.type.shape)}
        inputs = [x, w]
        if self.rng.random() < 0.8:
            inputs.append(value("b", (channels,), self.bias))
            constants["b"] = self.rng.integers(-(2**17), 2**17, channels).astype(self.bias.numpy)
        if self.computed:
            del constants["w"]
        return make_case(self.rng, op, inputs, attrs, out, constants)


def geometry(d: Layer) -> tuple[tuple[int, int], tuple[int, int], ConvAttrs]:
    """Kernel, image size and attributes that leave at least one output pixel."""
    kernel = (d.integer(1, 7), d.integer(1, 7))
    dilation = (1, 1) if d.rng.random() < 0.6 else (d.integer(1, 3), d.integer(1, 3))
    span = tuple((k - 1) * step + 1 for k, step in zip(kernel, dilation, strict=True))
    pads = [0 if d.rng.random() < 0.2 else d.integer(0, s + 2) for s in (span[0], span[0], span[1], span[1])]
    pads = [0, 0, 0, 0] if d.rng.random() < 0.3 else pads
    size = tuple(max(1, s - a - b) + d.integer(0, 5) for s, a, b in zip(span, pads[::2], pads[1::2], strict=True))
    stride = (d.integer(1, 3), d.integer(1, 3))
    return kernel, (size[0], size[1]), ConvAttrs(stride, (pads[0], pads[1], pads[2], pads[3]), dilation, d.activation())


def conv_case(d: Layer, depth: int = 0, out: int = 0) -> Case:
    kernel, size, attrs = geometry(d)
    groups = pick(d.rng, (1, 1, 1, 2, 3))
    depth, out = depth or d.channels(), groups * (out or d.channels())
    x = value("x", (d.batch(), *size, depth * groups), d.dtype, d.quant(1e-3, 1.0))
    w = value("w", (out, *kernel, depth), DType.I8, d.weight_quant(out, 0))
    return d.case("conv_2d", x, w, attrs, d.quant(0.05, 20.0))


def depthwise_case(d: Layer) -> Case:
    kernel, size, attrs = geometry(d)
    channels, multiplier = d.channels(), pick(d.rng, (1, 1, 2, 3))
    x = value("x", (d.batch(), *size, channels), d.dtype, d.quant(1e-3, 1.0))
    w = value("w", (1, *kernel, channels * multiplier), DType.I8, d.weight_quant(channels * multiplier, 3))
    return d.case("depthwise_conv_2d", x, w, attrs, d.quant(0.02, 5.0))


def fully_connected_case(d: Layer, depth: int = 0, out: int = 0) -> Case:
    depth, out = depth or pick(d.rng, (*CHANNELS, 129)), out or pick(d.rng, (*CHANNELS, 257))
    rows = pick(d.rng, ((1,), (3,), (2, 3), (2, 1, 2)))
    x = value("x", (*rows, depth), d.dtype, d.quant(1e-3, 1.0))
    w = value("w", (out, depth), DType.I8, d.weight_quant(out, 0))
    return d.case("fully_connected", x, w, ActivationAttrs(d.activation()), d.quant(0.02, 10.0))


def transpose_case(d: Layer) -> Case:
    kernel, stride, size = ((d.integer(1, top), d.integer(1, top)) for top in (7, 3, 6))
    full = [(n - 1) * s + k for n, s, k in zip(size, stride, kernel, strict=True)]
    cut = [(d.integer(0, (n - 1) // 2), d.integer(-2, (n - 1) // 2)) for n in full]
    padding = (cut[0][0], cut[0][1], cut[1][0], cut[1][1])
    attrs = TransposeConvAttrs(stride, padding, (full[0] - sum(cut[0]), full[1] - sum(cut[1])), d.activation())
    x = value("x", (d.batch(), *size, d.channels()), d.dtype, d.quant(1e-3, 1.0))
    out = d.channels()
    w = value("w", (out, *kernel, x.type.shape[3]), DType.I8, d.weight_quant(out, 0))
    return d.case("transpose_conv_2d", x, w, attrs, d.quant(0.05, 20.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [conv_case, depthwise_case, fully_connected_case])
def test_equals_evaluator(make: Callable[[Layer], Case], kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    check_cases([make(Layer(rng, kind)) for _ in range(CASES)], tmp_path)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_transposed(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    check_cases([transpose_case(Layer(rng, kind)) for _ in range(CASES)], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_channel_tails(kind: str, tmp_path: Path) -> None:
    d = Layer(np.random.default_rng(2), kind)
    sizes = [(1, 1), (257, 3), (3, 257), (64, 65), (127, 6), (6, 128)]
    cases = [conv_case(d, depth, out) for depth, out in sizes]
    check_cases(cases + [fully_connected_case(d, depth, out) for depth, out in sizes], tmp_path)


def test_long_int16_sums_leave_32_bits(tmp_path: Path) -> None:
    x = value("x", (1, 3000), DType.I16, per_tensor(1e-4))
    w = value("w", (5, 3000), DType.I8, per_tensor(1e-2))
    rng = np.random.default_rng(9)
    case = make_case(rng, "fully_connected", [x, w], ActivationAttrs(), per_tensor(0.5), {"w": np.full((5, 3000), -128, np.int8)})
    check_cases([Case(case.node, ((np.full((1, 3000), -32768, np.int16),),), case.constants)], tmp_path)


def test_weights_with_a_zero_point(tmp_path: Path) -> None:
    d = Layer(np.random.default_rng(10), "int8")
    cases: list[Case] = []
    for _ in range(20):
        depth, out = d.channels(), d.channels()
        x = value("x", (3, depth), DType.I8, d.quant(1e-3, 1.0))
        w = value("w", (out, depth), DType.I8, per_tensor(0.02, d.integer(-128, 127)))
        cases.append(d.case("fully_connected", x, w, ActivationAttrs(), d.quant(0.02, 10.0)))
    check_cases(cases, tmp_path)


def test_int4_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    x, w = value("x", (2, 5, 5, 6), DType.I8, quant(rng)), value("w", (7, 3, 3, 6), DType.I4, per_tensor(0.02))
    weights = rng.integers(-8, 8, w.type.shape).astype(np.int8)
    check_cases([make_case(rng, "conv_2d", [x, w], ConvAttrs(), quant(rng), {"w": weights})], tmp_path)
