"""Programs of known behaviour on every emulated core: bytes, counts, stack, and every way to go wrong."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from firmware.linker import plan_ram
from firmware.program import CProgram
from runtimes.base import RunResult
from runtimes.emulator import choose_engine, emulated_machine, run_emulated
from targets.load import load_target, target_names
from tests.support.c_programs import need_compiler, need_engine, samples, tripled, write_program
from toolchain.errors import DataError, EnvironmentFault, RunError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, TensorType
from toolchain.pipeline import CompileOptions, compile_model

UNICORN = (
    "rp2040_pico",
    "mps2_an385",
    "mps2_an386",
    "mps2_an500",
    "mps2_an505",
    "rv32_virt",
    "microbit",
    "nucleo_h7a3zi",
    "esp32c3",
)
QEMU = (
    "mps2_an385",
    "mps2_an386",
    "mps2_an500",
    "mps2_an505",
    "mps3_an547",
    "ek_ra8d1",
    "rv32_virt",
    "rp2040_pico",
    "stm32f746g_disco",
    "netduinoplus2",
    "stm32vldiscovery",
    "microbit",
    "lm3s811evb",
    "lm3s6965evb",
    "sifive_e",
)
# Accesses to nothing do not fault in these machines of QEMU.
SILENT = ("lm3s811evb", "lm3s6965evb")
PLACES = [(name, "unicorn") for name in UNICORN] + [(name, "qemu") for name in QEMU]
BOTH = [("mps2_an386", "unicorn"), ("mps2_an386", "qemu"), ("rv32_virt", "unicorn"), ("rv32_virt", "qemu")]
# Instructions in one tick of the machine's SysTick; 0: counted exactly.
TICK = {
    "mps2_an385": 40,
    "mps2_an386": 40,
    "mps2_an500": 40,
    "mps2_an505": 50,
    "mps3_an547": 31.25,
    "ek_ra8d1": 31.25,
    "rv32_virt": 0,
    "rp2040_pico": 40,
    "stm32f746g_disco": 40,
    "netduinoplus2": 6,
    "stm32vldiscovery": 42,
    "microbit": 62.5,
    "lm3s811evb": 80,
    "lm3s6965evb": 80,
    "sifive_e": 0,
}

# One instruction, 102,400 loops of two, two instructions.
KNOWN_LOOP_INSTRUCTIONS = 1 + 2 * 102_400 + 2
KNOWN_LOOP = """
__attribute__((naked)) int net_run(void *arena __attribute__((unused))) {
#ifdef __riscv
    __asm__ volatile("lui a1, 25\\n1:\\n\\taddi a1, a1, -1\\n\\tbnez a1, 1b\\n\\tli a0, 0\\n\\tret");
#else
    __asm__ volatile(".syntax unified\\n\\tldr r1, =102400\\n1:"
                     "\\n\\tsubs r1, #1\\n\\tbne 1b\\n\\tmovs r0, #0\\n\\tbx lr\\n\\t.ltorg");
#endif
}
"""

# Branches, calls, multiplications and divisions: over 100,000 instructions on every core.
MIXED = """
static uint32_t __attribute__((noinline)) mix(uint32_t a, uint32_t b) {
    return (a % 3u != 0u) ? a * 2654435761u + b : a / (b | 1u);
}
int net_run(void *arena) {
    const uint8_t *x = arena;
    uint8_t *y = (uint8_t *)arena + 512;
    uint32_t state = 1;
    for (uint32_t i = 0; i < 8000; ++i) { state = mix(state, x[i % 16u] + i); }
    for (uint32_t i = 0; i < 16; ++i) { y[i] = (uint8_t)(state >> (i % 4u * 8u)); }
    return 0;
}
"""

FLOATS = """
static const float weights[16] = {0.5f, 1.5f, -2.5f, 3.25f, 4, 5, -6, 7, 8, 9, 10, -11, 12, 13, 14, 15};
int net_run(void *arena) {
    const uint8_t *x = arena;
    float sum = 0.0f;
    for (int i = 0; i < 16; ++i) { sum += weights[i] * (float)x[i]; }
    memcpy((uint8_t *)arena + 512, &sum, sizeof sum);
    return 0;
}
"""

BIG_STACK = """
__attribute__((noinline)) static uint32_t deep(const uint8_t *x) {
    volatile uint8_t copy[512];
    for (uint32_t i = 0; i < 512; ++i) { copy[i] = x[i % 16u]; }
    return copy[x[0]];
}
int net_run(void *arena) { ((uint8_t *)arena)[512] = (uint8_t)deep(arena); return 0; }
"""

RECURSION = """
__attribute__((noinline)) static uint32_t deeper(volatile uint32_t *depth) {
    volatile uint32_t frame[64];
    frame[0] = ++*depth;
    return frame[0] == 0xffffffffu ? 0u : deeper(depth) + frame[0];
}
int net_run(void *arena) { volatile uint32_t depth = 0; (void)arena; return (int)deeper(&depth); }
"""

# memcpy, memmove and memset at every small offset and length, checked byte by byte.
MEMORY = """
static uint32_t faults(uint8_t *a, uint8_t *b, uint32_t to, uint32_t from, uint32_t bytes) {
    uint32_t bad = 0;
    for (uint32_t i = 0; i < 64; ++i) { a[i] = (uint8_t)(i * 7u); b[i] = 0xee; }
    memcpy(b + to, a + from, bytes);
    for (uint32_t i = 0; i < 64; ++i) { bad += b[i] != ((i >= to && i < to + bytes) ? (uint8_t)((i - to + from) * 7u) : 0xee); }
    memmove(a + to, a + from, bytes);
    for (uint32_t i = 0; i < 64; ++i) { bad += a[i] != (uint8_t)(((i >= to && i < to + bytes) ? i - to + from : i) * 7u); }
    memset(b + to, (int)bytes, bytes);
    for (uint32_t i = 0; i < 64; ++i) { bad += b[i] != ((i >= to && i < to + bytes) ? (uint8_t)bytes : 0xee); }
    return bad + (memcmp(b, a, 64) == 0);
}
int net_run(void *arena) {
    uint8_t *a = (uint8_t *)arena + 128;
    uint32_t bad = 0;
    for (uint32_t to = 0; to < 5; ++to) {
        for (uint32_t from = 0; from < 5; ++from) {
            for (uint32_t bytes = 0; bytes < 40; ++bytes) { bad += faults(a, a + 64, to, from, bytes); }
        }
    }
    ((uint8_t *)arena)[512] = (uint8_t)(bad > 255u ? 255u : bad);
    return 0;
}
"""


def run(folder: Path, place: tuple[str, str], body: str, *, count: bool = False, timeout_s: float = 20.0) -> RunResult:
    target, engine = place
    need_compiler(target, "gcc")
    need_engine(target, engine)
    program = write_program(folder, body)
    return run_emulated(program, load_target(target), [samples(3)], engine=engine, count=count, timeout_s=timeout_s)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "engine", "compiler"),
    [(*place, "gcc") for place in PLACES]
    + [
        ("rp2040_pico", "unicorn", "zig"),
        ("mps2_an386", "unicorn", "zig"),
        ("rv32_virt", "qemu", "zig"),
        ("mps3_an547", "qemu", "zig"),
    ],
)
def test_bytes(tmp_path: Path, target: str, engine: str, compiler: str) -> None:
    need_compiler(target, compiler)
    need_engine(target, engine)
    x = samples(5)
    result = run_emulated(write_program(tmp_path), load_target(target), [x], engine=engine, compiler=compiler)  # type: ignore[arg-type]
    np.testing.assert_array_equal(result.outputs[0], tripled(x))
    measured = result.measurement
    assert measured.instructions is None
    assert measured.runtime.startswith(f"{engine} ")
    assert measured.device.startswith(target)
    assert measured.arena_bytes == 1024


@pytest.mark.parametrize("place", PLACES)
def test_floats_equal_the_exact_sum(tmp_path: Path, place: tuple[str, str]) -> None:
    weights = np.array([0.5, 1.5, -2.5, 3.25, 4, 5, -6, 7, 8, 9, 10, -11, 12, 13, 14, 15], np.float32)
    result = run(tmp_path, place, FLOATS)
    found = np.ascontiguousarray(result.outputs[0][:, :4]).view(np.float32)[:, 0]
    np.testing.assert_array_equal(found, samples(3).astype(np.float32) @ weights)


@pytest.mark.parametrize("place", PLACES)
def test_known_loop_is_counted(tmp_path: Path, place: tuple[str, str]) -> None:
    target, engine = place
    found = run(tmp_path, place, KNOWN_LOOP, count=True).measurement.instructions
    assert found is not None
    assert abs(found - KNOWN_LOOP_INSTRUCTIONS) <= (TICK[target] if engine == "qemu" else 0)


@pytest.mark.parametrize("target", sorted(set(UNICORN) & set(QEMU)))
def test_unicorn_and_qemu_agree(tmp_path: Path, target: str) -> None:
    one = run(tmp_path / "a", (target, "unicorn"), MIXED, count=True)
    two = run(tmp_path / "b", (target, "qemu"), MIXED, count=True)
    np.testing.assert_array_equal(one.outputs[0], two.outputs[0])
    assert one.measurement.instructions is not None
    assert two.measurement.instructions is not None
    assert one.measurement.instructions > 100_000
    assert abs(one.measurement.instructions - two.measurement.instructions) <= one.measurement.instructions / 1000
    assert one.measurement.stack_bytes == two.measurement.stack_bytes
    assert one.measurement.outputs_sha256 == two.measurement.outputs_sha256


@pytest.mark.parametrize("place", PLACES)
def test_stack_is_seen(tmp_path: Path, place: tuple[str, str]) -> None:
    used = run(tmp_path, place, BIG_STACK).measurement.stack_bytes
    assert used is not None
    assert 512 <= used <= 640


@pytest.mark.parametrize("place", [("rp2040_pico", "unicorn"), *BOTH, ("mps3_an547", "qemu")])
def test_memory_functions(tmp_path: Path, place: tuple[str, str]) -> None:
    assert run(tmp_path, place, MEMORY).outputs[0][:, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("offset", "where"), [(1024, "0 B past"), (1034, "10 B past"), (-1, "1 B below")])
def test_write_beside_the_arena(tmp_path: Path, place: tuple[str, str], offset: int, where: str) -> None:
    body = f"int net_run(void *arena) {{ ((volatile uint8_t *)arena)[{offset}] = 1; return 0; }}"
    with pytest.raises(RunError, match=rf"E503 net: it wrote {where}"):
        run(tmp_path, place, body)


@pytest.mark.parametrize("place", PLACES)
def test_endless_loop_ends(tmp_path: Path, place: tuple[str, str]) -> None:
    begun = time.monotonic()
    with pytest.raises(RunError, match="E501 net"):
        run(tmp_path, place, 'int net_run(void *arena) { (void)arena; for (;;) { __asm__ volatile(""); } }', timeout_s=0.5)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("count", [False, True])
def test_endless_loop_names_the_function(tmp_path: Path, count: bool) -> None:
    with pytest.raises(RunError, match=r"net_run is at 0x[0-9a-f]+ \(net_run\+0x"):
        body = 'int net_run(void *arena) { (void)arena; for (;;) { __asm__ volatile(""); } }'
        run(tmp_path, ("mps2_an386", "unicorn"), body, timeout_s=0.3, count=count)


@pytest.mark.parametrize("place", [place for place in PLACES if place[0] not in SILENT])
def test_bad_access_faults(tmp_path: Path, place: tuple[str, str]) -> None:
    body = "int net_run(void *arena) { (void)arena; *(volatile uint32_t *)(uintptr_t)0xe8000000u = 1u; return 0; }"
    with pytest.raises(RunError, match=r"E502 net: .*\(net_run\+0x"):
        run(tmp_path, place, body)


@pytest.mark.parametrize("place", PLACES)
def test_stack_overflow_faults(tmp_path: Path, place: tuple[str, str]) -> None:
    stack = plan_ram(write_program(tmp_path / "same"), load_target(place[0])).stack_bytes
    assert stack == 32_768 or load_target(place[0]).ram.bytes <= 16_384
    with pytest.raises(RunError, match=f"E502 net: it used all {stack:,} B of its stack"):
        run(tmp_path, place, RECURSION, timeout_s=5)


@pytest.mark.parametrize("place", BOTH)
def test_status_is_reported(tmp_path: Path, place: tuple[str, str]) -> None:
    with pytest.raises(RunError, match="E502 net: net_run returned -7"):
        run(tmp_path, place, "int net_run(void *arena) { (void)arena; return -7; }")


@pytest.mark.parametrize("place", BOTH)
def test_buffer_outside_the_arena(tmp_path: Path, place: tuple[str, str]) -> None:
    target, engine = place
    need_compiler(target, "gcc")
    need_engine(target, engine)
    program = write_program(tmp_path)
    source = program.root / "c/net.c"
    source.write_text(source.read_text().replace("(const uint8_t *)arena + 512;", "(const uint8_t *)arena + 1009;"))
    with pytest.raises(RunError, match="E503 net: an input or output buffer"):
        run_emulated(program, load_target(target), [samples(1)], engine=engine)  # type: ignore[arg-type]


def test_program_larger_than_the_first_flash(tmp_path: Path) -> None:
    body = (
        "static const uint8_t big[600000] = {1, 2};\n"
        + "int net_run(void *arena) { uint8_t *a = arena; a[512] = big[a[0] % 2u]; return 0; }"
    )
    result = run(tmp_path, ("mps3_an547", "qemu"), body)
    np.testing.assert_array_equal(result.outputs[0][:, 0], 1 + samples(3)[:, 0] % 2)
    assert result.measurement.rodata_bytes is not None
    assert 600_000 <= result.measurement.rodata_bytes < 600_100


def test_work_folder_keeps_the_files(tmp_path: Path) -> None:
    need_compiler("mps2_an386", "gcc")
    need_engine("mps2_an386", "qemu")
    program, work = write_program(tmp_path / "bundle"), tmp_path / "work"
    run_emulated(program, load_target("mps2_an386"), [samples(2)], engine="qemu", work_dir=work)
    assert (work / "input.bin").read_bytes()[8:] == samples(2).tobytes()
    assert (work / "result.bin").stat().st_size > 32


@pytest.mark.parametrize(
    ("array", "number"),
    [
        (np.zeros((0, 16), np.uint8), 203),
        (np.zeros((2, 15), np.uint8), 201),
        (np.zeros((16,), np.uint8), 201),
        (np.zeros((2, 16), np.int8), 202),
    ],
)
def test_wrong_samples(tmp_path: Path, array: np.ndarray, number: int) -> None:
    need_compiler("mps2_an386", "gcc")
    need_engine("mps2_an386", "unicorn")
    with pytest.raises(DataError) as fault:
        run_emulated(write_program(tmp_path), load_target("mps2_an386"), [array], engine="unicorn")
    assert fault.value.number == number


def test_choice_of_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("unicorn")
    assert choose_engine(load_target("mps2_an386"), "auto") == "qemu"
    assert choose_engine(load_target("rp2040_pico"), "auto") == "unicorn"
    with pytest.raises(EnvironmentFault, match="E403 mps3_an547: unicorn has no such core"):
        choose_engine(load_target("mps3_an547"), "unicorn")
    with pytest.raises(EnvironmentFault, match="E403 host: unicorn has no such core and QEMU has no such machine"):
        choose_engine(load_target("host"), "auto")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvironmentFault, match="E403 mps2_an386: QEMU is not installed"):
        choose_engine(load_target("mps2_an386"), "qemu")


def test_boards_that_qemu_has_not_run_on_a_machine_of_it() -> None:
    machine = emulated_machine(load_target("ek_ra8d1"), "qemu")
    assert machine.name == "mps3_an547"
    assert machine.core.name == "cortex-m85"
    target = load_target("nucleo_l4r5zi")
    assert emulated_machine(target, "unicorn") is target
    for known in map(load_target, target_names()):
        elsewhere = known.name == "host" or known.core.linux or not known.takes_c
        assert elsewhere or emulated_machine(known, "qemu").qemu is not None


@pytest.mark.parametrize("target", ["mps2_an386", "mps2_an505", "mps3_an547", "rp2040_pico", "microbit", "lm3s811evb"])
def test_unaligned_access_faults_under_qemu(tmp_path: Path, target: str) -> None:
    load = "ldr %0, [%2]" if target in ("rp2040_pico", "microbit") else "ldrd %0, %1, [%2]"
    body = f"""int net_run(void *arena) {{
        uint32_t a = 0, b = 0;
        __asm__ volatile("{load}" : "+r"(a), "+r"(b) : "r"((uint8_t *)arena + 2));
        return (int)((a | b) & 0u);
    }}"""
    with pytest.raises(RunError, match=r"E502 net: it faulted at 0x[0-9a-f]+ \(net_run"):
        run(tmp_path, (target, "qemu"), body)


@pytest.mark.parametrize("engine", ["qemu", "unicorn"])
def test_caller_owned_buffers(engine: str, tmp_path: Path) -> None:
    need_compiler("mps2_an386", "gcc")
    need_engine("mps2_an386", engine)
    x = Value("x", TensorType((1, 4), DType.F32))
    graph = Graph("net", (x,), (make_node("abs", (x,), ("y",)).output,), (make_node("abs", (x,), ("y",)),))
    compiled = compile_model(graph, load_target("mps2_an386"), CompileOptions("net", ("c",), io="caller"))
    for path, content in compiled.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    program = CProgram("net", tmp_path, "c/net.h", ("c/net.c",), ("c",), ("-O2",), 16, 16, (16,), (16,), "caller")
    samples = np.array([[1.5, -2.0, 0.0, -7.25]], np.float32)
    result = run_emulated(program, load_target("mps2_an386"), [samples.view(np.uint8)], engine=engine)  # type: ignore[arg-type]
    np.testing.assert_array_equal(result.outputs[0].view(np.float32), np.abs(samples))
