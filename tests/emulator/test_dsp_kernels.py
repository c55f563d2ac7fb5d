"""Every Armv7E-M kernel, each forced on cases over its whole shape range, against the evaluator on QEMU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firmware.program import CProgram
from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.emulator.test_arm_kernels import activation, finish, weights
from tests.support.engines import needs_arm_gcc, needs_qemu
from tests.support.kernel_cases import Case, describe, merged, operands
from tests.support.programs import raw_inputs, typed_outputs
from toolchain.backends.c.backend import print_c
from toolchain.ir.attrs import ActivationAttrs, ConvAttrs, PoolAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, TensorType, per_tensor
from toolchain.lowering.lower import lower
from toolchain.lowering.variants import candidates
from toolchain.reference.evaluator import run_node

pytestmark = [needs_qemu, needs_arm_gcc]
CASES = 30
Make = Callable[[np.random.Generator], Case]


def _int8(rng: np.random.Generator, shape: tuple[int, ...]) -> Value:
    return Value("x", TensorType(shape, DType.I8, per_tensor(0.02, int(rng.integers(-128, 128)))))


def _window(
    rng: np.random.Generator, kernel: tuple[int, int], most_stride: int, most_dilation: int
) -> tuple[ConvAttrs, tuple[int, int]]:
    """Attributes without activation and an input size that the filter fits."""
    dilation = (int(rng.integers(1, most_dilation + 1)), int(rng.integers(1, most_dilation + 1)))
    padding = tuple(int(rng.integers(0, k + 1)) for k in (kernel[0], kernel[0], kernel[1], kernel[1]))
    height, width = ((k - 1) * d + 1 + int(rng.integers(0, 9)) for k, d in zip(kernel, dilation, strict=True))
    stride = (int(rng.integers(1, most_stride + 1)), int(rng.integers(1, most_stride + 1)))
    return ConvAttrs(stride, padding, dilation), (height, width)  # type: ignore[arg-type]


def conv_case(rng: np.random.Generator) -> Case:
    """Kernels of 1 to 7, strides to 3, dilations, groups; filters of one to some hundred taps."""
    groups = int(rng.choice([1, 1, 1, 1, 2, 3]))
    depth, out = int(rng.integers(1, 18)), groups * int(rng.integers(1, 14))
    kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    attrs, size = _window(rng, kernel, 3, 2)
    act, out_quant = activation(rng)
    x = _int8(rng, (int(rng.integers(1, 3)), *size, groups * depth))
    w = weights(rng, (out, *kernel, depth), 0, 0.02, out_quant.scalar_scale)
    return finish(rng, "conv_2d", x, w, replace(attrs, activation=act), out_quant, out)


def tile_case(rng: np.random.Generator) -> Case:
    """What Winograd's kernel takes: three columns at column stride 1, a depth of whole groups."""
    depth, out = 4 * int(rng.integers(1, 9)), int(rng.integers(1, 14))
    kernel = (int(rng.integers(1, 6)), 3)
    attrs, (height, width) = _window(rng, kernel, 3, 2)
    attrs = replace(attrs, stride=(attrs.stride[0], 1), dilation=(attrs.dilation[0], 1))
    act, out_quant = activation(rng)
    x = _int8(rng, (int(rng.integers(1, 3)), height, width + 1, depth))
    w = weights(rng, (out, *kernel, depth), 0, 0.02, out_quant.scalar_scale)
    return finish(rng, "conv_2d", x, w, replace(attrs, activation=act), out_quant, out)


def depthwise_case(rng: np.random.Generator) -> Case:
    """Kernels of 1 to 7, strides to 3, dilations, multipliers."""
    channels, multiplier = int(rng.integers(1, 10)), int(rng.choice([1, 1, 2, 3]))
    kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    attrs, size = _window(rng, kernel, 3, 3)
    act, out_quant = activation(rng)
    x = _int8(rng, (int(rng.integers(1, 3)), *size, channels))
    w = weights(rng, (1, *kernel, channels * multiplier), 3, 0.02, out_quant.scalar_scale)
    return finish(rng, "depthwise_conv_2d", x, w, replace(attrs, activation=act), out_quant, channels * multiplier)


