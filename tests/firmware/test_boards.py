"""Firmware of boards that are only built and simulated here: compilers, set-ups against models of chips, boot blocks, sources."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from firmware.boot_check import boot_check
from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import DeviceFirmware, Scale, Variant, build_device
from firmware.image import Image, read_image
from targets.load import load_target
from targets.model import Target
from tests.support.board_models import F746, H7A3, L4R5, U575, Chip
from tests.support.board_models_2 import ESP32C3, NRF52840, RA8D1, RP2040, RP2350
from tests.support.c_programs import need_compiler, write_program
from tests.support.engines import needs_unicorn
from tests.support.register_model import RETURN_TO, STACK_AT, Follows, Registers, run_function
from toolchain.errors import EnvironmentFault

BOARDS: dict[str, Chip] = {
    "nucleo_l4r5zi": L4R5,
    "stm32f746g_disco": F746,
    "nucleo_h7a3zi": H7A3,
    "nucleo_u575": U575,
    "nrf52840_dk": NRF52840,
    "rp2040_pico": RP2040,
    "rp2350_pico2": RP2350,
    "ek_ra8d1": RA8D1,
    "esp32c3": ESP32C3,
}
SOURCES = Path(__file__).parents[2] / "firmware"


def built(target: Target, compiler: str, folder: Path) -> DeviceFirmware:
    need_compiler(target.name, compiler)
    return build_device(write_program(folder), Scale(), target, find_compiler(target, "gcc" if compiler == "gcc" else "zig"))


def check_sections(target: Target, elf: Path) -> None:
    """All that is loaded lies in a flash, all else in a RAM, of the target's memories. A Cortex-M's own part is 4 KiB at most."""
    from elftools.elf.elffile import ELFFile

    sizes: dict[str, int] = {}
    with elf.open("rb") as file:
        for part in ELFFile(file).iter_sections():
            if not part["sh_flags"] & 2 or not part["sh_size"]:
                continue
            role = "ram" if part["sh_type"] == "SHT_NOBITS" else "flash"
            low, high = part["sh_addr"], part["sh_addr"] + part["sh_size"]
            sizes[part.name] = part["sh_size"]
            homes = [m for m in target.memories if m.role == role and m.base <= low and high <= m.base + m.bytes]
            assert homes, f"{part.name}: {low:#x} to {high:#x}"
    assert 2048 < sizes[".harness"] + sizes.get(".vectors", 0) <= (4096 if target.core.architecture == "arm" else 5120)


@pytest.mark.parametrize("name", BOARDS)
def test_every_board_builds_and_fits_its_memories(name: str, tmp_path: Path) -> None:
    """With one compiler each, in turns."""
    compiler = ("gcc", "zig")[list(BOARDS).index(name) % 2]
    check_sections(load_target(name), built(load_target(name), compiler, tmp_path).elf)


@pytest.mark.long
@needs_unicorn
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("name", BOARDS)
def test_every_board_builds_with_every_compiler(name: str, compiler: str, tmp_path: Path) -> None:
    target = load_target(name)
    check_sections(target, built(target, compiler, tmp_path).elf)
    target = runnable(target)
    check_setup(target, BOARDS[name], read_image(built(target, compiler, tmp_path).elf))


def runnable(target: Target) -> Target:
    """The board with a core that unicorn has: M85 code as that of M33, whose set-up is the same."""
    return target if target.core.unicorn_cpu else replace(target, core=load_target("nucleo_u575").core)


def check_setup(target: Target, chip: Chip, image: Image) -> None:
    """Run the set-up: after no write is a clock too fast for flash, voltage or buses; in the end all is as the target says."""
    rates: list[Fraction] = []

    def watch(registers: Registers) -> None:
        hz = chip.cpu_hz(registers)
        if not rates or rates[-1] != hz:
            rates.append(hz)
        assert (complaints := chip.needs(registers, hz)) == [], f"{complaints} after {registers.writes[-3:]}"

    registers = Registers(chip.resets, chip.rules, chip.copies, watch)
    run_function(image, target, "strop_board_start", registers, chip.rom)
    assert rates[-1] == target.clock_hz
    assert target.serial is not None
    assert chip.port_hz(registers) == target.serial.clock_hz
    run_function(image, target, "strop_serial_start", registers, chip.rom)
    assert chip.pins(registers) == []
    assert float(chip.baud(registers, chip.port_hz(registers))) == pytest.approx(target.serial.baud, rel=0.01)


@needs_unicorn
@pytest.mark.parametrize("name", BOARDS)
def test_clocks_pins_and_baud_rates_are_those_of_the_target(name: str, tmp_path: Path) -> None:
    target = runnable(load_target(name))
    if target.core.architecture == "arm":
        check_setup(target, BOARDS[name], read_image(built(target, "gcc", tmp_path).elf))
    else:
        check_setup(target, BOARDS[name], read_image(built(target, "zig", tmp_path).elf))


def period_s(driver: str, base: int, r: Registers) -> float:
    """A watchdog's period as its manual says, from its registers; what must be set beside it is."""
    if driver == "nrf_wdt":
        assert (r.read(base + 0x508), r.read(base), r.writes[-1]) == (1, 1, (base + 0x600, 0x6E52_4635))
        return (r.read(base + 0x504) + 1) / 32768
    if driver == "stm32_iwdg":
        assert [value for at, value in r.writes if at == base] == [0xCCCC, 0x5555, 0xAAAA, 0xAAAA]
        return r.read(base + 8) * (4 << r.read(base + 4)) / 32000
    if driver == "rp2040":  # 4.7.6: TICK from 12 MHz, ENABLE; erratum E1: two a tick; PSM: not ROSC, XOSC (bits 0 and 1 of 17)
        assert (r.read(base + 0x2C), r.read(0x4001_0008), r.read(base) >> 30 & 1) == (1 << 9 | 12, 0x1FFFC, 1)
        assert r.writes[-1] == (base + 4, r.read(base + 4))
        return r.read(base + 4) / 2 / 1e6
    if driver == "rp2350":  # 8.5: CYCLES and ENABLE of the watchdog's tick; PSM: not ROSC, XOSC (bits 2 and 3 of 25)
        assert (r.read(0x4010_8034), r.read(0x4010_8030), r.read(0x4001_8008)) == (12, 1, (1 << 25) - 1 - 0b1100)
        assert (r.read(base) >> 30 & 1, r.writes[-1]) == (1, (base + 4, r.read(base + 4)))
        return r.read(base + 4) / 1e6
    if driver == "ra_wdt":  # WDTCR: TOPS, CKS, window at 0 % and 100 %; WDTRCR: reset; WDTRR: 00h, then FFh
        control = r.bits(base, 31, 16)
        assert (control & 0x3300, r.bits(base + 4, 23, 16)) == (0x3300, 0x80)
        assert [value & 0xFF for at, value in r.writes if at == base and value >> 16 == control][-4:] == [0, 0xFF, 0, 0xFF]
        return (1024, 4096, 8192, 16384)[control & 3] * {6: 512, 8: 8192}[control >> 4 & 15] / 60e6
    assert driver == "esp32_mwdt"  # 11.5: prescaler of 80 MHz, stage 0 resets the system, on and taken over
    assert r.read(base + 0x48) & (1 << 31 | 3 << 29 | 1 << 22) == 1 << 31 | 3 << 29 | 1 << 22
    assert not r.read(base + 0x48) & 1 << 21 and r.writes[0] == (base + 0x64, 0x50D8_3AA1)
    assert r.writes[-3:] == [(base + 0x64, 0x50D8_3AA1), (base + 0x60, 1), (base + 0x64, 0)]
    return r.read(base + 0x50) * (r.read(base + 0x4C) >> 16) / 80e6


