"""Float functions of the portable kernels against NumPy in float64: errors in units in the last place, special values."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firmware.compilers import find_compiler
from targets.load import load_target
from toolchain.ir.types import Array

KERNELS = Path(__file__).parents[2] / "firmware/kernels/portable"
HEADERS = ("math_f32.h", "trig_f32.h", "erf_f32.h", "pow_f32.h")
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 1e-45, -1e-45, 1.2e-38, 3.4e38, -3.4e38)
EDGES = (88.72, 88.73, 89.0, -87.3, -103.0, -103.98, -104.5, 89.4, -89.4, 4096.0, 9.1, 0.9, 2.5, 3.5, -2.5, 8388607.5)

ERF = np.frompyfunc(math.erf, 1, 1)
UNARY: dict[str, tuple[Callable[[Array], Array], float]] = {
    "exp": (np.exp, 1.1),
    "expm1": (np.expm1, 2.0),
    "log": (np.log, 1.0),
    "log1p": (np.log1p, 2.6),
    "sqrt": (np.sqrt, 0.51),
    "tanh": (np.tanh, 2.6),
    "sigmoid": (lambda x: np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x))), 2.5),
    "sin": (np.sin, 3.0),
    "cos": (np.cos, 3.0),
    "tan": (np.tan, 5.0),
    "asin": (np.arcsin, 2.6),
    "acos": (np.arccos, 1.5),
    "atan": (np.arctan, 2.8),
    "sinh": (np.sinh, 2.6),
    "cosh": (np.cosh, 2.6),
    "asinh": (np.arcsinh, 3.0),
    "acosh": (np.arccosh, 3.0),
    "atanh": (np.arctanh, 3.0),
    "erf": (lambda x: ERF(x).astype(np.float64), 2.0),
    "floor": (np.floor, 0.0),
    "ceil": (np.ceil, 0.0),
    "trunc": (np.trunc, 0.0),
    "round_even": (np.rint, 0.0),
    "round_away": (lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x), 0.0),
}
BINARY: dict[str, tuple[Callable[[Array, Array], Array], float]] = {
    "pow": (np.power, 1.5),
    "fmod": (np.fmod, 0.0),
    "floor_mod": (np.mod, 0.5),
    "min": (np.minimum, 0.0),
    "max": (np.maximum, 0.0),
}

MAIN = """
#include <stdio.h>
#include <stdlib.h>
static float one(int f, float x, float y) {
    (void)y;
    switch (f) {
%s    default: return 0.0F;
    }
}
int main(int count, char **names) {
    float pair[2];
    while (count == 2 && fread(pair, sizeof pair, 1, stdin) == 1) {
        const float result = one(atoi(names[1]), pair[0], pair[1]);
        fwrite(&result, sizeof result, 1, stdout);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An executable that applies function number argv[1] to the pairs on standard input."""
    folder = tmp_path_factory.mktemp("math")
    calls = [f"strop_{name}_f32(x)" for name in UNARY] + [f"strop_{name}_f32(x, y)" for name in BINARY]
    cases = "".join(f"    case {i}: return {call};\n" for i, call in enumerate(calls))
    source = "".join(f'#include "{header}"\n' for header in HEADERS) + MAIN % cases
    (folder / "math.c").write_text(source)
    compiler = find_compiler(load_target("host"))
    flags = ("-std=c11", "-O2", "-ffp-contract=off", f"-I{KERNELS}", "-fsanitize=undefined", "-fno-sanitize-recover=all")
    command = [*compiler.command, *compiler.flags, *flags, "math.c", "-o", "math"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return folder / "math"


def run(program: Path, name: str, x: Array, y: Array) -> Array:
    index = [*UNARY, *BINARY].index(name)
    pairs = np.stack([x, y], axis=1).astype(np.float32).tobytes()
    done = subprocess.run([str(program), str(index)], input=pairs, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32)


def check(found: Array, exact: Array, limit_ulp: float) -> None:
    with np.errstate(all="ignore"):
        wanted = exact.astype(np.float32)
    special = ~np.isfinite(wanted) | ~np.isfinite(found)
    np.testing.assert_array_equal(found[special], wanted[special])
    unit = np.maximum(np.spacing(np.abs(wanted[~special])).astype(np.float64), 1e-45)
    error = np.abs(found[~special].astype(np.float64) - exact[~special]) / unit
    assert error.max() <= limit_ulp, f"{error.max()} units at result {wanted[~special][error.argmax()]}"


def all_floats(step: int) -> Array:
    """Every step-th float of all that there are."""
    return np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_variable(name: str, program: Path) -> None:
    near = np.linspace(-20, 20, 20_001, dtype=np.float32)
    x = np.concatenate([all_floats(65_521), np.array(SPECIAL + EDGES, np.float32), near])
    function, limit_ulp = UNARY[name]
    with np.errstate(all="ignore"):
        exact = function(x.astype(np.float64))
    check(run(program, name, x, x), exact, limit_ulp)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_variables(name: str, program: Path) -> None:
    rng = np.random.default_rng(1)
    special = np.array(SPECIAL + EDGES, np.float32)
    every = [all_floats(65_521)[rng.permutation(65_551)[:40_000]] for _ in range(2)]
    near = [1 + rng.uniform(-1e-3, 1e-3, 20_000), rng.uniform(-3e4, 3e4, 20_000)]
    common = [np.exp(rng.uniform(-30, 30, 20_000)), rng.uniform(-30, 30, 20_000)]
    whole = [np.rint(rng.uniform(-9, 9, 20_000)), np.rint(rng.uniform(-9, 9, 20_000))]
    grid = [np.repeat(special, special.size), np.tile(special, special.size)]
    function, limit_ulp = BINARY[name]
    with np.errstate(all="ignore"):
        x, y = (np.concatenate(parts).astype(np.float32) for parts in zip(every, near, common, whole, grid, strict=True))
        exact = function(x.astype(np.float64), y.astype(np.float64))
    check(run(program, name, x, y), exact, limit_ulp)


# Drivers of kernels whose inner part lies in the folders of cores alone.
OF_CORES = {"conv_2d_quad.h", "dense.h", "depthwise_conv_2d_plane.h"}


def test_all_headers_fit_together(tmp_path: Path) -> None:
    """No two kernels define one name, and none warns."""
    headers = sorted(path.name for path in KERNELS.glob("*.h") if path.name not in OF_CORES)
    (tmp_path / "all.c").write_text("".join(f'#include "{header}"\n' for header in headers) + "int unused;\n")
    compiler = find_compiler(load_target("host"))
    flags = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wconversion", f"-I{KERNELS}", "-c", "all.c")
    done = subprocess.run([*compiler.command, *compiler.flags, *flags], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
