"""Int8 convolutions and fully connected layers in portable C against the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.kernel_cases import Case, check_cases, make_case, pick, quant, value
from toolchain.ir.attrs import Activation, ActivationAttrs, ConvAttrs
from toolchain.ir.types import Array, DType, Quant, per_tensor

CASES = 50
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31)


def weight_quant(rng: np.random.Generator, channels: int, axis: int) -> Quant:
    """Symmetric weights with one scale, or one per channel."""
    if rng.random() < 0.5:
        return per_tensor(float(rng.uniform(1e-3, 0.1)))
    scales = tuple(float(np.float32(s)) for s in rng.uniform(1e-3, 0.1, channels))
    return Quant(scales, (0,) * channels, axis)


def weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Weights over the whole int8 range."""
    return rng.integers(-128, 128, shape).astype(np.int8)


def geometry(rng: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int], ConvAttrs]:
    """Kernel, image size and attributes that leave at least one output pixel."""
    kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    dilation = (1, 1) if rng.random() < 0.6 else (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    span = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    padding = tuple(int(rng.integers(0, s + 3)) for s in (span[0], span[0], span[1], span[1]))
    padding = (0, 0, 0, 0) if rng.random() < 0.3 else padding
    pads = (padding[0] + padding[1], padding[2] + padding[3])
    size = tuple(max(1, s - p) + int(rng.integers(0, 6)) for s, p in zip(span, pads, strict=True))
    stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    attrs = ConvAttrs(stride, (padding[0], padding[1], padding[2], padding[3]), dilation, pick(rng, tuple(Activation)))
    return kernel, (size[0], size[1]), attrs


def conv_case(rng: np.random.Generator, depth: int = 0, out: int = 0) -> Case:
    kernel, size, attrs = geometry(rng)
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    depth = depth or int(rng.choice(CHANNELS))
    out = groups * (out or int(rng.choice(CHANNELS)))
    x = value("x", (rng.integers(1, 3), *size, depth * groups), DType.I8, quant(rng))
    w = value("w", (out, *kernel, depth), DType.I8, weight_quant(rng, out, 0))
    constants = {"w": weights(rng, w.type.shape)}
    inputs = [x, w]
    if rng.random() < 0.8:
        inputs.append(value("b", (out,), DType.I32))
        constants["b"] = rng.integers(-(2**17), 2**17, out).astype(np.int32)
    return make_case(rng, "conv_2d", inputs, attrs, quant(rng, scale=(0.05, 20.0)), constants)


def depthwise_case(rng: np.random.Generator) -> Case:
    kernel, size, attrs = geometry(rng)
    channels, multiplier = int(rng.choice(CHANNELS)), int(rng.choice([1, 1, 2, 3]))
    x = value("x", (rng.integers(1, 3), *size, channels), DType.I8, quant(rng))
    out = channels * multiplier
    w = value("w", (1, *kernel, out), DType.I8, weight_quant(rng, out, 3))
    constants = {"w": weights(rng, w.type.shape), "b": rng.integers(-(2**15), 2**15, out).astype(np.int32)}
    b = value("b", (out,), DType.I32)
    return make_case(rng, "depthwise_conv_2d", [x, w, b], attrs, quant(rng, scale=(0.02, 5.0)), constants)


def fully_connected_case(rng: np.random.Generator, depth: int = 0, out: int = 0) -> Case:
    depth, out = depth or int(rng.choice([*CHANNELS, 129])), out or int(rng.choice([*CHANNELS, 257]))
    rows = [(1,), (3,), (2, 3), (2, 1, 2)][int(rng.integers(0, 4))]
    x = value("x", (*rows, depth), DType.I8, quant(rng))
    w = value("w", (out, depth), DType.I8, weight_quant(rng, out, 0))
    constants = {"w": weights(rng, w.type.shape)}
    inputs = [x, w]
    if rng.random() < 0.8:
        inputs.append(value("b", (out,), DType.I32))
        constants["b"] = rng.integers(-(2**17), 2**17, out).astype(np.int32)
    attrs = ActivationAttrs(pick(rng, tuple(Activation)))
    return make_case(rng, "fully_connected", inputs, attrs, quant(rng, scale=(0.02, 10.0)), constants)


@pytest.mark.parametrize("make", [conv_case, depthwise_case, fully_connected_case])
def test_equals_evaluator(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(1)
    check_cases([make(rng) for _ in range(CASES)], tmp_path)


def test_channel_tails(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    sizes = [(1, 1), (257, 3), (3, 257), (64, 65), (127, 6), (6, 128)]
    cases = [conv_case(rng, depth, out) for depth, out in sizes]
    check_cases(cases + [fully_connected_case(rng, depth, out) for depth, out in sizes], tmp_path)
