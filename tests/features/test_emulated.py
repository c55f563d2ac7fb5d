"""The extractor on emulated cores, with and without an FPU, by GCC and by zig: the bytes of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from firmware.compilers import CompilerChoice
from runtimes.emulator import EngineChoice, run_emulated
from targets.load import load_target
from tests.support.c_programs import need_compiler, need_engine
from tests.support.sound import KWS, LOUD, ODD, clips
from toolchain.features.extract import host_extractor, written
from toolchain.features.runnable import raw_pcm, runnable
from toolchain.features.settings import FeatureSettings
from toolchain.features.source import REAL, Stored, print_features
from toolchain.ir.types import Array, DType

ROOT = Path(__file__).parents[2]
INT8 = Stored(DType.I8, 0.58, 83)
# Cortex-M0+, M3, M4F, M7, RV32.
TARGETS = ("rp2040_pico", "mps2_an385", "mps2_an386", "mps2_an500", "rv32_virt")


def emulated(
    settings: FeatureSettings,
    stored: Stored,
    target: str,
    pcm: Array,
    folder: Path,
    compiler: CompilerChoice,
    engine: EngineChoice,
) -> Array:
    """Features as stored, (n, bytes)."""
    need_compiler(target, compiler)
    need_engine(target, engine)
    program = written(print_features(settings, "net", stored), folder)
    with runnable(program, settings.samples, settings.frames, settings.width * stored.dtype.bits // 8) as whole:
        return run_emulated(whole, load_target(target), [raw_pcm(pcm)], engine=engine, compiler=compiler).outputs[0]


def here(settings: FeatureSettings, stored: Stored, pcm: Array) -> Array:
    return host_extractor(settings, stored).features(pcm).reshape(len(pcm), -1).view(np.uint8)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("stored", [REAL, INT8])
def test_every_core_gives_the_bytes_of_this_machine(
    target: str, compiler: CompilerChoice, stored: Stored, tmp_path: Path
) -> None:
    pcm = clips(KWS, seed=1)[:2]
    found = emulated(KWS, stored, target, pcm, tmp_path, compiler, "unicorn")
    np.testing.assert_array_equal(found, here(KWS, stored, pcm))


@pytest.mark.parametrize("settings", [ODD, LOUD])
@pytest.mark.parametrize("target", ["rp2040_pico", "mps2_an386", "rv32_virt"])
def test_other_settings_do_too(settings: FeatureSettings, target: str, tmp_path: Path) -> None:
    pcm = clips(settings, seed=2)
    found = emulated(settings, REAL, target, pcm, tmp_path, "auto", "unicorn")
    np.testing.assert_array_equal(found, here(settings, REAL, pcm))


@pytest.mark.parametrize("target", ["mps2_an385", "mps2_an386", "rv32_virt"])
def test_qemu_finds_no_unaligned_access(target: str, tmp_path: Path) -> None:
    pcm = clips(ODD, seed=3)[:2]
    np.testing.assert_array_equal(emulated(ODD, INT8, target, pcm, tmp_path, "auto", "qemu"), here(ODD, INT8, pcm))


@pytest.mark.parametrize("target", ["rp2040_pico", "mps2_an385", "nucleo_l4r5zi", "esp32c3"])
def test_the_page_tells_what_a_frame_takes(target: str, tmp_path: Path) -> None:
    need_compiler(target, "gcc")
    need_engine(target, "unicorn")
    made = print_features(KWS, "net", INT8)
    samples, page = KWS.window + KWS.hop, (ROOT / "docs/features.md").read_text()
    noise = np.random.default_rng(0).integers(-8192, 8192, (1, samples), dtype=np.int16)
    with runnable(written(made, tmp_path), samples, 1, KWS.width) as whole:
        found = run_emulated(
            whole, load_target(target), [raw_pcm(noise)], engine="unicorn", compiler="gcc", count=True
        ).measurement
    assert f"RAM {made.ram_bytes:,} B, tables {made.table_bytes:,} B." in page
    (row,) = re.findall(rf"^\| `{target}` \| [^|]+ \| ([\d,]+) \| ?([\d,]*) ?\|", page, re.M)
    told = [int(number.replace(",", "")) if number else None for number in row]
    assert found.instructions is not None
    assert told[0] == pytest.approx(found.instructions / 2, rel=0.03)
    assert told[1] == (None if found.cycles is None else pytest.approx(found.cycles / 2, rel=0.03))