WATCHED = {
    "nucleo_l4r5zi": (5000, 5.0),
    "nucleo_h7a3zi": (5000, 5.0),
    "nrf52840_dk": (5000, 5.0),
    "rp2040_pico": (5000, 5.0),
    "rp2350_pico2": (16_777, 16.777),
    "ek_ra8d1": (1200, 2.236962),
    "esp32c3": (5000, 5.0),
}


@needs_unicorn
@pytest.mark.parametrize("name", WATCHED)
def test_a_watchdog_waits_as_long_as_it_was_told_to(name: str, tmp_path: Path) -> None:
    """Its period from its registers; the same build id with and without; code only where it is built in."""
    target, (ms, seconds) = runnable(load_target(name)), WATCHED[name]
    choice: CompilerChoice = "gcc" if target.core.architecture == "arm" else "zig"
    need_compiler(target.name, choice)
    compiler, program = find_compiler(target, choice), write_program(tmp_path)
    firmware = build_device(program, Scale(), target, compiler, Variant(watchdog_ms=ms))
    plain = build_device(program, Scale(), target, compiler)
    assert firmware.build_id == plain.build_id and firmware.elf != plain.elf
    assert "strop_watchdog_start" not in read_image(plain.elf).symbols
    registers = Registers({})
    run_function(read_image(firmware.elf), target, "strop_watchdog_start", registers)
    run_function(read_image(firmware.elf), target, "strop_watchdog_feed", registers)
    assert target.watchdog is not None
    assert period_s(target.watchdog.driver, target.watchdog.base, registers) == pytest.approx(seconds, rel=0.01)


