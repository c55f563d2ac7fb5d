"""Kernels that read float16, int8 and int4 weights as they are stored, against the same layers on float32 weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware.compilers import CompilerChoice
from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.support.engines import needs_arm_gcc
from tests.support.float_cases import FLAGS, assert_close
from tests.support.kernel_cases import build, run_program
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from tests.support.stored_graphs import samples_of, stored_layers, written_out
from toolchain.ir.types import DType
from toolchain.lowering.lower import lower
from toolchain.reference.evaluator import evaluate, run

HOST = load_target("host")


@pytest.mark.parametrize("seed", range(6))
def test_on_the_host(seed: int, tmp_path: Path) -> None:
    graph = stored_layers(seed)
    sample = samples_of(graph, seed)
    found = run_program(build(graph, tmp_path, FLAGS), graph, [b"".join(array.tobytes() for array in sample)])[0]
    wanted = evaluate(written_out(graph), sample)
    for output in graph.outputs:
        assert_close(found[output.name], wanted[output.name], f"{output.name} of seed {seed}")


@needs_arm_gcc
@pytest.mark.parametrize(
    ("target", "compiler"), [("mps2_an386", "gcc"), ("mps2_an386", "zig"), ("mps2_an385", "gcc"), ("rp2040_pico", "gcc")]
)
def test_on_cores(target: str, compiler: CompilerChoice, tmp_path: Path) -> None:
    graph = stored_layers(77, each=2)
    sample = samples_of(graph, 1)
    _, program = compile_c(graph, target, tmp_path)
    ran = run_emulated(program, load_target(target), raw_inputs(graph, [sample]), engine="unicorn", compiler=compiler)
    found = typed_outputs(graph, ran.outputs)
    wanted = evaluate(written_out(graph), sample)
    for output, array in zip(graph.outputs, found, strict=True):
        assert_close(array[0], wanted[output.name], output.name)


def test_the_reference_knows_scales_and_blocks() -> None:
    graph = stored_layers(5)
    sample = samples_of(graph, 5)
    for found, wanted in zip(run(graph, sample), run(written_out(graph), sample), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_nothing_is_unpacked() -> None:
    """Every layer is one call without scratch, and constants take the bits of the stored type, in bytes."""
    for dtype, bits in ((DType.F16, 16), (DType.I8, 8), (DType.I4, 4)):
        graph = stored_layers(3, (dtype,), ("conv_2d", "fully_connected", "transpose_conv_2d"))
        program = lower(graph, HOST)
        assert len(program.calls) == len(graph.outputs)
        assert not any(operand.scratch_bytes for call in program.calls for operand in call.operands)
        for call in program.calls:
            weights = call.operands[1].constant
            assert weights is not None
            rows, elements = call.node.inputs[1].type.shape[0], call.node.inputs[1].type.elements
            assert elements * bits / 8 <= weights.bytes <= elements * bits / 8 + rows / 2, call.node


def test_every_float16_is_exact(tmp_path: Path) -> None:
    """All 63,488 finite ones, as weights of a layer whose input is 1 at one place."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    from toolchain.ir.attrs import ActivationAttrs, CastAttrs
    from toolchain.ir.graph import Graph, Value
    from toolchain.ir.optable import make_node
    from toolchain.ir.types import TensorType, f32

    weights = Value("w", TensorType((len(finite), 1), DType.F16))
    cast = make_node("cast", (weights,), ("real",), CastAttrs(DType.F32))
    x = Value("x", f32(1, 1))
    layer = make_node("fully_connected", (x, cast.output), ("y",), ActivationAttrs())
    graph = Graph("halves", (x,), (layer.output,), (cast, layer), {"w": finite.reshape(-1, 1)})
    found = run_program(build(graph, tmp_path, FLAGS), graph, [np.ones((1, 1), np.float32).tobytes()])[0]["y"]
    np.testing.assert_array_equal(found[0], finite.astype(np.float32))
