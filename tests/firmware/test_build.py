"""Building: choice of compiler, flash and RAM limits, writable data, sizes, the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware.build import build_firmware, content_key
from firmware.compilers import Compiler, find_compiler
from firmware.image import read_image
from firmware.linker import STACK_BYTES_MOST, plan_ram
from firmware.size import FlashSize
from targets.load import load_target
from tests.support.c_programs import need_compiler, need_gcc, write_program
from toolchain.errors import EnvironmentFault, RunError, TargetError

M4 = "mps2_an386"
PICK = "int net_run(void *arena) {{ uint8_t *a = arena; a[512] = {table}[a[0]]; return 0; }}"


@pytest.fixture
def gcc() -> Compiler:
    need_gcc(M4)
    return find_compiler(load_target(M4), "gcc")


def test_auto_prefers_gcc() -> None:
    need_gcc(M4)
    compiler = find_compiler(load_target(M4))
    assert compiler.name == "gcc"
    assert compiler.label.startswith("arm-none-eabi-gcc ")
    assert compiler.flags == load_target(M4).core.gcc_flags


def test_zig_is_taken_without_gcc(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ziglang")
    monkeypatch.setenv("PATH", "")
    compiler = find_compiler(load_target(M4))
    assert compiler.name == "zig"
    assert compiler.label.startswith("zig cc 0.")


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvironmentFault, match="E401 mps2_an386: arm-none-eabi-gcc was not found"):
        find_compiler(load_target(M4), "gcc")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="E401 mps2_an386: arm-none-eabi-gcc or ziglang was not found"):
        find_compiler(load_target(M4))


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("int net_run(void *arena) { return undeclared; }", "undeclared"),
        ("int net_run(void *arena) { uint8_t *a = arena; int b = 300; a[0] = b; return 0; }", "conversion"),
        ("extern int missing(void);\nint net_run(void *arena) { (void)arena; return missing(); }", "missing"),
    ],
)
def test_compiler_message_is_shown(tmp_path: Path, compiler: str, body: str, part: str) -> None:
    need_compiler(M4, compiler)
    target = load_target(M4)
    with pytest.raises(EnvironmentFault, match=f"E402 .*{part}"):
        build_firmware(write_program(tmp_path, body), target, find_compiler(target, compiler))  # type: ignore[arg-type]


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize(
    ("declaration", "place"), [("static int state;", r"\.bss"), ("static int state = 5;", r"\.data"), ("int state;", r"\.bss")]
)
def test_writable_data_is_refused(tmp_path: Path, compiler: str, declaration: str, place: str) -> None:
    need_compiler(M4, compiler)
    target = load_target(M4)
    program = write_program(tmp_path, declaration + "\nint net_run(void *arena) { (void)arena; return ++state; }")
    with pytest.raises(RunError, match=rf"E504 net: .* 4 B of writable data in {place}"):
        build_firmware(program, target, find_compiler(target, compiler))  # type: ignore[arg-type]


def test_missing_source(tmp_path: Path, gcc: Compiler) -> None:
    program = replace(write_program(tmp_path), sources=("c/none.c",))
    with pytest.raises(RunError, match=r"E504 .*none\.c: it cannot be read"):
        build_firmware(program, load_target(M4), gcc)


def test_arena_larger_than_ram(tmp_path: Path, gcc: Compiler) -> None:
    program = write_program(tmp_path, arena_bytes=4_194_304)
    with pytest.raises(TargetError, match=r"E301 mps2_an386: 4,194,304 B of arena.* ssram23 has 4,194,304 B"):
        build_firmware(program, load_target(M4), gcc)


def test_stack_takes_what_the_arena_leaves(tmp_path: Path) -> None:
    target = load_target("rp2040_pico")
    roomy = plan_ram(write_program(tmp_path, arena_bytes=1024), target)
    tight = plan_ram(write_program(tmp_path, arena_bytes=target.ram.bytes - 4096), target)
    assert roomy.stack_bytes == STACK_BYTES_MOST
    assert 512 <= tight.stack_bytes < 4096
    assert roomy.guard_bytes > tight.guard_bytes >= 16


def test_an_arena_too_large_for_its_stack_is_told_the_size_that_fits(tmp_path: Path) -> None:
    target = load_target("microbit")
    with pytest.raises(TargetError, match=r"E301 microbit: 15,616 B of arena.* need 17,232 B, ram has 16,384 B") as caught:
        plan_ram(write_program(tmp_path / "large", arena_bytes=15_616), target)
    assert caught.value.hint == "Compile with --max-ram 14768, or choose a larger target"
    assert plan_ram(write_program(tmp_path / "fits", arena_bytes=14_768), target).stack_bytes == 512
    with pytest.raises(TargetError, match="E301"):
        plan_ram(write_program(tmp_path / "more", arena_bytes=14_784), target)


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_weights_larger_than_flash(tmp_path: Path, compiler: str) -> None:
    need_compiler(M4, compiler)
    target = load_target("rp2040_pico")
    body = "static const uint8_t big[2500000] = {1};\n" + PICK.format(table="big")
    with pytest.raises(TargetError, match=r"E302 rp2040_pico: xip has 2,097,152 B and 40\d,\d\d\d B more"):
        build_firmware(write_program(tmp_path, body), target, find_compiler(target, compiler))  # type: ignore[arg-type]


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("target", [M4, "rp2040_pico", "rv32_virt", "mps3_an547"])
def test_sizes(tmp_path: Path, target: str, compiler: str) -> None:
    need_compiler(target, compiler)
    values = ", ".join(str(i % 251) for i in range(1000))
    body = f"static const uint8_t table[1000] = {{{values}}};\n" + PICK.format(table="table")
    hardware = load_target(target)
    size = build_firmware(write_program(tmp_path, body), hardware, find_compiler(hardware, compiler)).size  # type: ignore[arg-type]
    assert 1000 <= size.rodata_bytes < 1032
    # Five small functions and memset; neither the harness nor a library function that nobody calls.
    assert 30 <= size.code_bytes < 400


def test_library_functions_count_as_code(tmp_path: Path) -> None:
    need_gcc("rp2040_pico")
    target = load_target("rp2040_pico")
    compiler = find_compiler(target, "gcc")
    line = "int net_run(void *arena) {{ uint32_t *a = arena; a[128] = a[0] {} a[1]; return 0; }}"
    add = build_firmware(write_program(tmp_path / "add", line.format("+")), target, compiler).size
    divide = build_firmware(write_program(tmp_path / "divide", line.format("/")), target, compiler).size
    assert divide.code_bytes > add.code_bytes + 100
    assert divide.rodata_bytes == add.rodata_bytes == 0


def test_image_names_addresses(tmp_path: Path, gcc: Compiler) -> None:
    image = read_image(build_firmware(write_program(tmp_path), load_target(M4), gcc).elf)
    run = image.symbols["net_run"]
    assert run % 2 == 0
    assert image.describe(run + 2) == f"{run + 2:#010x} (net_run+0x2)"
    assert image.describe(0x9000_0000) == "0x90000000"
    assert image.segments[0].address == 0
    assert int.from_bytes(image.segments[0].data[:4], "little") == image.symbols["strop_harness_stack"]


def test_a_build_is_made_once(tmp_path: Path, gcc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    target = load_target(M4)
    first = build_firmware(write_program(tmp_path / "one"), target, gcc)
    monkeypatch.setattr("firmware.build.run_compiler", lambda *_args, **_named: pytest.fail("compiled again"))
    second = build_firmware(write_program(tmp_path / "two"), target, gcc)
    assert second.elf == first.elf
    assert second.size == first.size != FlashSize(0, 0)
    assert [path.name for path in (tmp_path / "cache/builds").iterdir()] == [first.elf.parent.name]


def test_key_depends_on_every_file_and_flag(tmp_path: Path) -> None:
    program = write_program(tmp_path)
    (tmp_path / "c/kernel.h").write_text("/* one */")
    keys = {content_key(program, ("a",)), content_key(program, ("b",)), content_key(replace(program, cflags=("-O3",)), ("a",))}
    (tmp_path / "c/kernel.h").write_text("/* two */")
    keys.add(content_key(program, ("a",)))
    assert len(keys) == 4


def test_a_failed_build_leaves_nothing(tmp_path: Path, gcc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(EnvironmentFault):
        build_firmware(write_program(tmp_path / "bad", "int net_run(void *arena) { return x; }"), load_target(M4), gcc)
    assert list((tmp_path / "cache/builds").iterdir()) == []


def test_host_has_no_emulator(tmp_path: Path, gcc: Compiler) -> None:
    with pytest.raises(EnvironmentFault, match="E403 host"):
        build_firmware(write_program(tmp_path), load_target("host"), gcc)
