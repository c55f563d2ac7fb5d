"""Dynamic range kernels: the same float32 as the evaluator on every bit, on all cores, for all that may come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware.compilers import CompilerChoice
from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.support.engines import needs_arm_gcc
from tests.support.float_cases import FLAGS
from tests.support.kernel_cases import build, run_program
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from tests.support.stored_graphs import samples_of, stored_layers
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType
from toolchain.lowering.lower import lower
from toolchain.passes.dynamic_range import with_dynamic_range
from toolchain.reference.evaluator import run

OPS = ("conv_2d", "fully_connected", "depthwise_conv_2d")


def layers(seed: int, each: int = 4) -> Graph:
    return with_dynamic_range(stored_layers(seed, (DType.I8,), OPS, each=each, blocks=(None,)))


def on_host(graph: Graph, sample: list[Array], folder: Path) -> dict[str, Array]:
    return run_program(build(graph, folder, FLAGS), graph, [b"".join(array.tobytes() for array in sample)])[0]


@pytest.mark.parametrize("seed", range(6))
def test_on_the_host(seed: int, tmp_path: Path) -> None:
    graph = layers(seed)
    sample = samples_of(graph, seed)
    found = on_host(graph, sample, tmp_path)
    for output, wanted in zip(graph.outputs, run(graph, sample), strict=True):
        np.testing.assert_array_equal(found[output.name].reshape(wanted.shape), wanted)


@needs_arm_gcc
@pytest.mark.parametrize(
    ("target", "compiler"),
    [("mps2_an386", "gcc"), ("mps2_an386", "zig"), ("mps2_an500", "gcc"), ("mps2_an385", "gcc"), ("rp2040_pico", "gcc")],
)
def test_on_cores(target: str, compiler: CompilerChoice, tmp_path: Path) -> None:
    graph = layers(77)
    sample = samples_of(graph, 1)
    _, program = compile_c(graph, target, tmp_path)
    ran = run_emulated(program, load_target(target), raw_inputs(graph, [sample]), engine="unicorn", compiler=compiler)
    for array, wanted in zip(typed_outputs(graph, ran.outputs), run(graph, sample), strict=True):
        np.testing.assert_array_equal(array[0].reshape(wanted.shape), wanted)


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 0.0, 1e-38, 3e38, "all nan"])
def test_odd_inputs_come_to_what_the_evaluator_says(odd: float | str, tmp_path: Path) -> None:
    graph = layers(3, each=2)
    sample = samples_of(graph, 3)
    for array in sample:
        if odd == "all nan":
            array[...] = np.nan
        elif odd in (0.0, 1e-38):
            array[...] = odd
        else:
            array.reshape(-1)[:: max(array.size // 3, 1)] = odd
    found = on_host(graph, sample, tmp_path)
    for output, wanted in zip(graph.outputs, run(graph, sample), strict=True):
        np.testing.assert_array_equal(found[output.name].reshape(wanted.shape), wanted)


def test_the_dsp_extension_is_used_where_there_are_no_groups() -> None:
    calls = lower(layers(5), load_target("mps2_an386")).calls
    used = {(call.node.op, call.variant.split(".")[0]) for call in calls}
    assert ("dynamic_fully_connected", "armv7em") in used
    assert ("dynamic_depthwise_conv_2d", "portable") in used
