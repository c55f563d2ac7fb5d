"""The loader: what the packaged files say, against facts copied by hand from the vendors' manuals, and what broken files give."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from targets.load import load_target, load_target_file, target_names
from targets.model import Linux
from toolchain.errors import TargetError

ROOT = Path(__file__).parents[2]

KIB = 1024
MIB = 1024 * 1024

# name: core, clock in MHz or None, default RAM (base, bytes), default flash (base, bytes), flash wait states, flash method.
FACTS = {
    "mps2_an385": ("cortex-m3", 25, (0x20000000, 4 * MIB), (0, 4 * MIB), 0, "qemu"),
    "mps2_an386": ("cortex-m4f", 25, (0x20000000, 4 * MIB), (0, 4 * MIB), 0, "qemu"),
    "mps2_an500": ("cortex-m7fd", 25, (0x20000000, 4 * MIB), (0, 4 * MIB), 0, "qemu"),
    "mps2_an505": ("cortex-m33", 20, (0x38000000, 4 * MIB), (0x10000000, 4 * MIB), 0, "qemu"),
    "mps3_an547": ("cortex-m55", 32, (0x21000000, 4 * MIB), (0, 512 * KIB), 0, "qemu"),
    "rv32_virt": ("rv32imc", None, (0x82000000, 32 * MIB), (0x80000000, 32 * MIB), 0, "qemu"),
    "netduinoplus2": ("cortex-m4f", 168, (0x20000000, 128 * KIB), (0x08000000, 1 * MIB), 5, "qemu"),
    "stm32vldiscovery": ("cortex-m3", 24, (0x20000000, 8 * KIB), (0x08000000, 128 * KIB), 0, "qemu"),
    "microbit": ("cortex-m0", 16, (0x20000000, 16 * KIB), (0, 256 * KIB), 0, "qemu"),
    "lm3s811evb": ("cortex-m3", 50, (0x20000000, 8 * KIB), (0, 64 * KIB), 0, "qemu"),
    "lm3s6965evb": ("cortex-m3", 50, (0x20000000, 64 * KIB), (0, 256 * KIB), 0, "qemu"),
    "sifive_e": ("rv32imc", None, (0x80000000, 16 * KIB), (0x20400000, 12 * MIB), 0, "qemu"),
    "host": ("host", None, (0x40000000, 1024 * MIB), (0, 1024 * MIB), 0, "none"),
    "nucleo_l4r5zi": ("cortex-m4f", 120, (0x20000000, 640 * KIB), (0x08000000, 2 * MIB), 5, "pyocd"),
    "stm32f746g_disco": ("cortex-m7", 216, (0x20000000, 320 * KIB), (0x08000000, 1 * MIB), 7, "pyocd"),
    "nucleo_h7a3zi": ("cortex-m7fd", 280, (0x24000000, 1 * MIB), (0x08000000, 2 * MIB), 6, "pyocd"),
    "nucleo_u575": ("cortex-m33", 160, (0x20000000, 768 * KIB), (0x08000000, 2 * MIB), 4, "pyocd"),
    "nrf52840_dk": ("cortex-m4f", 64, (0x20000000, 256 * KIB), (0, 1 * MIB), 2, "jlink"),
    "rp2040_pico": ("cortex-m0plus", 125, (0x20000000, 264 * KIB), (0x10000000, 2 * MIB), 0, "uf2"),
    "rp2350_pico2": ("cortex-m33", 150, (0x20000000, 520 * KIB), (0x10000000, 4 * MIB), 0, "uf2"),
    "ek_ra8d1": ("cortex-m85", 480, (0x22000000, 896 * KIB), (0x02000000, 2016 * KIB), 6, "jlink"),
    "esp32c3": ("rv32imc", 160, (0x3FC80000, 384 * KIB), (0x42000000, 4 * MIB), 0, "esptool"),
    "raspberry_pi_5": ("cortex-a76", 2400, (0x80000000, 2048 * MIB), (0, 1024 * MIB), 0, "none"),
    "raspberry_pi_4": ("cortex-a72", 1500, (0x80000000, 1024 * MIB), (0, 1024 * MIB), 0, "none"),
    "raspberry_pi_zero_2w": ("cortex-a53", 1000, (0x80000000, 512 * MIB), (0, 1024 * MIB), 0, "none"),
    "jetson_orin_nano": ("cortex-a78ae", 1500, (0x80000000, 2048 * MIB), (0, 1024 * MIB), 0, "none"),
    "beagleplay": ("cortex-a53", 1400, (0x80000000, 2048 * MIB), (0, 1024 * MIB), 0, "none"),
    "beaglebone_black": ("cortex-a8", 1000, (0x80000000, 512 * MIB), (0, 1024 * MIB), 0, "none"),
    "x86_64_linux": ("x86-64-v3", None, (0x80000000, 2048 * MIB), (0, 1024 * MIB), 0, "none"),
}

# Targets with room for TensorFlow.
SERVERS = ("host", "x86_64_linux", "raspberry_pi_5", "raspberry_pi_4", "jetson_orin_nano")

# core: what `uname -m` says, QEMU's user-mode emulator and its CPU, the ABI of zig's target, a flag of /proc/cpuinfo.
LINUX = {
    "cortex-a76": ("aarch64", "qemu-aarch64", "cortex-a76", "aarch64-linux-gnu.2.17", "asimddp"),
    "cortex-a78ae": ("aarch64", "qemu-aarch64", "cortex-a76", "aarch64-linux-gnu.2.17", "asimddp"),
    "cortex-a72": ("aarch64", "qemu-aarch64", "cortex-a72", "aarch64-linux-gnu.2.17", "asimd"),
    "cortex-a53": ("aarch64", "qemu-aarch64", "cortex-a53", "aarch64-linux-gnu.2.17", "asimd"),
    "cortex-a8": ("armv7l", "qemu-arm", "cortex-a8", "arm-linux-gnueabihf.2.17", "neon"),
    "x86-64-v3": ("x86_64", "qemu-x86_64", "max", "x86_64-linux-gnu.2.17", "avx2"),
}

# name: compute capability, memory in GiB, where its engine is built.
GPUS = {
    "rtx_2080": ((7, 5), 8, "here"),
    "a100": ((8, 0), 40, "here"),
    "a10_rtx3090": ((8, 6), 24, "here"),
    "rtx_4090": ((8, 9), 24, "here"),
    "rtx_5090": ((12, 0), 32, "here"),
    "dgx_spark": ((12, 1), 128, "here"),
    "jetson_orin_nano_gpu": ((8, 7), 8, "there"),
    "jetson_thor_gpu": ((11, 0), 128, "there"),
    "h100": ((9, 0), 80, "there"),
}

# core: first kernel folder, GCC driver, unicorn's model.
CORES = {
    "cortex-m0": ("armv6m", "arm-none-eabi-gcc", "UC_CPU_ARM_CORTEX_M0"),
    "cortex-m0plus": ("armv6m", "arm-none-eabi-gcc", "UC_CPU_ARM_CORTEX_M0"),
    "cortex-m3": ("armv7m", "arm-none-eabi-gcc", "UC_CPU_ARM_CORTEX_M3"),
    "cortex-m4f": ("armv7em", "arm-none-eabi-gcc", "UC_CPU_ARM_CORTEX_M4"),
    "cortex-m7": ("armv7em", "arm-none-eabi-gcc", "UC_CPU_ARM_CORTEX_M7"),
    "cortex-m7fd": ("armv7em", "arm-none-eabi-gcc", "UC_CPU_ARM_CORTEX_M7"),
    "cortex-m33": ("armv7em", "arm-none-eabi-gcc", "UC_CPU_ARM_CORTEX_M33"),
    "cortex-m55": ("mve", "arm-none-eabi-gcc", ""),
    "cortex-m85": ("mve", "arm-none-eabi-gcc", ""),
    "rv32imc": ("rv32im", "riscv64-unknown-elf-gcc", "UC_CPU_RISCV32_ANY"),
    "host": ("portable", "cc", ""),
    "cortex-a76": ("neon_dot", "aarch64-linux-gnu-gcc", ""),
    "cortex-a78ae": ("neon_dot", "aarch64-linux-gnu-gcc", ""),
    "cortex-a72": ("neon", "aarch64-linux-gnu-gcc", ""),
    "cortex-a53": ("neon", "aarch64-linux-gnu-gcc", ""),
    "cortex-a8": ("portable", "arm-linux-gnueabihf-gcc", ""),
    "x86-64-v3": ("x86_64", "x86_64-linux-gnu-gcc", ""),
}

# target: machine, cpu, timer in MHz when it starts, memory apart from programs (base, bytes).
QEMU = {
    "mps2_an385": ("mps2-an385", "cortex-m3", 25, 0x21000000, 16 * MIB),
    "mps2_an386": ("mps2-an386", "cortex-m4", 25, 0x21000000, 16 * MIB),
    "mps2_an500": ("mps2-an500", "cortex-m7", 25, 0x60000000, 16 * MIB),
    "mps2_an505": ("mps2-an505", "cortex-m33", 20, 0x80000000, 16 * MIB),
    "mps3_an547": ("mps3-an547", "cortex-m55", 32, 0x60000000, 256 * MIB),
    "rv32_virt": ("virt", "rv32", 1000, 0x84000000, 64 * MIB),
    "netduinoplus2": ("netduinoplus2", "cortex-m4", 168),
    "stm32vldiscovery": ("stm32vldiscovery", "cortex-m3", 24),
    "microbit": ("microbit", "cortex-m0", 16),
    "lm3s811evb": ("lm3s811evb", "cortex-m3", 12.5),
    "lm3s6965evb": ("lm3s6965evb", "cortex-m3", 12.5),
    "sifive_e": ("sifive_e", "sifive-e31", 1000),
}

# target: driver, base, clock of the port in Hz, baud.
SERIAL = {
    "mps2_an385": ("cmsdk", 0x40004000, 25_000_000, 115_200),
    "mps2_an386": ("cmsdk", 0x40004000, 25_000_000, 115_200),
    "mps2_an500": ("cmsdk", 0x40004000, 25_000_000, 115_200),
    "mps2_an505": ("cmsdk", 0x50200000, 20_000_000, 115_200),
    "mps3_an547": ("cmsdk", 0x59303000, 25_000_000, 115_200),
    "rv32_virt": ("ns16550", 0x10000000, 3_686_400, 230_400),
    "nucleo_l4r5zi": ("stm32_usart2", 0x40008000, 120_000_000, 115_200),
    "stm32f746g_disco": ("stm32_usart2", 0x40011000, 108_000_000, 115_200),
    "nucleo_h7a3zi": ("stm32_usart2", 0x40004800, 140_000_000, 115_200),
    "nucleo_u575": ("stm32_usart2", 0x40013800, 160_000_000, 115_200),
    "nrf52840_dk": ("nrf_uart", 0x40002000, 16_000_000, 115_200),
    "rp2040_pico": ("pl011", 0x40034000, 125_000_000, 115_200),
    "rp2350_pico2": ("pl011", 0x40070000, 150_000_000, 115_200),
    "ek_ra8d1": ("ra_sci_b", 0x40358900, 120_000_000, 115_200),
    "esp32c3": ("esp32_uart", 0x60000000, 40_000_000, 115_200),
    "netduinoplus2": ("stm32_usart1", 0x40011000, 84_000_000, 115_200),
    "stm32vldiscovery": ("stm32_usart1", 0x40013800, 24_000_000, 115_200),
    "microbit": ("nrf_uart", 0x40002000, 16_000_000, 115_200),
    "lm3s811evb": ("pl011", 0x4000C000, 50_000_000, 115_200),
    "lm3s6965evb": ("pl011", 0x4000C000, 50_000_000, 115_200),
    "sifive_e": ("sifive_uart", 0x10013000, 16_000_000, 115_200),
}

# target: set-up of clocks and pins for many boards, crystal in Hz.
SETUP = {"lm3s811evb": ("stellaris", 6_000_000), "lm3s6965evb": ("stellaris", 8_000_000)}


def test_names_are_exactly_the_known_targets() -> None:
    assert target_names() == tuple(sorted({*FACTS, *GPUS, "browser"}))


@pytest.mark.parametrize("name", FACTS)
def test_target_matches_the_manuals(name: str) -> None:
    core, clock_mhz, ram, flash, wait_states, method = FACTS[name]
    target = load_target(name)
    assert target.name == name
    assert target.core.name == core
    assert target.clock_hz == (None if clock_mhz is None else clock_mhz * 1_000_000)
    assert (target.ram.base, target.ram.bytes) == ram
    assert (target.flash.base, target.flash.bytes) == flash
    assert target.flash.wait_states == wait_states
    assert target.flash_tool.method == method
    serial = target.serial
    assert SERIAL.get(name) == (None if serial is None else (serial.driver, serial.base, serial.clock_hz, serial.baud))
    if name in SETUP:
        assert serial is not None
        assert (serial.setup, serial.crystal_hz) == SETUP[name]
    linux = core in LINUX
    boards, others = ("c", "library", "tflite", "onnx"), ("c", "tflite", "onnx" if name == "host" else "tflm")
    assert target.formats == (*(boards if linux else others), *(("savedmodel",) if name in SERVERS else ()))
    assert target.default_formats == (("c", "library", "tflite") if linux else ())


def test_the_browser_takes_no_c() -> None:
    target = load_target("browser")
    assert target.formats == ("tfjs", "litertjs", "tflite", "onnx")
    assert target.default_formats == ("tfjs", "litertjs")
    assert not target.takes_c


@pytest.mark.parametrize("name", GPUS)
def test_gpu_matches_its_data_sheet(name: str) -> None:
    target = load_target(name)
    capability, memory_gib, engine = GPUS[name]
    assert target.gpu is not None
    assert (target.name, target.gpu.capability, target.gpu.engine) == (name, capability, engine)
    assert target.gpu.memory_bytes == memory_gib * KIB**3
    assert f"SM {target.gpu.sm}" in target.description
    assert target.formats == ("tensorrt", "onnx")
    assert not target.takes_c
    assert target.memories == ()
    assert target.clock_hz is None


@pytest.mark.parametrize("name", FACTS)
def test_core_matches_its_instruction_set(name: str) -> None:
    core = load_target(name).core
    assert (core.kernels[0], core.gcc, core.unicorn_cpu) == CORES[core.name]
    assert core.kernels[-1] == "portable"


@pytest.mark.parametrize("name", FACTS)
def test_qemu_machine(name: str) -> None:
    qemu = load_target(name).qemu
    if name not in QEMU:
        assert qemu is None
        return
    assert qemu is not None
    machine, cpu, timer_mhz, *apart = QEMU[name]
    assert (qemu.machine, qemu.cpu, qemu.timer_hz) == (machine, cpu, timer_mhz * 1_000_000)
    assert [qemu.data_base, qemu.data_bytes] == (apart or [0, 0])
    assert qemu.system == ("riscv32" if name in ("rv32_virt", "sifive_e") else "arm")


@pytest.mark.parametrize("name", FACTS)
def test_linux_cores(name: str) -> None:
    core = load_target(name).core
    if core.name not in LINUX:
        assert core.linux is None
        return
    machine, qemu, cpu, abi, flag = LINUX[core.name]
    assert core.linux is not None
    assert dataclasses.replace(core.linux, cpu_flags=()) == Linux(machine, qemu, cpu, ())
    assert core.zig_flags[:2] == ("-target", abi)
    assert flag in core.linux.cpu_flags
    assert ("dotprod" in core.features) == ("asimddp" in core.linux.cpu_flags)
    assert ("avx2" in core.features) == ("avx2" in core.linux.cpu_flags)
    assert core.features & {"neon", "avx2"}


def test_every_core_file_is_used_and_named_after_its_core() -> None:
    files = sorted((ROOT / "targets" / "cores").glob("*.toml"))
    assert [tomllib.loads(file.read_text("utf-8"))["name"] for file in files] == [file.stem for file in files]
    assert {file.stem for file in files} == {load_target(name).core.name for name in FACTS} == set(CORES)


def test_single_precision_only_where_the_chip_has_no_more() -> None:
    double = {name for name in FACTS if "fpu_dp" in load_target(name).core.features}
    boards = {name for name, facts in FACTS.items() if facts[0] in LINUX}
    assert double == {"mps2_an500", "mps3_an547", "nucleo_h7a3zi", "ek_ra8d1"} | boards


def test_target_is_immutable() -> None:
    target = load_target("host")
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.clock_hz = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("mps2-an386", "mps2_an386"), ("MPS2_AN500", "mps2_an500"), ("rp2040", "rp2040_pico"), ("nucleo_l4r5", "nucleo_l4r5zi")],
)
def test_unknown_name_suggests_the_close_one(name: str, suggestion: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(name)
    assert caught.value.code == "E303"
    assert caught.value.place == name
    assert re.search(rf"Did you mean {suggestion}\b", caught.value.hint)


@pytest.mark.parametrize("name", ["", "zzzzzz", "../cores/host", "boards/host", "host\0"])
def test_unknown_name_without_a_close_one_lists_all(name: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(name)
    assert caught.value.number == 303
    assert caught.value.hint.startswith((f"Use one of: {target_names()[0]}, ", "Did you mean host"))


BOARD = """\
name = "my_board"
description = "A board of a user"
core = "cortex-m4f"
clock_hz = 80_000_000
formats = ["c", "tflm"]
source = "its manual"

