"""Float and plain integer kernels on emulated cores, with and without an FPU: within tolerance, linked without libm."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from firmware.compilers import CompilerChoice
from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.property.cases import CELLS, FLOAT32, PLAIN
from tests.support.engines import needs_arm_gcc, needs_qemu
from tests.support.float_cases import assert_close
from tests.support.kernel_cases import Case, describe, drawn_case, merged, operands
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from toolchain.reference.evaluator import run_node

TABLE = [(op, cell) for op, cells in CELLS.items() for cell in cells if cell in (FLOAT32, PLAIN)]


def one_of_each() -> list[Case]:
    return [drawn_case(op, cell, zlib.crc32(f"{op} on a core".encode()) % 1_000_000) for op, cell in TABLE]


@needs_qemu
@needs_arm_gcc
@pytest.mark.parametrize(
    ("target", "compiler"),
    [
        *(("mps2_an386", "gcc"), ("mps2_an385", "gcc"), ("rv32_virt", "gcc"), ("rp2040_pico", "gcc")),
        *(("mps2_an386", "zig"), ("rv32_virt", "zig")),
    ],
)
def test_every_operation(target: str, compiler: CompilerChoice, tmp_path: Path) -> None:
    cases = one_of_each()
    graph = merged(cases)
    _, program = compile_c(graph, target, tmp_path)
    sample = [array for case in cases for array in case.samples[0]]
    result = run_emulated(program, load_target(target), raw_inputs(graph, [sample]), compiler=compiler)
    found = dict(zip((v.name for v in graph.outputs), typed_outputs(graph, result.outputs), strict=True))
    for index, case in enumerate(cases):
        expected = run_node(case.node, operands(case, case.samples[0]))
        for wanted, output in zip(expected, case.node.outputs, strict=True):
            assert_close(found[f"n{index}_{output.name}"][0], wanted, describe(case))
