"""The Helium kernels against the evaluator over their whole range of shapes, by both compilers, on QEMU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firmware.compilers import CompilerChoice
from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.emulator.test_arm_kernels import activation, finish, weights
from tests.support.engines import needs_arm_gcc, needs_qemu
from tests.support.kernel_cases import Case, make_case, merged, operands
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from toolchain.ir.attrs import Activation, ActivationAttrs, ConvAttrs, PoolAttrs
from toolchain.ir.graph import Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, TensorType, per_tensor
from toolchain.reference.evaluator import run_node

pytestmark = [needs_qemu, needs_arm_gcc]
TARGET = "mps3_an547"
Make = Callable[[np.random.Generator], Case]


def image(rng: np.random.Generator, shape: tuple[int, ...]) -> Value:
    """An input whose zero point is anywhere."""
    return Value("x", TensorType(shape, DType.I8, per_tensor(0.02, int(rng.integers(-128, 128)))))


def padding_of(rng: np.random.Generator, kernel: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding below the size of the filter: top, bottom, left, right."""
    top, bottom, left, right = (int(rng.integers(0, k)) for k in (kernel[0], kernel[0], kernel[1], kernel[1]))
    return top, bottom, left, right


def size_of(rng: np.random.Generator, kernel: tuple[int, int], dilation: tuple[int, int], most: int) -> tuple[int, int]:
    """An input that the filter fits into."""
    height, width = ((k - 1) * d + 1 + int(rng.integers(0, most)) for k, d in zip(kernel, dilation, strict=True))
    return height, width


def convolution(rng: np.random.Generator, kernel: tuple[int, int], depth: int, groups: int, out: int, most: int = 8) -> Case:
    act, out_quant = activation(rng)
    stride, dilation = ((int(rng.choice([1, 1, 2, 3])), int(rng.choice([1, 1, 2, 3]))) for _ in range(2))
    attrs = ConvAttrs(stride, padding_of(rng, kernel), dilation, act)
    x = image(rng, (int(rng.integers(1, 3)), *size_of(rng, kernel, dilation, most), groups * depth))
    w = weights(rng, (groups * out, *kernel, depth), 0, 0.02, out_quant.scalar_scale)
    return finish(rng, "conv_2d", x, w, attrs, out_quant, groups * out)


def gathered(rng: np.random.Generator) -> Case:
    """Filters of up to 7x7, down to one channel per group."""
    kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    groups = int(rng.choice([1, 1, 1, 2, 5]))
    return convolution(rng, kernel, int(rng.integers(1, 40)), groups, int(rng.integers(1, 20)))


def small_depth(rng: np.random.Generator) -> Case:
    """Columns of one to four bytes, in maps wide enough for several strips now and then."""
    kernel = (int(rng.integers(1, 5)), int(rng.integers(2, 6)))
    return convolution(rng, kernel, int(rng.integers(1, 5)), 1, int(rng.integers(1, 12)), int(rng.choice([6, 300])))


def in_place(rng: np.random.Generator) -> Case:
    """1x1 filters of any depth: their last pixels have no room behind them."""
    act, out_quant = activation(rng)
    depth, out = int(rng.choice([16, 32, 48, int(rng.integers(1, 100))])), int(rng.integers(1, 40))
    stride = int(rng.choice([1, 1, 2]))
    attrs = ConvAttrs((stride, stride), (0, 0, 0, 0), (1, 1), act)
    x = image(rng, (int(rng.integers(1, 3)), int(rng.integers(1, 8)), int(rng.integers(1, 8)), depth))
    w = weights(rng, (out, 1, 1, depth), 0, 0.02, out_quant.scalar_scale)
    return finish(rng, "conv_2d", x, w, attrs, out_quant, out)


def windows(rng: np.random.Generator) -> Case:
    """Depthwise filters of up to 4x4, from one column on, with words aligned or not."""
    kernel = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    channels = int(rng.choice([4, 8, 12, int(rng.integers(4, 40))]))
    return depthwise(rng, kernel, (int(rng.integers(1, 3)), int(rng.integers(1, 4))), (1, 1), channels)


def taps(rng: np.random.Generator) -> Case:
    """Depthwise layers that windows do not take: large or dilated filters, few channels."""
    kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    dilation = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    return depthwise(rng, kernel, (int(rng.integers(1, 4)), int(rng.integers(1, 4))), dilation, int(rng.integers(1, 12)))


