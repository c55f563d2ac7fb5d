"""The four MLPerf Tiny models on every kind of core: bytes of tflite-micro, instruction counts, sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtimes.base import RunResult
from runtimes.emulator import run_emulated
from runtimes.host_engine import run_host
from targets.load import load_target
from tests.support.engines import needs_qemu, needs_unicorn
from tests.support.mlperf import MLPERF, MODELS, model_inputs, needs_mlperf, tflite_micro_outputs
from tests.support.programs import compile_c, typed_outputs
from toolchain.frontends.load import load_model
from toolchain.ir.types import Array
from toolchain.lowering.variants import Objective
from toolchain.passes.canonical import canonicalize

pytestmark = needs_mlperf

UNICORN_TARGETS = ("mps2_an385", "mps2_an386", "mps2_an500", "mps2_an505", "rv32_virt", "rp2040_pico")
TFLM_ARENA_BYTES = {"ic": 54_996, "vww": 100_708, "kws": 22_820, "ad": 2_580}


def run_model(
    model: str,
    target: str,
    samples: Array,
    folder: Path,
    objective: Objective = "speed",
    engine: str = "auto",
    count: bool = False,
) -> tuple[Array, RunResult]:
    graph = canonicalize(load_model(MLPERF / f"{model}_int8.tflite"))
    _, program = compile_c(graph, target, folder, model, objective)
    raw = [samples.reshape(len(samples), -1).view(np.uint8)]
    if target == "host":
        result = run_host(program, load_target(target), raw)
    else:
        result = run_emulated(program, load_target(target), raw, engine=engine, count=count)  # type: ignore[arg-type]
    return typed_outputs(graph, result.outputs)[0], result


def check_bytes(model: str, target: str, count: int, folder: Path, objective: Objective = "speed") -> None:
    path = MLPERF / f"{model}_int8.tflite"
    samples = model_inputs(model, load_model(path).inputs[0].type.shape, count)
    outputs, _ = run_model(model, target, samples, folder, objective)
    np.testing.assert_array_equal(outputs, tflite_micro_outputs(path, samples))


@pytest.mark.parametrize("model", MODELS)
def test_host_equals_tflite_micro(model: str, tmp_path: Path) -> None:
    check_bytes(model, "host", 50, tmp_path)


@needs_unicorn
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("target", UNICORN_TARGETS)
def test_emulated_equals_tflite_micro(model: str, target: str, tmp_path: Path) -> None:
    check_bytes(model, target, 4, tmp_path)


@needs_unicorn
@pytest.mark.parametrize("objective", ["size", "balanced", "ram"])
@pytest.mark.parametrize("model", MODELS)
def test_every_objective_equals_tflite_micro(model: str, objective: Objective, tmp_path: Path) -> None:
    check_bytes(model, "mps2_an386", 4, tmp_path, objective)


@needs_qemu
@pytest.mark.parametrize("model", MODELS)
def test_cortex_m55_equals_tflite_micro(model: str, tmp_path: Path) -> None:
    check_bytes(model, "mps3_an547", 4, tmp_path)


@pytest.mark.long
@needs_qemu
@needs_unicorn
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("target", (*UNICORN_TARGETS, "mps3_an547"))
def test_fifty_inputs_equal_tflite_micro(model: str, target: str, tmp_path: Path) -> None:
    check_bytes(model, target, 50, tmp_path)


@needs_qemu
@needs_unicorn
@pytest.mark.parametrize("model", MODELS)
def test_both_emulators_count_the_same(model: str, tmp_path: Path) -> None:
    samples = model_inputs(model, load_model(MLPERF / f"{model}_int8.tflite").inputs[0].type.shape, 2)
    outputs, qemu = run_model(model, "mps2_an386", samples, tmp_path / "qemu", engine="qemu", count=True)
    again, unicorn = run_model(model, "mps2_an386", samples, tmp_path / "unicorn", engine="unicorn", count=True)
    np.testing.assert_array_equal(outputs, again)
    measured, counted = qemu.measurement.instructions, unicorn.measurement.instructions
    assert measured is not None
    assert counted is not None
    assert abs(counted - measured) <= 0.001 * measured
    assert qemu.measurement.arena_bytes <= TFLM_ARENA_BYTES[model]
