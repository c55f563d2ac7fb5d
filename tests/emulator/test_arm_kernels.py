"""The Armv7E-M and Helium kernels against the evaluator, on QEMU, which faults on unaligned accesses as hardware does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.support.engines import needs_arm_gcc, needs_qemu
from tests.support.kernel_cases import Case, merged, operands
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from toolchain.ir.attrs import Activation, ActivationAttrs, ConvAttrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor
from toolchain.reference.evaluator import run_node

pytestmark = [needs_qemu, needs_arm_gcc]
FOLDERS = {"mps2_an386": "armv7em.", "mps3_an547": "mve."}


def weights(
    rng: np.random.Generator, shape: tuple[int, ...], axis: int, scale_in: float, scale_out: float
) -> tuple[Value, Array]:
    """Symmetric int8 weights whose factors use the output's range; one channel in eight has none at all."""
    channels = shape[axis]
    data = rng.integers(-127, 128, shape, dtype=np.int8)
    dead = rng.random(channels) < 1 / 8
    data *= np.where(dead, 0, 1).reshape([-1 if i == axis else 1 for i in range(len(shape))]).astype(np.int8)
    taps = data.size / channels
    scale = np.float32(rng.uniform(0.2, 2.0, channels) * scale_out / (scale_in * 60 * np.sqrt(taps)))
    quant = Quant(tuple(map(float, scale)), (0,) * channels, axis)
    return Value("w", TensorType(shape, DType.I8, quant)), data


def finish(
    rng: np.random.Generator, op: str, x: Value, w: tuple[Value, Array], attrs: object, out_quant: Quant, channels: int
) -> Case:
    """The case of a layer with random bias and three samples: random, all smallest, all largest."""
    bias = rng.integers(-4000, 4000, channels).astype(np.int32)
    bias_value = Value("b", TensorType((channels,), DType.I32, Quant((1.0,), (0,))))
    node: Node = make_node(op, (x, w[0], bias_value), ("y",), attrs, out_quant)  # type: ignore[arg-type]
    samples = (
        rng.integers(-128, 128, x.type.shape, dtype=np.int8),
        np.full(x.type.shape, -128, np.int8),
        np.full(x.type.shape, 127, np.int8),
    )
    return Case(node, tuple((sample,) for sample in samples), {"w": w[1], "b": bias})


def activation(rng: np.random.Generator) -> tuple[Activation, Quant]:
    """An activation with an output quantization; half of them are ReLUs whose zero point is the smallest value."""
    if rng.random() < 0.5:
        return Activation(rng.choice(["relu", "relu6"])), per_tensor(0.03, -128)
    return Activation(rng.choice(["none", "relu", "relu6", "relu_n1_1"])), per_tensor(0.05, int(rng.integers(-128, 128)))


def conv_case(rng: np.random.Generator) -> Case:
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    depth, out = int(rng.integers(1, 21)), groups * int(rng.integers(1, 14))
    kernel = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    dilation = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    padding = tuple(int(rng.integers(0, k)) for k in (kernel[0], kernel[0], kernel[1], kernel[1]))
    size = tuple((k - 1) * d + 1 + int(rng.integers(0, 6)) for k, d in zip(kernel, dilation, strict=True))
    act, out_quant = activation(rng)
    attrs = ConvAttrs((int(rng.integers(1, 4)), int(rng.integers(1, 4))), padding, dilation, act)  # type: ignore[arg-type]
    x = Value(
        "x",
        TensorType((int(rng.integers(1, 3)), *size, groups * depth), DType.I8, per_tensor(0.02, int(rng.integers(-128, 128)))),
    )
    return finish(rng, "conv_2d", x, weights(rng, (out, *kernel, depth), 0, 0.02, out_quant.scalar_scale), attrs, out_quant, out)


def depthwise_case(rng: np.random.Generator) -> Case:
    channels, stride = int(rng.integers(1, 18)), int(rng.integers(1, 3))
    padding = tuple(int(rng.integers(0, 3)) for _ in range(4))
    act, out_quant = activation(rng)
    attrs = ConvAttrs((stride, stride), padding, (1, 1), act)  # type: ignore[arg-type]
    shape = (int(rng.integers(1, 3)), int(rng.integers(3, 12)), int(rng.integers(3, 12)), channels)
    x = Value("x", TensorType(shape, DType.I8, per_tensor(0.02, int(rng.integers(-128, 128)))))
    w = weights(rng, (1, 3, 3, channels), 3, 0.02, out_quant.scalar_scale)
    return finish(rng, "depthwise_conv_2d", x, w, attrs, out_quant, channels)


def dense_case(rng: np.random.Generator) -> Case:
    rows, depth, out = int(rng.choice([1, 1, 2, 5])), int(rng.integers(1, 90)), int(rng.integers(1, 30))
    act, out_quant = activation(rng)
    x = Value("x", TensorType((rows, depth), DType.I8, per_tensor(0.02, int(rng.integers(-128, 128)))))
    w = weights(rng, (out, depth), 0, 0.02, out_quant.scalar_scale)
    return finish(rng, "fully_connected", x, w, ActivationAttrs(act), out_quant, out)


def add_case(rng: np.random.Generator) -> Case:
    shape = (1, int(rng.integers(1, 9)), int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    act, out_quant = activation(rng)
    a, b = (
        Value(name, TensorType(shape, DType.I8, per_tensor(float(rng.uniform(0.01, 0.06)), int(rng.integers(-128, 128)))))
        for name in "ab"
    )
    node = make_node(str(rng.choice(["add", "sub"])), (a, b), ("y",), ActivationAttrs(act), out_quant)
    return Case(node, tuple(tuple(rng.integers(-128, 128, shape, dtype=np.int8) for _ in "ab") for _ in range(3)))


@pytest.mark.parametrize("target", FOLDERS)
@pytest.mark.parametrize(("make", "seed"), [(m, s) for m in (conv_case, depthwise_case, dense_case, add_case) for s in range(2)])
def test_kernels_equal_the_evaluator(make: object, seed: int, target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    cases: list[Case] = [make(rng) for _ in range(30)]  # type: ignore[operator]
    graph = merged(cases)
    compiled, program = compile_c(graph, target, tmp_path)
    assert compiled.program is not None
    own = [call for call in compiled.program.calls if call.variant.startswith(FOLDERS[target])]
    assert len(own) >= 0.8 * len(cases), "the kernels under test are hardly used"
    samples = [tuple(array for case in cases for array in case.samples[i]) for i in range(3)]
    result = run_emulated(program, load_target(target), raw_inputs(graph, samples))
    for case, found in zip(cases, typed_outputs(graph, result.outputs), strict=True):
        for sample, output in zip(case.samples, found, strict=True):
            np.testing.assert_array_equal(output, run_node(case.node, operands(case, sample))[0], err_msg=str(case.node))
