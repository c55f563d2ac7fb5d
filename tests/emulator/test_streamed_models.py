"""The MLPerf Tiny models in little RAM on a Cortex-M4: the bytes of tflite-micro in a third of its arena, for little work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.support.engines import needs_qemu, needs_unicorn
from tests.support.mlperf import MLPERF, model_inputs, needs_mlperf, tflite_micro_outputs
from tests.support.programs import compile_c, typed_outputs
from toolchain.frontends.load import load_model
from toolchain.lowering.check_memory import faults

pytestmark = needs_mlperf

# Arena bytes, and instructions over those of programs for speed.
BARS = {"ic": (19_000, 1.04), "vww": (31_000, 1.05), "kws": (8_200, 1.12), "ad": (768, 1.0)}
STACK_BYTES = 1024


@needs_unicorn
@needs_qemu
@pytest.mark.parametrize("model", BARS)
def test_little_ram_for_little_work(model: str, tmp_path: Path) -> None:
    path = MLPERF / f"{model}_int8.tflite"
    graph, target = load_model(path), load_target("mps2_an386")
    samples = model_inputs(model, graph.inputs[0].type.shape, 3)
    raw = [samples.reshape(len(samples), -1).view(np.uint8)]
    expected = tflite_micro_outputs(path, samples)
    _, fast = compile_c(graph, target, tmp_path / "speed", model, "speed")
    least = run_emulated(fast, target, raw, engine="unicorn", count=True).measurement.instructions
    compiled, program = compile_c(graph, target, tmp_path / "ram", model, "ram")
    found = run_emulated(program, target, raw, engine="unicorn", count=True)
    np.testing.assert_array_equal(typed_outputs(graph, found.outputs)[0], expected)
    assert compiled.program is not None
    assert faults(compiled.program) == []
    arena, more = BARS[model]
    taken, stack = found.measurement.instructions, found.measurement.stack_bytes
    assert taken is not None
    assert least is not None
    assert stack is not None
    print(f"{model}: arena {program.arena_bytes:,} B, {taken / least:.4f} of the instructions for speed, stack {stack:,} B")
    assert program.arena_bytes <= arena
    assert taken <= more * least
    assert stack <= STACK_BYTES
    under_qemu = run_emulated(program, target, raw, engine="qemu")
    np.testing.assert_array_equal(typed_outputs(graph, under_qemu.outputs)[0], expected)
