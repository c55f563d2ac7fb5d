"""The Fourier transform of the kernels against NumPy's in float64, over all sizes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from firmware.compilers import find_compiler
from targets.load import load_target
from toolchain.ir.types import Array

KERNELS = Path(__file__).parents[2] / "firmware/kernels/portable"
SIZES = tuple(1 << power for power in range(1, 12))
# The largest error of a value beside the length of all values. One rounding is 6e-8 of a value.
ERROR = 1e-7

MAIN = """
#include "fft_f32.h"
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **names) {
    static float x[4096], given[4096], cosines[2049];
    const int32_t points = count == 2 ? (int32_t)atoi(names[1]) : 0;
    if (fread(cosines, sizeof(float), (size_t)points + 1, stdin) != (size_t)points + 1) { return 1; }
    while (fread(given, 2 * sizeof(float), (size_t)points, stdin) == (size_t)points) {
        for (int32_t i = 0, place = 0; i < points; ++i, place = strop_next_reversed(place, points)) {
            x[2 * place] = given[2 * i];
            x[2 * place + 1] = given[2 * i + 1];
        }
        strop_fft_f32(x, cosines, points);
        fwrite(x, 2 * sizeof(float), (size_t)points, stdout);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Transforms what is on standard input, argv[1] complex values at a time; the table of cosines comes first."""
    folder = tmp_path_factory.mktemp("fft")
    (folder / "fft.c").write_text(MAIN)
    compiler = find_compiler(load_target("host"))
    flags = ("-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wconversion", f"-I{KERNELS}")
    command = [*compiler.command, *compiler.flags, *flags, "-fsanitize=undefined", "-fno-sanitize-recover=all"]
    done = subprocess.run([*command, "fft.c", "-o", "fft"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return folder / "fft"


def transformed(program: Path, values: Array) -> Array:
    points = values.shape[1]
    cosines = np.cos(np.pi * np.arange(points + 1) / points).astype(np.float32)
    given = cosines.tobytes() + values.astype(np.complex64).tobytes()
    done = subprocess.run([str(program), str(points)], input=given, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.complex64).reshape(values.shape)


@pytest.mark.parametrize("points", SIZES)
def test_it_is_the_fourier_transform(points: int, program: Path) -> None:
    rng = np.random.default_rng(points)
    noise = rng.standard_normal((6, points)) + 1j * rng.standard_normal((6, points))
    turning = np.exp(2j * np.pi * np.outer(rng.integers(0, points, 3), np.arange(points)) / points)
    single = np.eye(points)[rng.integers(0, points, 3)]
    values = np.concatenate([noise, turning, single]).astype(np.complex64)
    exact = np.fft.fft(values.astype(np.complex128))
    error = np.abs(transformed(program, values) - exact).max(axis=1)
    size = np.sqrt((np.abs(exact) ** 2).sum(axis=1))
    assert (error / size).max() <= ERROR