def depthwise(
    rng: np.random.Generator, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], channels: int
) -> Case:
    act, out_quant = activation(rng)
    attrs = ConvAttrs(stride, padding_of(rng, kernel), dilation, act)
    x = image(rng, (int(rng.integers(1, 3)), *size_of(rng, kernel, dilation, int(rng.choice([3, 12, 40]))), channels))
    w = weights(rng, (1, *kernel, channels), 3, 0.02, out_quant.scalar_scale)
    return finish(rng, "depthwise_conv_2d", x, w, attrs, out_quant, channels)


def dense(rng: np.random.Generator) -> Case:
    """One row or several."""
    act, out_quant = activation(rng)
    depth, out = int(rng.choice([16, 64, int(rng.integers(1, 400))])), int(rng.integers(1, 60))
    x = image(rng, (int(rng.choice([1, 1, 2, 7])), depth))
    w = weights(rng, (out, depth), 0, 0.02, out_quant.scalar_scale)
    return finish(rng, "fully_connected", x, w, ActivationAttrs(act), out_quant, out)


def addition(rng: np.random.Generator) -> Case:
    """Equal scales make both factors one half."""
    act, out_quant = activation(rng)
    shape = tuple(int(rng.integers(1, 9)) for _ in range(4))
    scales = rng.uniform(0.01, 0.06, 2)
    if rng.random() < 1 / 3:
        scales[1] = scales[0]
    a, b = (
        Value(name, TensorType(shape, DType.I8, per_tensor(float(scale), int(rng.integers(-128, 128)))))
        for name, scale in zip("ab", scales, strict=True)
    )
    return make_case(rng, str(rng.choice(["add", "sub"])), (a, b), ActivationAttrs(act), out_quant)


def pool(rng: np.random.Generator) -> Case:
    """Windows of up to 12x12, of which averages take up to 255 elements."""
    window = (int(rng.integers(1, 13)), int(rng.integers(1, 13)))
    op = str(rng.choice(["average_pool_2d", "max_pool_2d"]))
    size = size_of(rng, window, (1, 1), 6)
    quantization = per_tensor(0.05, int(rng.integers(-128, 128)))
    x = Value("x", TensorType((int(rng.integers(1, 3)), *size, int(rng.integers(1, 40))), DType.I8, quantization))
    attrs = PoolAttrs(
        window=window,
        stride=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        padding=padding_of(rng, window),
        activation=Activation(rng.choice(["none", "relu", "relu6", "relu_n1_1"])),
        count_padding=op == "average_pool_2d" and bool(rng.integers(0, 2)),
    )
    return make_case(rng, op, (x,), attrs, quantization)


def wide(rng: np.random.Generator) -> Case:
    """Int16 activations: a convolution or a fully connected layer of the int8 makers on the 16x8 arithmetic."""
    narrow = (gathered if rng.random() < 0.7 else dense)(rng)
    node = narrow.node
    x = Value("x", TensorType(node.inputs[0].type.shape, DType.I16, per_tensor(0.0002, 0)))
    inputs, sample_shape = (x, *node.inputs[1:]), x.type.shape
    made = make_node(node.op, inputs, ("y",), node.attrs, per_tensor(0.01, 0))
    samples = tuple((rng.integers(-(2**15), 2**15, sample_shape).astype(np.int16),) for _ in range(3))
    return Case(made, samples, narrow.constants)


MAKERS: tuple[Make, ...] = (gathered, small_depth, in_place, windows, taps, dense, addition, pool, wide)


def check(cases: list[Case], folder: Path, compiler: CompilerChoice) -> None:
    graph = merged(cases)
    compiled, program = compile_c(graph, TARGET, folder)
    assert compiled.program is not None
    own = [call for call in compiled.program.calls if call.variant.startswith("mve.")]
    assert len(own) >= 0.75 * len(cases), "the kernels under test are hardly used"
    samples = [tuple(array for case in cases for array in case.samples[i]) for i in range(3)]
    result = run_emulated(program, load_target(TARGET), raw_inputs(graph, samples), compiler=compiler)
    for case, found in zip(cases, typed_outputs(graph, result.outputs), strict=True):
        for sample, output in zip(case.samples, found, strict=True):
            np.testing.assert_array_equal(output, run_node(case.node, operands(case, sample))[0], err_msg=str(case.node))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("seed", range(2))
def test_kernels_equal_the_evaluator(make: Make, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    check([make(rng) for _ in range(24)], tmp_path, "gcc")


def test_zig_compiles_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    rng = np.random.default_rng(7)
    check([make(rng) for make in MAKERS for _ in range(3)], tmp_path, "zig")
