"""The kernels for cores without SIMD against the evaluator, over their shape range, on the emulators of their cores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firmware.compilers import CompilerChoice
from firmware.program import CProgram
from runtimes.emulator import EngineChoice, run_emulated
from targets.load import load_target
from targets.model import Target
from tests.support.engines import needs_arm_gcc, needs_qemu
from tests.support.kernel_cases import Case, describe, make_case, merged, operands, pick, quant, value
from tests.support.programs import raw_inputs, typed_outputs
from toolchain.backends.c.backend import print_c
from toolchain.ir.attrs import Activation, ActivationAttrs, Attrs, ConvAttrs, PoolAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor
from toolchain.lowering.lower import lower
from toolchain.lowering.variants import candidates
from toolchain.reference.evaluator import run_node

CHANNELS = (1, 2, 3, 4, 5, 7, 8, 13, 16, 31)
PLACES = (
    pytest.param("mps2_an385", "qemu", marks=[needs_qemu, needs_arm_gcc]),
    pytest.param("rp2040_pico", "unicorn", marks=needs_arm_gcc),
    pytest.param("rp2040_pico", "qemu", marks=[needs_qemu, needs_arm_gcc]),
    pytest.param("rv32_virt", "qemu", marks=needs_qemu),
)
FOLDERS = {"mps2_an385": "armv7m.", "rp2040_pico": "armv6m.", "rv32_virt": "rv32im."}
Maker = Callable[[np.random.Generator], Case]


def integer(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def weights(rng: np.random.Generator, shape: tuple[int, ...], axis: int, out_scale: float) -> tuple[Value, Array]:
    """Weights over the whole range, one channel in eight without any, with factors below 1 that use the output's range."""
    channels = shape[axis]
    data = rng.choice([-127, 127], shape) if rng.random() < 0.2 else rng.integers(-127, 128, shape)
    alive = np.where(rng.random(channels) < 1 / 8, 0, 1).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    spread = 60 * np.sqrt(data.size / channels)
    scales = tuple(float(np.float32(factor * out_scale / (0.02 * spread))) for factor in rng.uniform(0.2, 2.0, channels))
    kind = TensorType(shape, DType.I8, Quant(scales, (0,) * channels, axis))
    return Value("w", kind), (data * alive).astype(np.int8)


def finish(rng: np.random.Generator, op: str, x: Value, w: tuple[Value, Array], attrs: Attrs, out: Quant) -> Case:
    channels = w[0].type.shape[3 if op == "depthwise_conv_2d" else 0]
    bias = rng.integers(-4000, 4000, channels).astype(np.int32)
    inputs = (x, w[0], value("b", (channels,), DType.I32, per_tensor(1.0)))
    case = make_case(rng, op, inputs, attrs, out, {"w": w[1], "b": bias})
    extremes = tuple((np.full(x.type.shape, extreme, np.int8),) for extreme in (-128, 127))
    return Case(case.node, (case.samples[0], *extremes), case.constants)


def activation(rng: np.random.Generator) -> tuple[Activation, Quant]:
    zero_point = pick(rng, (-128, -128, integer(rng, -128, 127)))
    return pick(rng, tuple(Activation)), per_tensor(0.05, zero_point)