[memory.sram]
role = "ram"
base = 0x2000_0000
bytes = 65_536
wait_states = 0

[memory.rom]
role = "flash"
base = 0x0800_0000
bytes = 262_144
wait_states = 3

[qemu]
system = "arm"
machine = "some-machine"
cpu = "cortex-m4"
timer_hz = 25_000_000
data_base = 0x6000_0000
data_bytes = 4096

[flash_tool]
method = "openocd"
chip = "interface/my.cfg"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "board.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_users_board_file_loads_by_path(tmp_path: Path) -> None:
    path = write(tmp_path, BOARD)
    target = load_target(str(path))
    assert target == load_target_file(path)
    assert (target.name, target.core.name, target.clock_hz, target.formats) == (
        "my_board",
        "cortex-m4f",
        80_000_000,
        ("c", "tflm"),
    )
    assert [(m.name, m.base, m.bytes, m.wait_states, m.role) for m in target.memories] == [
        ("sram", 0x20000000, 65536, 0, "ram"),
        ("rom", 0x08000000, 262144, 3, "flash"),
    ]
    assert target.flash_tool.chip == "interface/my.cfg"


def test_adjacent_memories_do_not_overlap(tmp_path: Path) -> None:
    path = write(tmp_path, BOARD.replace("base = 0x0800_0000", "base = 0x2001_0000"))
    assert load_target_file(path).flash.base == 0x20010000


