"""The instructions of every call of a program, by both emulators."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from runtimes.emulator import profile_emulated, run_emulated
from targets.load import load_target
from tests.support.engines import needs_arm_gcc, needs_qemu, needs_unicorn
from tests.support.kernel_cases import Case, merged
from tests.support.programs import compile_c
from toolchain.ir.attrs import ActivationAttrs
from toolchain.ir.graph import Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, TensorType, per_tensor

SIZES = (16, 160, 1600)


def add_case(size: int) -> Case:
    a, b = (Value(name, TensorType((1, size), DType.I8, per_tensor(0.02, 3))) for name in "ab")
    node = make_node("add", (a, b), ("y",), ActivationAttrs(), per_tensor(0.05, -4))
    return Case(node, ())


@needs_qemu
@needs_unicorn
@needs_arm_gcc
@pytest.mark.parametrize("target", ["mps2_an386", "rv32_virt"])
def test_calls_are_told_apart(target: str, tmp_path: Path) -> None:
    graph = merged([add_case(size) for size in SIZES])
    _, program = compile_c(graph, target, tmp_path)
    rng = np.random.default_rng(1)
    sample = [rng.integers(0, 256, value.type.bytes, dtype=np.uint8) for value in graph.inputs]
    raw = [array.tobytes() for array in sample]
    engines: tuple[Literal["qemu", "unicorn"], ...] = ("qemu", "unicorn")
    found = {
        engine: [call.instructions for call in profile_emulated(program, load_target(target), raw, engine=engine)]
        for engine in engines
    }
    # Ticks are seen up to a poll of four instructions late, at both ends of a call.
    assert found["qemu"] == pytest.approx(found["unicorn"], abs=8)
    small, middle, large = found["unicorn"]
    assert large - middle == pytest.approx(10 * (middle - small), rel=0.01)
    counted = run_emulated(program, load_target(target), [array.reshape(1, -1) for array in sample], engine="unicorn", count=True)
    total = counted.measurement.instructions
    assert total is not None
    assert sum(found["unicorn"]) <= total <= sum(found["unicorn"]) + 60


@needs_unicorn
@needs_arm_gcc
def test_calls_have_cycles_where_they_are_modelled(tmp_path: Path) -> None:
    graph = merged([add_case(size) for size in SIZES])
    _, program = compile_c(graph, "mps2_an386", tmp_path)
    raw = [bytes(value.type.bytes) for value in graph.inputs]
    target = load_target("mps2_an386")
    calls = profile_emulated(program, target, raw)
    cycles = [call.cycles or 0 for call in calls]
    assert all(call.instructions < took for call, took in zip(calls, cycles, strict=True))
    assert cycles[2] - cycles[1] == pytest.approx(10 * (cycles[1] - cycles[0]), rel=0.02)
    inputs = [np.zeros((1, len(data)), np.uint8) for data in raw]
    whole = run_emulated(program, target, inputs, engine="unicorn", count=True).measurement.cycles
    assert whole is not None
    assert sum(cycles) <= whole <= sum(cycles) + 100
