"""Several memories in emulators: the bytes of the evaluator, guards in every memory, and fewer accesses to slow ones."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware.build import build_firmware
from firmware.compilers import find_compiler
from firmware.program import CProgram
from runtimes.base import Bytes
from runtimes.emulator import run_emulated
from runtimes.unicorn_engine import _Machine  # pyright: ignore[reportPrivateUsage]
from targets.load import load_target
from targets.model import Memory, Target
from tests.support.engines import needs_arm_gcc, needs_qemu, needs_unicorn
from tests.support.mlperf import MLPERF, model_inputs, needs_mlperf, tflite_micro_outputs
from tests.support.programs import compile_c, typed_outputs
from toolchain.errors import StropError
from toolchain.frontends.load import load_model
from toolchain.lowering.check_memory import faults
from toolchain.lowering.lower import InterfaceMode
from toolchain.lowering.variants import Objective

pytestmark = [needs_unicorn, needs_arm_gcc]
DISCO = load_target("stm32f746g_disco")


def data_accesses(program: CProgram, target: Target, sample: Bytes) -> dict[str, int]:
    """Loads and stores of one inference by memory, without those on the stack."""
    machine = _Machine(program, target, build_firmware(program, target, find_compiler(target)), 100.0)
    machine.call("init")
    unicorn: Any = importlib.import_module("unicorn")
    counts = {memory.name: 0 for memory in target.memories}
    low, high = machine._stack

    def seen(_uc: object, _kind: int, address: int, *_: object, at: str) -> None:
        counts[at] += not low <= address < high

    for memory in target.memories:

        def hook(*event: Any, at: str = memory.name) -> None:
            seen(*event, at=at)

        kind = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
        machine._uc.hook_add(kind, hook, begin=memory.base, end=memory.base + memory.bytes - 1)
    machine.write_input(0, sample.tobytes())
    counts = dict.fromkeys(counts, 0)
    assert machine.call("run") == 0
    return counts


@needs_mlperf
@pytest.mark.parametrize(
    ("name", "target", "memories", "copy", "io", "objective", "engine"),
    [
        pytest.param("ic", "mps3_an547", {"isram": 9_000, "dtcm": None}, False, "arena", "ram", "qemu", marks=needs_qemu),
        pytest.param("kws", "mps3_an547", {"isram": 3_000, "dtcm": 4_000}, False, "rows", "ram", "qemu", marks=needs_qemu),
        ("vww", "stm32f746g_disco", {"sram": 30_000, "itcm": None}, True, "arena", "speed", "unicorn"),
        pytest.param("vww", "stm32f746g_disco", {"sram": 30_000, "itcm": None}, True, "arena", "speed", "qemu", marks=needs_qemu),
        ("kws", "stm32f746g_disco", {"itcm": None}, True, "caller", "balanced", "unicorn"),
        ("ad", "nucleo_h7a3zi", {"axi_sram": 260, "dtcm": 500, "itcm": 2_000, "ahb_sram": 300}, False, "arena", "ram", "unicorn"),
    ],
)
def test_networks_in_several_memories(
    name: str,
    target: str,
    memories: dict[str, int | None],
    copy: bool,
    io: InterfaceMode,
    objective: Objective,
    engine: str,
    tmp_path: Path,
) -> None:
    path, device = MLPERF / f"{name}_int8.tflite", load_target(target)
    graph = load_model(path)
    compiled, program = compile_c(graph, device, tmp_path, "net", objective, io, memories, copy_weights=copy)
    assert compiled.program is not None
    plan = compiled.program.plan
    assert faults(compiled.program) == []
    assert {bank.memory for bank in plan.further} == set(memories) - {device.ram.name}
    assert bool(plan.copied) == copy
    inputs = model_inputs(name, graph.inputs[0].type.shape, 3)
    raw = [inputs.reshape(len(inputs), -1).view(np.uint8)]
    result = run_emulated(program, device, raw, engine=engine)  # type: ignore[arg-type]
    np.testing.assert_array_equal(typed_outputs(graph, list(result.outputs))[0], tflite_micro_outputs(path, inputs))
    assert result.measurement.arena_bytes == plan.arena_bytes
    print(f"{name} {target} {engine}: {plan.first_bytes:,} B and {[(bank.memory, bank.bytes) for bank in plan.further]}")


@needs_mlperf
def test_copied_weights_spare_accesses_to_flash(tmp_path: Path) -> None:
    graph = load_model(MLPERF / "kws_int8.tflite")
    sample = model_inputs("kws", graph.inputs[0].type.shape, 3)[2].reshape(-1).view(np.uint8)
    found = []
    for copy in (False, True):
        _, program = compile_c(graph, DISCO, tmp_path / str(copy), "net", "speed", "arena", {"sram": 50_000}, copy_weights=copy)
        found.append(data_accesses(program, DISCO, sample))
    print(f"kws: accesses to flash {found[0]['flash']:,}, with 50,000 B of RAM for copies too {found[1]['flash']:,}")
    assert found[1]["flash"] < 0.25 * found[0]["flash"]
    assert sum(found[0].values()) == pytest.approx(sum(found[1].values()), rel=0.01)


@needs_mlperf
def test_slow_memory_holds_what_is_touched_least(tmp_path: Path) -> None:
    """A slow memory that holds everything, and 8 KiB of a fast one."""
    slow = Memory("sdram", 0x2000_0000, 320 * 1024, 6, "ram")
    fast = Memory("fast", 0x3000_0000, 8 * 1024, 0, "ram")
    target = replace(DISCO, memories=(slow, fast, DISCO.flash))
    graph = load_model(MLPERF / "ic_int8.tflite")
    sample = model_inputs("ic", graph.inputs[0].type.shape, 3)[2].reshape(-1).view(np.uint8)
    found = []
    for memories in ({}, {"fast": None}):
        _, program = compile_c(graph, target, tmp_path / str(len(memories)), "net", "speed", "arena", memories)
        found.append(data_accesses(program, target, sample))
    print(f"ic: accesses to slow memory {found[0]['sdram']:,}, with 8 KiB of fast memory {found[1]['sdram']:,}")
    assert found[1]["sdram"] < 0.5 * found[0]["sdram"]


def test_a_write_behind_a_further_arena_is_seen(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c/net.h").write_text(
        "#include <stdint.h>\nint net_init(void *arena, void *arena_1);\nuint8_t *net_input_0(void *arena);\n"
        "int net_run(void *arena);\nconst uint8_t *net_output_0(const void *arena);\n"
    )
    (tmp_path / "c/net.c").write_text(
        '#include "net.h"\nint net_init(void *arena, void *arena_1) { *(uint8_t **)arena = arena_1; return 0; }\n'
        "uint8_t *net_input_0(void *arena) { return *(uint8_t **)arena; }\n"
        "int net_run(void *arena) { (*(uint8_t **)arena)[64] = 1; return 0; }\n"
        "const uint8_t *net_output_0(const void *arena) { return (const uint8_t *)arena + 16; }\n"
    )
    program = CProgram("net", tmp_path, "c/net.h", ("c/net.c",), ("c",), ("-O2",), 64, 16, (16,), (16,), further=(("itcm", 64),))
    with pytest.raises(StropError, match="0 B past its end"):
        run_emulated(program, DISCO, [np.zeros((1, 16), np.uint8)], engine="unicorn")