@needs_unicorn
@pytest.mark.parametrize(("ms", "seconds"), [(8, 0.0087381), (100, 0.1398101), (141, 0.5592405), (2236, 2.236962)])
def test_the_periods_of_the_ra8d1(ms: int, seconds: float, tmp_path: Path) -> None:
    """The shortest that is not shorter than what was asked for."""
    target = runnable(load_target("ek_ra8d1"))
    need_compiler(target.name, "gcc")
    firmware = build_device(write_program(tmp_path), Scale(), target, find_compiler(target, "gcc"), Variant(watchdog_ms=ms))
    registers = Registers({})
    run_function(read_image(firmware.elf), target, "strop_watchdog_start", registers)
    run_function(read_image(firmware.elf), target, "strop_watchdog_feed", registers)
    assert period_s("ra_wdt", 0x4020_2600, registers) == pytest.approx(seconds, rel=1e-4)


# Port clock, its bit, and the registers of the pin: (mode register, mask, output), set, clear. RM0432, RM0385, RM0456, PS 6.9.2.
PINS = {
    "nucleo_l4r5zi": (0x4002_104C, 5, (0x4800_1400, 3 << 26, 1 << 26), (0x4800_1418, 1 << 13), (0x4800_1418, 1 << 29)),
    "nucleo_u575": (0x4602_0C8C, 5, (0x4202_1400, 3 << 26, 1 << 26), (0x4202_1418, 1 << 13), (0x4202_1418, 1 << 29)),
    "stm32f746g_disco": (0x4002_3830, 8, (0x4002_2000, 3 << 6, 1 << 6), (0x4002_2018, 1 << 3), (0x4002_2018, 1 << 19)),
    "nrf52840_dk": (0, 0, (0x5000_0A20, 3, 3), (0x5000_0808, 1 << 8), (0x5000_080C, 1 << 8)),
}


@needs_unicorn
@pytest.mark.parametrize("name", PINS)
def test_a_timing_pin_is_high_and_falls(name: str, tmp_path: Path) -> None:
    """Its port has a clock before, it is an output, high before it is one, and code only where it is built in."""
    target, (clock, bit, (mode, mask, output), high, low) = load_target(name), PINS[name]
    need_compiler(name, "gcc")
    compiler, program = find_compiler(target, "gcc"), write_program(tmp_path)
    firmware = build_device(program, Scale(), target, compiler, Variant(timing_pin=True))
    plain = build_device(program, Scale(), target, compiler)
    assert firmware.build_id == plain.build_id
    assert "strop_pin_put" not in read_image(plain.elf).symbols
    registers = Registers({})
    run_function(read_image(firmware.elf), target, "strop_pin_start", registers)
    assert not clock or registers.writes[0] == (clock, 1 << bit)
    assert registers.writes.index(high) < registers.writes.index((mode, registers.read(mode)))
    assert registers.read(mode) & mask == output
    run_function(read_image(firmware.elf), target, "strop_pin_put", registers)  # r0 is 0
    assert registers.writes[-1] == low


