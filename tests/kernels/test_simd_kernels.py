"""The SIMD kernels of Linux boards against the evaluator over their whole range of shapes: on this machine, and under QEMU."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from targets.load import load_target
from tests.emulator.test_arm_kernels import activation
from tests.emulator.test_mve_kernels import (
    addition,
    convolution,
    dense,
    depthwise,
    gathered,
    in_place,
    pool,
    small_depth,
    taps,
    windows,
)
from tests.kernels.test_int8_conv import Layer, conv_case, depthwise_case, fully_connected_case
from tests.support.kernel_cases import OUTLINED, SANITIZERS, Case, Place, check_cases, make_case, value
from toolchain.ir.attrs import ActivationAttrs
from toolchain.ir.types import DType, per_tensor

Make = Callable[[np.random.Generator], Case]
CASES = 24
OPTIMIZED = ("-O2", "-fno-strict-aliasing")
ZIG = (sys.executable, "-m", "ziglang", "cc", "-Wno-unused-command-line-argument")
FEATURES = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""


def processor(feature: str) -> pytest.MarkDecorator:
    """Skips where this machine's processor lacks a feature."""
    return pytest.mark.skipif(f" {feature} " not in FEATURES, reason=f"this processor has no {feature}")


def on_arm(target: str, cpu: str) -> Place:
    """A board's core under QEMU, or this machine where it is one. Static: nothing of the board's system is needed."""
    core = load_target(target).core
    runner = () if platform.machine() == "aarch64" else ("qemu-aarch64", "-cpu", cpu)
    if shutil.which(core.gcc):
        return Place(target, (core.gcc, *core.gcc_flags, "-static"), runner)
    return zig_on_arm(target, runner)


def zig_on_arm(target: str, runner: tuple[str, ...]) -> Place:
    """The same by zig, with its static C library."""
    flags = (re.sub(r"-linux-gnu[.\d]*$", "-linux-musl", flag) for flag in load_target(target).core.zig_flags)
    return Place(target, (*ZIG, *flags), runner)


X86 = load_target("x86_64_linux").core
NATIVE = Place("x86_64_linux", ("gcc", *X86.gcc_flags))
# QEMU has AVX2 but not AVX-512, so the kernels that ask the processor take their AVX2 form.
PLACES = {
    "vnni": (NATIVE, ("-O1", OUTLINED, *SANITIZERS)),
    "avx2": (Place("x86_64_linux", ("gcc", *X86.gcc_flags, "-static"), ("qemu-x86_64", "-cpu", "max")), OPTIMIZED),
    "neon": (on_arm("raspberry_pi_zero_2w", "cortex-a53"), OPTIMIZED),
    "neon_dot": (on_arm("raspberry_pi_5", "cortex-a76"), OPTIMIZED),
}
FOLDERS = {"vnni": "x86_64.", "avx2": "x86_64.", "neon": "neon.", "neon_dot": "neon."}


def needs(place: Place) -> None:
    """Skip where a compiler or an emulator is missing."""
    for program in (place.command[0], *place.runner[:1]):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if place.command[1:3] == ("-m", "ziglang") and importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed")


def banded(rng: np.random.Generator) -> Case:
    """Images of several bands, and more pixels than a tile of them."""
    kernel = (int(rng.choice([1, 3])),) * 2
    return convolution(rng, kernel, int(rng.integers(1, 24)), 1, int(rng.integers(1, 40)), 60)


def banded_windows(rng: np.random.Generator) -> Case:
    """Depthwise layers of several bands, among them few channels that are taken in twos, fours and eights."""
    channels = int(rng.choice([1, 2, 4, 8, 16, 24, 40]))
    return depthwise(rng, (3, 3), (int(rng.integers(1, 3)), int(rng.integers(1, 3))), (1, 1), channels)


def product(rng: np.random.Generator) -> Case:
    """Products of two tensors of one shape."""
    act, out_quant = activation(rng)
    shape = tuple(int(rng.integers(1, 9)) for _ in range(4))
    a, b = (value(n, shape, DType.I8, per_tensor(float(rng.uniform(0.01, 0.06)), int(rng.integers(-128, 128)))) for n in "ab")
    return make_case(rng, "mul", (a, b), ActivationAttrs(act), out_quant)


def wide_pool(rng: np.random.Generator) -> Case:
    """Pooling of sixteen channels or more."""
    while True:
        case = pool(rng)
        if case.node.output.type.shape[3] >= 16:
            return case


MAKERS: tuple[Make, ...] = (
    gathered,
    small_depth,
    banded,
    in_place,
    dense,
    windows,
    taps,
    banded_windows,
    addition,
    product,
    wide_pool,
)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", [pytest.param("vnni", marks=processor("avx512_vnni")), "avx2", "neon", "neon_dot"])
def test_kernels_equal_the_evaluator(make: Make, name: str, tmp_path: Path) -> None:
    place, flags = PLACES[name]
    needs(place)
    rng = np.random.default_rng(3)
    variants = check_cases([make(rng) for _ in range(CASES)], tmp_path, flags, place)
    own = [variant for variant in variants if variant.startswith(FOLDERS[name])]
    assert len(own) >= 0.75 * CASES, "the kernels under test are hardly used"


@pytest.mark.parametrize("name", [pytest.param("vnni", marks=processor("avx512_vnni")), "avx2", "neon", "neon_dot"])
def test_weights_over_the_whole_range(name: str, tmp_path: Path) -> None:
    """Weights of -128, factors above one, biases that leave no room: some layers fall to other kernels, all are right."""
    place, flags = PLACES[name]
    needs(place)
    layer = Layer(np.random.default_rng(5), "int8")
    cases = [make(layer) for make in (conv_case, depthwise_case, fully_connected_case) for _ in range(CASES)]
    variants = check_cases(cases, tmp_path, flags, place)
    assert len([variant for variant in variants if variant.startswith(FOLDERS[name])]) >= CASES


@pytest.mark.parametrize("name", ["avx2", *(pytest.param(name, marks=pytest.mark.long) for name in ("neon", "neon_dot"))])
def test_zig_compiles_the_same_bytes(name: str, tmp_path: Path) -> None:
    place = PLACES[name][0]
    if name != "avx2":
        place = zig_on_arm(place.target, place.runner)
    else:
        place = replace(place, command=(*ZIG, "-target", "x86_64-linux-musl", "-mcpu=x86_64_v3"))
    needs(place)
    rng = np.random.default_rng(7)
    check_cases([make(rng) for make in MAKERS for _ in range(3)], tmp_path, OPTIMIZED, place)
