"""Kernels of every core on parts of larger buffers: cores that cannot load unaligned words must not be asked to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.support.c_programs import need_engine
from tests.support.part_graphs import layers_on_parts
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from toolchain.lowering.check_memory import faults
from toolchain.lowering.views import views_of
from toolchain.reference.evaluator import run

PLACES = [
    ("rp2040_pico", "qemu"),
    ("mps2_an385", "qemu"),
    ("mps2_an386", "unicorn"),
    ("mps3_an547", "qemu"),
    ("rv32_virt", "qemu"),
]


@pytest.mark.parametrize(("name", "engine"), PLACES)
def test_layers_on_parts(name: str, engine: str, tmp_path: Path) -> None:
    need_engine(name, engine)
    graph, target = layers_on_parts(), load_target(name)
    rng = np.random.default_rng(3)
    samples = [(rng.integers(-128, 128, graph.inputs[0].type.shape).astype(np.int8),) for _ in range(3)]
    compiled, program = compile_c(graph, target, tmp_path)
    assert compiled.program is not None
    assert faults(compiled.program) == []
    offsets = [within for _, within in views_of(compiled.program.graph).places.values() if within]
    assert sum(within % 8 != 0 for within in offsets) >= 3
    found = run_emulated(program, target, raw_inputs(graph, samples), engine=engine)
    for sample, output in zip(samples, typed_outputs(graph, found.outputs)[0], strict=True):
        np.testing.assert_array_equal(output, run(graph, sample)[0])