def test_a_board_without_a_timing_pin_says_so(tmp_path: Path) -> None:
    target = load_target("ek_ra8d1")
    need_compiler(target.name, "gcc")
    with pytest.raises(EnvironmentFault, match=r"E403 ek_ra8d1: it has no timing pin"):
        build_device(write_program(tmp_path), Scale(), target, find_compiler(target, "gcc"), Variant(timing_pin=True))


def test_a_watchdog_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for name, ms, text in (("mps2_an386", 100, "no driver"), ("nucleo_l4r5zi", 40_000, "1 to 32,000 ms, 40,000 ms were asked")):
        need_compiler(name, "gcc")
        target = load_target(name)
        with pytest.raises(EnvironmentFault, match=text):
            build_device(write_program(tmp_path), Scale(), target, find_compiler(target, "gcc"), Variant(watchdog_ms=ms))


def spoilt(name: str, old: str, new: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """A board's firmware with one change in its set-up."""
    import firmware.build
    import firmware.device_build

    text = (SOURCES / "boards" / f"setup_{name}.c").read_text()
    assert old in text
    real = firmware.build.own_text

    def changed(path: str) -> str:
        return text.replace(old, new) if path == f"boards/setup_{name}.c" else real(path)

    monkeypatch.setattr(firmware.build, "own_text", changed)
    monkeypatch.setattr(firmware.device_build, "own_text", changed)
    return read_image(built(load_target(name), "gcc", folder).elf)


@needs_unicorn
@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("nucleo_l4r5zi", "30u << 8", "29u << 8", "assert Fraction"),
        ("nucleo_l4r5zi", "strop_write(PWR_CR5, 0);", "", "without boost"),
        ("nucleo_l4r5zi", "strop_write(FLASH_ACR, 0x705);", "strop_write(FLASH_ACR, 0x704);", "waits at"),
        ("nucleo_h7a3zi", "strop_write(PWR_SRDCR, 3u << 14)", "strop_write(PWR_SRDCR, 2u << 14)", "voltage scale 2"),
        ("rp2040_pico", "6u << 16", "5u << 16", "above 133 MHz"),
        ("rp2040_pico", "strop_write(pins + GPIO1_CTRL, 2);", "strop_write(pins + GPIO1_CTRL, 3);", "not UART0"),
    ],
)
def test_a_wrong_set_up_is_noticed(
    name: str, old: str, new: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = spoilt(name, old, new, tmp_path, monkeypatch)
    with pytest.raises(AssertionError, match=complaint):
        check_setup(load_target(name), BOARDS[name], image)


def section(elf: Path, name: str) -> tuple[int, bytes]:
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as file:
        found = ELFFile(file).get_section_by_name(name)
        assert found is not None
        return int(found["sh_addr"]), found.data()


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_the_second_stage_of_the_rp2040(compiler: str, tmp_path: Path) -> None:
    address, data = section(built(load_target("rp2040_pico"), compiler, tmp_path).elf, ".boot")
    assert (address, len(data)) == (0x1000_0000, 256)
    assert int.from_bytes(data[252:], "little") == boot_check(data[:252])
    # The check is zlib's on bits in the other order: of every byte, and of the result.
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data[:252])
    assert boot_check(data[:252]) == int(f"{zlib.crc32(mirrored) ^ 0xFFFF_FFFF:032b}"[::-1], 2)


