"""The flags and addresses of the target files, asked of the real compilers and of QEMU."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from targets.load import load_target, target_names
from targets.model import Core

CORES = {target.core.name: target.core for target in map(load_target, target_names()) if target.takes_c}
DEVICE_CORES = sorted(name for name, core in CORES.items() if core.architecture in ("arm", "riscv"))
EMULATED = sorted(name for name in target_names() if load_target(name).qemu is not None)
MAGIC = 0x5A17C0DE

# core: bits of __ARM_FP (2 half, 4 single, 8 double), __ARM_FEATURE_MVE (1 integer, 2 float), DSP.
ARM_MACROS = {
    "cortex-m0": (0, 0, False),
    "cortex-m0plus": (0, 0, False),
    "cortex-m3": (0, 0, False),
    "cortex-m4f": (4, 0, True),
    "cortex-m7": (4, 0, True),
    "cortex-m7fd": (12, 0, True),
    "cortex-m33": (4, 0, True),
    "cortex-m55": (12, 3, True),
    "cortex-m85": (12, 3, True),
}


def macros(compiler: list[str], source: Path) -> dict[str, str]:
    source.write_text("", "utf-8")
    text = subprocess.run([*compiler, "-dM", "-E", str(source)], capture_output=True, text=True, check=True).stdout
    return {words[1]: " ".join(words[2:]) for words in map(str.split, text.splitlines()) if len(words) > 1}


def check_macros(core: Core, found: dict[str, str]) -> None:
    if core.architecture == "riscv":
        assert {"__riscv_mul", "__riscv_compressed", "__riscv_float_abi_soft"} <= found.keys()
        assert found["__riscv_xlen"] == "32"
        return
    if core.linux is not None:
        names = {"neon": "__ARM_NEON", "dotprod": "__ARM_FEATURE_DOTPROD", "avx2": "__AVX2__"}
        assert {feature for feature, macro in names.items() if macro in found} == core.features & names.keys()
        own = {"aarch64": "__aarch64__", "armv7": "__ARM_PCS_VFP", "x86_64": "__x86_64__"}[core.architecture]
        assert {own, "__linux__"} <= found.keys()
        return
    floating, mve, dsp = ARM_MACROS[core.name]
    assert int(found.get("__ARM_FP", "0"), 0) & 12 == floating
    assert int(found.get("__ARM_FEATURE_MVE", "0"), 0) == mve
    assert ("__ARM_FEATURE_DSP" in found) == dsp
    assert ("__ARM_PCS_VFP" in found) == (floating != 0)
    assert ("fpu_sp" in core.features, "fpu_dp" in core.features) == (floating & 4 != 0, floating & 8 != 0)
    assert ("mve" in core.features, "mve_fp" in core.features) == (mve & 1 != 0, mve & 2 != 0)
    assert ("dsp" in core.features) == dsp


@pytest.mark.parametrize("name", DEVICE_CORES)
def test_gcc_flags_select_the_core(name: str, tmp_path: Path) -> None:
    core = CORES[name]
    if shutil.which(core.gcc) is None:
        pytest.skip(f"{core.gcc} is not installed")
    check_macros(core, macros([core.gcc, *core.gcc_flags], tmp_path / "empty.c"))


@pytest.mark.parametrize("name", DEVICE_CORES)
def test_zig_flags_select_the_core(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed")
    core = CORES[name]
    check_macros(core, macros([sys.executable, "-m", "ziglang", "cc", *core.zig_flags], tmp_path / "empty.c"))


@pytest.mark.parametrize("name", sorted(CORES))
def test_unicorn_has_the_model(name: str) -> None:
    pytest.importorskip("unicorn")
    from unicorn import arm_const, riscv_const

    core = CORES[name]
    if core.unicorn_cpu:
        assert hasattr(riscv_const if core.architecture == "riscv" else arm_const, core.unicorn_cpu)


@pytest.mark.parametrize("name", EMULATED)
def test_every_region_is_memory_in_qemu(name: str, tmp_path: Path) -> None:
    target = load_target(name)
    assert target.qemu is not None
    program = f"qemu-system-{target.qemu.system}"
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    spans = [(memory.base, memory.bytes) for memory in target.memories]
    spans += [(target.qemu.data_base, target.qemu.data_bytes)] if target.qemu.data_bytes else []
    words = [address for base, size in spans for address in (base, base + size - 4)]
    command = [program, "-M", target.qemu.machine, "-S", "-display", "none", "-serial", "null", "-monitor", "stdio"]
    command += ["-bios", "none"] if target.qemu.system == "riscv32" else []
    for index, address in enumerate(words):
        (word := tmp_path / str(index)).write_bytes((MAGIC + index).to_bytes(4, "little"))
        command += ["-device", f"loader,addr={address:#x},file={word},force-raw=on"]
    asked = "".join(f"xp /1xw {address:#x}\n" for address in words) + "quit\n"
    output = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60, check=False).stdout
    for index, address in enumerate(words):
        assert f"{address:016x}: 0x{MAGIC + index:08x}" in output, f"{address:#x} is no memory"