GPU = """\
name = "my_gpu"
description = "A GPU of a user"
formats = ["tensorrt", "onnx"]
source = "its data sheet"

[gpu]
compute_capability = "8.6"
memory_bytes = 1_000_000
engine = "here"
"""


def test_a_gpu_has_no_core_and_formats_of_c_need_one(tmp_path: Path) -> None:
    target = load_target_file(write(tmp_path, GPU))
    assert target.gpu is not None
    assert (target.gpu.sm, target.gpu.memory_bytes, target.core.name) == (86, 1_000_000, "none")
    for old, new, said in (
        ('"tensorrt",', '"c",', "key 'core' is missing"),
        ('"8.6"', '"86"', "key 'gpu.compute_capability' is '86'"),
        ('"8.6"', "8.6", "key 'gpu.compute_capability' must be a string"),
        ('"here"', '"elsewhere"', "key 'gpu.engine' is 'elsewhere'"),
        ("1_000_000", "0", "key 'gpu.memory_bytes' is 0"),
        ("[gpu]", "[gpu]\nname = 1", "key 'gpu.name' is unknown"),
    ):
        with pytest.raises(TargetError, match=re.escape(said)) as refused:
            load_target_file(write(tmp_path, GPU.replace(old, new)))
        assert refused.value.number == 304