def image(rng: np.random.Generator, channels: int) -> tuple[tuple[int, int], Value, ConvAttrs, Quant]:
    """Kernel, input, attributes and output quantization of a layer with at least one output pixel."""
    kernel = integer(rng, 1, 7), integer(rng, 1, 7)
    dilation = pick(rng, ((1, 1), (1, 1), (integer(rng, 1, 3), integer(rng, 1, 3))))
    span = [(k - 1) * step + 1 for k, step in zip(kernel, dilation, strict=True)]
    pads = [integer(rng, 0, s) for s in (span[0], span[0], span[1], span[1])]
    pads = pick(rng, (pads, [0] * 4, [(kernel[0] - 1) // 2] * 2 + [(kernel[1] - 1) // 2] * 2))
    size = [max(1, s - a - b) + integer(rng, 0, 6) for s, a, b in zip(span, pads[::2], pads[1::2], strict=True)]
    act, out = activation(rng)
    stride = integer(rng, 1, 3), integer(rng, 1, 3)
    attrs = ConvAttrs(stride, (pads[0], pads[1], pads[2], pads[3]), dilation, act)
    return kernel, value("x", (integer(rng, 1, 2), *size, channels), DType.I8, quant(rng, scale=(0.02, 0.021))), attrs, out


def conv_case(rng: np.random.Generator, depth: int = 0, channels: int = 0) -> Case:
    groups, depth = pick(rng, (1, 1, 1, 2, 3)), depth or pick(rng, CHANNELS)
    kernel, x, attrs, out = image(rng, groups * depth)
    w = weights(rng, (groups * (channels or pick(rng, CHANNELS)), *kernel, depth), 0, out.scalar_scale)
    return finish(rng, "conv_2d", x, w, attrs, out)


def depthwise_case(rng: np.random.Generator) -> Case:
    channels = pick(rng, CHANNELS)
    kernel, x, attrs, out = image(rng, channels)
    if rng.random() < 0.5:
        kernel = (3, 3)
        attrs = ConvAttrs(pick(rng, ((1, 1), (2, 2))), (1, 1, 1, 1), (1, 1), attrs.activation)
    w = weights(rng, (1, *kernel, channels * pick(rng, (1, 1, 2, 3))), 3, out.scalar_scale)
    return finish(rng, "depthwise_conv_2d", x, w, attrs, out)


def dense_case(rng: np.random.Generator) -> Case:
    act, out = activation(rng)
    x = value("x", (pick(rng, (1, 1, 2, 5)), pick(rng, (*CHANNELS, 129, 257))), DType.I8, quant(rng, scale=(0.02, 0.021)))
    w = weights(rng, (pick(rng, (*CHANNELS, 257)), x.type.shape[1]), 0, out.scalar_scale)
    return finish(rng, "fully_connected", x, w, ActivationAttrs(act), out)


def pool_case(rng: np.random.Generator) -> Case:
    window, stride = (integer(rng, 1, 7), integer(rng, 1, 7)), (integer(rng, 1, 3), integer(rng, 1, 3))
    pads = pick(rng, ([0] * 4, [integer(rng, 0, (size - 1) // 2) for size in (window[0], window[0], window[1], window[1])]))
    size = [max(1, w - a - b) + integer(rng, 0, 20) for w, a, b in zip(window, pads[::2], pads[1::2], strict=True)]
    act, out = activation(rng)
    attrs = PoolAttrs(window, stride, (pads[0], pads[1], pads[2], pads[3]), act)
    x = value("x", (integer(rng, 1, 2), *size, pick(rng, CHANNELS)), DType.I8, out)
    return make_case(rng, pick(rng, ("average_pool_2d", "max_pool_2d")), (x,), attrs, out)


def fixed_kernels(graph: Graph, target: Target, own: str) -> dict[str, str]:
    """For every node a kernel of the folder under test, in turn where it has several, else a portable one."""
    found: dict[str, str] = {}
    for index, node in enumerate(graph.nodes):
        names = [variant.name for variant in candidates(graph, node, target)]
        chosen = [name for name in names if name.startswith(own)] or names
        found[node.name] = chosen[index % len(chosen)]
    return found


def check(cases: list[Case], target: Target, own: str, engine: EngineChoice, folder: Path, compiler: CompilerChoice) -> list[str]:
    """Asserts that every output byte equals the evaluator's; the variants that ran."""
    graph = merged(cases)
    program = lower(graph, target, objective="speed", fixed=fixed_kernels(graph, target, own))
    printed = print_c(program, "net")
    for path, text in printed.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    sizes = [tuple(value.type.bytes for value in values) for values in (graph.inputs, graph.outputs)]
    files = (printed.header, printed.sources, printed.include_dirs, printed.cflags)
    built = CProgram("net", folder, *files, program.plan.arena_bytes, program.plan.align, sizes[0], sizes[1])
    samples = [tuple(array for case in cases for array in case.samples[i]) for i in range(3)]
    result = run_emulated(built, target, raw_inputs(graph, samples), engine=engine, compiler=compiler)
    for case, found in zip(cases, typed_outputs(graph, result.outputs), strict=True):
        for sample, output in zip(case.samples, found, strict=True):
            np.testing.assert_array_equal(output, run_node(case.node, operands(case, sample))[0], err_msg=describe(case))
    return [call.variant for call in program.calls]


@pytest.mark.parametrize(("target", "engine"), PLACES)
@pytest.mark.parametrize("make", [conv_case, depthwise_case, dense_case, pool_case])
def test_kernels_equal_the_evaluator(make: Maker, target: str, engine: EngineChoice, tmp_path: Path) -> None:
    rng, own = np.random.default_rng(3), "portable." if make is pool_case else FOLDERS[target]
    ran = check([make(rng) for _ in range(30)], load_target(target), own, engine, tmp_path, "auto")
    assert sum(name.startswith(own) for name in ran) >= 0.9 * len(ran), "the kernels under test are hardly used"


@pytest.mark.parametrize(("target", "engine"), PLACES)
def test_channel_tails(target: str, engine: EngineChoice, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    cases = [conv_case(rng, depth, channels) for depth, channels in ((1, 1), (257, 3), (3, 257), (33, 6))]
    check(cases, load_target(target), FOLDERS[target], engine, tmp_path, "auto")


@pytest.mark.parametrize("target", [pytest.param("mps2_an385", marks=[needs_qemu, needs_arm_gcc])])
@pytest.mark.parametrize("make", [conv_case, depthwise_case, dense_case])
def test_portable_kernels_equal_the_evaluator(make: Maker, target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    check([make(rng) for _ in range(20)], load_target(target), "portable.", "qemu", tmp_path, "auto")


@pytest.mark.parametrize("target", FOLDERS)
@pytest.mark.parametrize("make", [conv_case, depthwise_case, dense_case])
def test_zig_compiles_the_same(make: Maker, target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    check([make(rng) for _ in range(12)], load_target(target), FOLDERS[target], "unicorn", tmp_path, "zig")


def test_pairs_of_the_smallest_weights_go_elsewhere() -> None:
    rng = np.random.default_rng(5)
    x, out = value("x", (1, 4, 4, 8), DType.I8, per_tensor(0.02, -128)), per_tensor(0.05, 0)
    w, data = weights(rng, (8, 1, 1, 8), 0, out.scalar_scale)
    for pair, taken in (((-128, -127), True), ((-128, -128), False)):
        data[3, 0, 0, 2:4] = pair
        graph = merged([finish(rng, "conv_2d", x, (w, data.copy()), ConvAttrs(), out)])
        names = [variant.name for variant in candidates(graph, graph.nodes[0], load_target("mps2_an385"))]
        assert ("armv7m.conv_2d_quad_s8" in names) is taken