def depthwise_blocks_case(rng: np.random.Generator) -> Case:
    """Four channels and more without multiplier, any kernel."""
    channels, kernel = int(rng.integers(4, 18)), (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    attrs, size = _window(rng, kernel, 3, 3)
    act, out_quant = activation(rng)
    x = _int8(rng, (int(rng.integers(1, 3)), *size, channels))
    w = weights(rng, (1, *kernel, channels), 3, 0.02, out_quant.scalar_scale)
    return finish(rng, "depthwise_conv_2d", x, w, replace(attrs, activation=act), out_quant, channels)


def depthwise_3x3_case(rng: np.random.Generator) -> Case:
    """3x3 filters without dilation, rows of every length."""
    channels, multiplier = int(rng.integers(1, 10)), int(rng.choice([1, 1, 2]))
    attrs, size = _window(rng, (3, 3), 2, 1)
    act, out_quant = activation(rng)
    x = _int8(rng, (int(rng.integers(1, 3)), *size, channels))
    w = weights(rng, (1, 3, 3, channels * multiplier), 3, 0.02, out_quant.scalar_scale)
    return finish(rng, "depthwise_conv_2d", x, w, replace(attrs, activation=act), out_quant, channels * multiplier)


def _dense_case(rng: np.random.Generator, rows: int) -> Case:
    depth, out = int(rng.integers(1, 150)), int(rng.integers(1, 30))
    act, out_quant = activation(rng)
    w = weights(rng, (out, depth), 0, 0.02, out_quant.scalar_scale)
    return finish(rng, "fully_connected", _int8(rng, (rows, depth)), w, ActivationAttrs(act), out_quant, out)


def dense_row_case(rng: np.random.Generator) -> Case:
    """One row."""
    return _dense_case(rng, 1)


def dense_eights_case(rng: np.random.Generator) -> Case:
    """One row of whole groups of eight: any count of channels, passes of the loops begun and full."""
    depth, out = 8 * int(rng.integers(1, 38)), int(rng.choice([rng.integers(1, 20), rng.integers(20, 258)]))
    act, out_quant = activation(rng)
    w = weights(rng, (out, depth), 0, 0.02, out_quant.scalar_scale)
    return finish(rng, "fully_connected", _int8(rng, (1, depth)), w, ActivationAttrs(act), out_quant, out)


def dense_extremes_case(rng: np.random.Generator) -> Case:
    """Weights of the largest magnitudes that 16 bits hold as lanes, of every sign, on inputs of the largest."""
    depth, out = 8 * int(rng.integers(1, 9)), int(rng.integers(1, 20))
    act, out_quant = activation(rng)
    w, _ = weights(rng, (out, depth), 0, 0.02, out_quant.scalar_scale)
    data = rng.choice([-127, 127], (out, depth)).astype(np.int8)
    data[:, 1::2] = np.where(rng.random((out, depth // 2)) < 0.5, -128, data[:, 1::2])
    data[:, 0::2] = np.where(data[:, 1::2] == -128, rng.choice([-128, 127], (out, depth // 2)), data[:, 0::2])
    case = finish(rng, "fully_connected", _int8(rng, (1, depth)), (w, data), ActivationAttrs(act), out_quant, out)
    ends = rng.choice([-128, 127], (1, depth)).astype(np.int8)
    return replace(case, samples=((ends,), *case.samples[1:]))


def dense_rows_case(rng: np.random.Generator) -> Case:
    """Several rows, of any depth."""
    return _dense_case(rng, int(rng.integers(2, 6)))


def _int16_case(rng: np.random.Generator, case: Case) -> Case:
    """The case with int16 activations, whose sums use the output's range."""
    quant = per_tensor(float(rng.uniform(0.5, 2)) * 1e-4, 0)
    x = Value("x", TensorType(case.node.inputs[0].type.shape, DType.I16, quant))
    w = case.node.inputs[1]
    assert w.type.quant is not None
    scales = tuple(float(np.float32(scale * 100)) for scale in w.type.quant.scale)
    w = Value("w", replace(w.type, quant=replace(w.type.quant, scale=scales)))
    node = make_node(
        case.node.op, (x, w, *case.node.inputs[2:]), ("y",), case.node.attrs, per_tensor(float(rng.uniform(1, 4)) * 1e-3, 0)
    )
    whole = rng.integers(-(2**15), 2**15, x.type.shape).astype(np.int16)
    samples = (whole, np.full(x.type.shape, -(2**15), np.int16), np.full(x.type.shape, 2**15 - 1, np.int16))
    return Case(node, tuple((sample,) for sample in samples), case.constants)


def int16_conv_case(rng: np.random.Generator) -> Case:
    """A convolution of int16 activations."""
    return _int16_case(rng, conv_case(rng))


def int16_dense_case(rng: np.random.Generator) -> Case:
    """A fully connected layer of int16 activations."""
    return _int16_case(rng, _dense_case(rng, int(rng.integers(1, 6))))


def _pool_case(rng: np.random.Generator, op: str) -> Case:
    size, channels = (int(rng.integers(1, 12)), int(rng.integers(1, 12))), int(rng.integers(4, 20))
    window = (int(rng.integers(1, size[0] + 1)), int(rng.integers(1, size[1] + 1)))
    padding = tuple(int(rng.integers(0, k)) for k in (window[0], window[0], window[1], window[1]))
    act, _ = activation(rng)
    x = _int8(rng, (int(rng.integers(1, 3)), *size, channels))
    attrs = PoolAttrs(window, (int(rng.integers(1, 4)), int(rng.integers(1, 4))), padding, act)  # type: ignore[arg-type]
    node = make_node(op, (x,), ("y",), attrs, x.type.quant)
    samples = (rng.integers(-128, 128, x.type.shape), np.full(x.type.shape, -128), np.full(x.type.shape, 127))
    return Case(node, tuple((sample.astype(np.int8),) for sample in samples))


def average_case(rng: np.random.Generator) -> Case:
    """Averages over windows of up to the whole input."""
    return _pool_case(rng, "average_pool_2d")


def max_case(rng: np.random.Generator) -> Case:
    """Maxima over windows of up to the whole input."""
    return _pool_case(rng, "max_pool_2d")


KERNELS: tuple[tuple[str, Make], ...] = (
    ("armv7em.conv_2d_dsp", conv_case),
    ("armv7em.conv_2d_byte_dsp", conv_case),
    ("armv7em.conv_2d_winograd_dsp", tile_case),
    ("armv7em.conv_2d_dsp", dense_rows_case),
    ("armv7em.conv_2d_byte_dsp", dense_rows_case),
    ("armv7em.fully_connected_dsp", dense_row_case),
    ("armv7em.fully_connected_byte_dsp", dense_row_case),
    ("armv7em.fully_connected_unstaged_dsp", dense_eights_case),
    ("armv7em.fully_connected_unstaged_dsp", dense_extremes_case),
    ("armv7em.depthwise_dsp", depthwise_case),
    ("armv7em.depthwise_3x3_dsp", depthwise_3x3_case),
    ("armv7em.depthwise_block_dsp", depthwise_blocks_case),
    ("armv7em.conv_2d_s16_dsp", int16_conv_case),
    ("armv7em.conv_2d_s16_dsp", int16_dense_case),
    ("armv7em.average_pool_2d_dsp", average_case),
    ("armv7em.max_pool_2d_dsp", max_case),
)


def _drawn(make: Make, variant: str, rng: np.random.Generator) -> list[Case]:
    """Cases that the variant takes."""
    target, found = load_target("mps2_an386"), list[Case]()
    for _ in range(6 * CASES):
        case = make(rng)
        graph = merged([case])
        if any(taker.name == variant for taker in candidates(graph, graph.nodes[0], target)):
            found.append(case)
        if len(found) == CASES:
            return found
    raise AssertionError(f"{variant} takes only {len(found)} of its cases")


def _written(graph: Graph, variant: str, folder: Path) -> CProgram:
    fixed = {node.name: variant for node in graph.nodes}
    program = lower(graph, load_target("mps2_an386"), objective="speed", fixed=fixed)
    printed = print_c(program, "net")
    for path, text in printed.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    inputs, outputs = (tuple(value.type.bytes for value in side) for side in (graph.inputs, graph.outputs))
    plan = program.plan
    return CProgram(
        "net",
        folder,
        printed.header,
        printed.sources,
        printed.include_dirs,
        printed.cflags,
        plan.arena_bytes,
        plan.align,
        inputs,
        outputs,
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("variant", "make"), KERNELS)
def test_kernel_equals_the_evaluator(variant: str, make: Make, seed: int, tmp_path: Path) -> None:
    cases = _drawn(make, variant, np.random.default_rng(seed))
    graph = merged(cases)
    samples = [tuple(array for case in cases for array in case.samples[i]) for i in range(3)]
    result = run_emulated(_written(graph, variant, tmp_path), load_target("mps2_an386"), raw_inputs(graph, samples))
    for case, found in zip(cases, typed_outputs(graph, result.outputs), strict=True):
        for sample, output in zip(case.samples, found, strict=True):
            np.testing.assert_array_equal(output, run_node(case.node, operands(case, sample))[0], err_msg=describe(case))