@needs_unicorn
@pytest.mark.parametrize("enabled", [False, True])
def test_the_second_stage_reads_with_four_lines(enabled: bool, tmp_path: Path) -> None:
    """Run with a flash whose status register 2 says so or not: it is enabled first; then come 6Bh, its dummies, and the image."""
    target = load_target("rp2040_pico")
    image = read_image(built(target, "gcc", tmp_path).elf)
    stage = image.segments[0]
    start = (STACK_AT + 512).to_bytes(4, "little") + (RETURN_TO | 1).to_bytes(4, "little")
    stage = replace(stage, data=stage.data[:256] + start + stage.data[264:])
    ssi, status = 0x1800_0000, 0x1800_0028
    answers = Follows(ssi + 0x60, 2, ssi + 0x14, 4) if enabled else Follows(ssi + 0x60, 3, ssi + 0x14, 4, inverted=True)
    registers = Registers({}, (Follows(status, 4, status, 0), answers))
    run_function(replace(image, segments=(stage, *image.segments[1:])), target, "strop_boot", registers)
    sent = [value for address, value in registers.writes if address == ssi + 0x60]
    assert sent == ([0x35, 0] if enabled else [0x35, 0, 0x06, 0x31, 2, 0x05, 0])
    command, frame = registers.read(ssi + 0xF4), registers.read(ssi)
    assert (command >> 24, command >> 11 & 31, command >> 8 & 3, command >> 2 & 15, command & 3) == (0x6B, 8, 2, 24 // 4, 0)
    assert (frame >> 21 & 3, frame >> 16 & 31, frame >> 8 & 3) == (2, 31, 3)
    assert registers.writes[-2:] == [(ssi + 8, 1), (0xE000_ED08, 0x1000_0100)]
    # The divider may be even only, and 125 MHz by it must be what the flash takes.
    assert registers.read(ssi + 0x14) % 2 == 0 and 125 / registers.read(ssi + 0x14) <= 104


def test_the_image_definition_of_the_rp2350(tmp_path: Path) -> None:
    """Read as the boot ROM reads it: found by its marker in the first 4 KiB, items, a link to itself, the end marker."""
    elf = built(load_target("rp2350_pico2"), "gcc", tmp_path).elf
    address, data = section(elf, ".boot")
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
    assert address - 0x1000_0000 < 4096 - len(data) and address % 4 == 0
    assert (words[0], words[-1], words[-2]) == (0xFFFF_DED3, 0xAB12_3579, 0)
    assert words[1] & 0xFF == 0x42 and words[1] >> 8 & 0xFF == 1
    flags = words[1] >> 16
    assert (flags & 0xF, flags >> 4 & 3, flags >> 8 & 7, flags >> 12 & 7) == (1, 2, 0, 1)  # executable, secure, Arm, RP2350
    assert (words[2] & 0xFF, words[2] >> 8 & 0xFFFF) == (0xFF, 1)
    stack, entry = (int.from_bytes(section(elf, ".vectors")[1][at : at + 4], "little") for at in (0, 4))
    assert 0x2000_0000 < stack <= 0x2008_2000 and entry & 1


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_the_esp32c3_starts_directly_and_reads_constants_on_the_data_bus(compiler: str, tmp_path: Path) -> None:
    elf = built(load_target("esp32c3"), compiler, tmp_path).elf
    assert section(elf, ".boot") == (0x4200_0000, bytes.fromhex("1d04dbae1d04dbae"))
    image = read_image(elf)
    assert image.symbols["strop_reset"] == 0x4200_0008
    constants, data = section(elf, ".rodata")
    assert constants >> 24 == 0x3C
    # Both views show the same flash: what is at an offset of one is at that of the other, and nothing is twice there.
    taken: dict[int, int] = {}
    for part in image.segments:
        assert 0x4200_0000 <= part.address < 0x4240_0000
        for at in range(part.address, part.address + len(part.data)):
            assert taken.setdefault(at & 0x3F_FFFF, at) == at
    assert any(
        part.address <= (constants & 0x3F_FFFF) + 0x4200_0000
        and data in part.data
        and part.data.index(data) == (constants & 0x3F_FFFF) + 0x4200_0000 - part.address
        for part in image.segments
    )


# --- what the C of boards looks like

ADDRESS = re.compile(r"\b0x(?:1[89]|4[0-9a-f]|5[0-9a-f]|6[0-9a-f]|e0)[0-9a-f]{6}u?\b")


@pytest.mark.parametrize("path", sorted((SOURCES / "boards").glob("*.[ch]")), ids=lambda path: path.name)
def test_every_register_has_a_source(path: Path) -> None:
    """A file names its documents in its head; in set-ups, the section stands beside every address."""
    text = path.read_text()
    head = text[: text.index("*/")]
    if ADDRESS.search(text):
        assert re.search(r"Sources?: ", head), "no source in the head"
    if not path.name.startswith("setup_"):
        return
    for line in text.splitlines():
        if ADDRESS.search(line):
            assert re.search(r"/\* .*(\d+\.\d+|\.h|\.ld).* \*/$", line), line