# Page and unit bytes, and how much of slots, state pages and boot loader the flash holds: ST RM0432, Nordic's NVMC.
UPDATES = {
    "mps2_an385": (4096, 8, 0x2100_0000, 1 << 20),
    "mps2_an386": (4096, 8, 0x2100_0000, 1 << 20),
    "nucleo_l4r5zi": (4096, 8, 0x0800_4000, (2 << 20) - 0x4000),
    "nrf52840_dk": (4096, 4, 0x4000, (1 << 20) - 0x4000),
}


@pytest.mark.parametrize("name", FACTS)
def test_places_of_updates(name: str) -> None:
    update = load_target(name).update
    assert UPDATES.get(name) == (None if update is None else (update.page_bytes, update.unit_bytes, update.base, update.bytes))
    if update is not None:
        assert update.slot(0) == update.base + 2 * update.page_bytes
        assert update.slot_bytes % update.page_bytes == 0
        assert update.base + update.bytes - 2 * update.page_bytes < update.slot(1) + update.slot_bytes
        assert update.slot(1) + update.slot_bytes <= update.base + update.bytes


UPDATE = """
[update]
driver = "stm32l4"
controller = 0x4002_2000
boot_bytes = 16_384
base = 0x0800_4000
bytes = 131_072
page_bytes = 4096
unit_bytes = 8
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"stm32l4"', '"other"', "key 'update.driver' is 'other'"),
        ("0x0800_4000", "0x0800_4100", "key 'update.base' is 134234368"),
        ("0x0800_4000", "0x0800_3000", "key 'update.base' is 0x8003000, where the boot loader lies"),
        ("131_072", "16_383", "key 'update.bytes' is 16383"),
        ("unit_bytes = 8", "unit_bytes = 6", "key 'update.unit_bytes' is 6"),
        ("page_bytes = 4096", "page_bytes = 1000", "key 'update.base' is"),
        ("unit_bytes = 8\n", "", "key 'update.unit_bytes' is missing"),
        ("[update]", "[update]\nname = 1", "key 'update.name' is unknown"),
    ],
)
def test_wrong_places_of_updates_are_errors(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert load_target_file(write(tmp_path, BOARD + UPDATE)).update is not None
    with pytest.raises(TargetError, match=re.escape(said)) as refused:
        load_target_file(write(tmp_path, BOARD + UPDATE.replace(old, new)))
    assert refused.value.number == 304


def test_qemu_is_optional(tmp_path: Path) -> None:
    text = re.sub(r"\[qemu\].*?\n\n", "", BOARD, flags=re.DOTALL)
    assert load_target_file(write(tmp_path, text)).qemu is None


BROKEN = [
    ("unknown key", "clock_hz = 80", "clock_khz = 1\nclock_hz = 80", "key 'clock_khz' is unknown", "'clock_hz'"),
    (
        "unknown memory key",
        "bytes = 65_536",
        "bytes = 65_536\nspeed = 1",
        "key 'memory.sram.speed' is unknown",
        "Known keys: base",
    ),
    ("unknown qemu key", "[qemu]", "[qemu]\nram = 1", "key 'qemu.ram' is unknown", "timer_hz"),
    ("missing key", 'core = "cortex-m4f"\n', "", "key 'core' is missing", ""),
    ("missing memory key", "wait_states = 3\n", "", "key 'memory.rom.wait_states' is missing", ""),
    ("missing table", '[flash_tool]\nmethod = "openocd"\nchip = "interface/my.cfg"\n', "", "key 'flash_tool' is missing", ""),
    ("string for integer", "clock_hz = 80_000_000", 'clock_hz = "fast"', "key 'clock_hz' must be an integer, is a string", ""),
    (
        "boolean for integer",
        "wait_states = 3",
        "wait_states = true",
        "key 'memory.rom.wait_states' must be an integer, is a boolean",
        "",
    ),
    ("float for integer", "bytes = 65_536", "bytes = 65536.0", "key 'memory.sram.bytes' must be an integer, is a float", ""),
    ("date for string", '"its manual"', "2024-01-01", "key 'source' must be a string, is date", ""),
    ("string for array", '["c", "tflm"]', '"c"', "key 'formats' must be an array of strings, is a string", ""),
    ("integer in array", '["c", "tflm"]', '["c", 3]', "key 'formats[1]' must be a string that is not empty, is 3", ""),
    ("unknown format", '"tflm"', '"pdf"', "key 'formats[1]' is 'pdf'", "tflite"),
    ("format twice", '"tflm"', '"c"', "key 'formats[1]' repeats 'c'", "once"),
    ("no format", '["c", "tflm"]', "[]", "key 'formats' is empty", "tflite"),
    (
        "default that is not taken",
        'source = "its manual"',
        'default_formats = ["onnx"]\nsource = "its manual"',
        "key 'default_formats[0]' is 'onnx'",
        "Use: c, tflm",
    ),
    ("no memory table", "[memory.sram]", "[memories.sram]", "key 'memories' is unknown", "'memory'"),
    ("unknown core", "cortex-m4f", "cortex-m9", "key 'core' is 'cortex-m9'", "cortex-m4f"),
    ("core path", "cortex-m4f", "../boards/host", "key 'core' is '../boards/host'", "cortex-m4f"),
    ("unknown role", 'role = "flash"', 'role = "rom"', "key 'memory.rom.role' is 'rom'", "flash, ram"),
    ("no ram", 'role = "ram"', 'role = "flash"', "key 'memory' has no memory of role 'ram'", "[memory.NAME]"),
    ("no flash", 'role = "flash"', 'role = "ram"', "key 'memory' has no memory of role 'flash'", "[memory.NAME]"),
    (
        "overlap",
        "0x0800_0000",
        "0x2000_ffff",
        "key 'memory.rom' overlaps 'memory.sram': 0x2000ffff to 0x2004fffe and 0x20000000",
        "base",
    ),
    ("samples in ram", "0x6000_0000", "0x1fff_f001", "key 'qemu.data_base' puts sample data into 'memory.sram'", "of its own"),
    ("zero bytes", "bytes = 65_536", "bytes = 0", "key 'memory.sram.bytes' is 0", "1 to"),
    ("beyond 4 GiB", "0x2000_0000", "0xffff_ffff", "key 'memory.sram.bytes' is 65,536", "1 to 1"),
    ("negative base", "0x2000_0000", "-4", "key 'memory.sram.base' is -4", "0 to 4,294,967,295"),
    ("bad name", '"my_board"', '"../My board"', "key 'name' has the name '../My board'", "lower-case"),
    ("bad memory name", "[memory.sram]", '[memory."s ram"]', "key 'memory.s ram' has the name 's ram'", "lower-case"),
    ("empty source", '"its manual"', '""', "key 'source' is empty", ""),
    ("unknown method", '"openocd"', '"telepathy"', "key 'flash_tool.method' is 'telepathy'", "esptool"),
    ("no chip", '"interface/my.cfg"', '""', "key 'flash_tool.chip' is empty", ""),
    ("unknown system", 'system = "arm"', 'system = "avr"', "key 'qemu.system' is 'avr'", "riscv32"),
    (
        "key twice",
        "clock_hz = 80_000_000",
        "clock_hz = 1\nclock_hz = 80_000_000",
        "not valid TOML: Cannot overwrite a value (at line 5",
        "once",
    ),
    ("memory twice", "[memory.rom]", "[memory.sram]", "not valid TOML: Cannot declare ('memory', 'sram') twice", "once"),
    ("not TOML", 'name = "my_board"', "name is my_board", "not valid TOML", "syntax"),
]


@pytest.mark.parametrize(("old", "new", "message", "hint"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_broken_file_names_the_file_and_the_key(tmp_path: Path, old: str, new: str, message: str, hint: str) -> None:
    assert old in BOARD
    path = write(tmp_path, BOARD.replace(old, new, 1))
    with pytest.raises(TargetError) as caught:
        load_target(str(path))
    assert caught.value.code == "E304"
    assert caught.value.place == str(path)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"x = " + b"[" * 100_000, b"x = " + b"9" * 10_000], ids=["not text", "deep", "long"]
)
def test_hostile_bytes_are_no_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(content)
    with pytest.raises(TargetError, match="not valid TOML") as caught:
        load_target_file(path)
    assert caught.value.number == 304


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "absent.toml"
    with pytest.raises(TargetError, match="cannot be read: No such file") as caught:
        load_target(str(path))
    assert (caught.value.number, caught.value.place) == (304, str(path))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError) as caught:
        load_target_file(tmp_path)
    assert caught.value.number == 304


def test_a_path_that_cannot_be_is_no_traceback() -> None:
    with pytest.raises(TargetError, match="cannot be read") as caught:
        load_target("a\0b.toml")
    assert caught.value.number == 304
