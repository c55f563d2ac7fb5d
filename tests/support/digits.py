"""Test support: the example's files, and which board this machine can stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtimes.linux_engine import runs_here
from targets.load import load_target
from toolchain.ir.types import Array

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
MODEL, CALIBRATION, TEST = EXAMPLE / "digits.onnx", EXAMPLE / "calibration.npz", EXAMPLE / "test.npz"
# Of this machine's kind, so that its libraries run here.
HERE = next((name for name in ("x86_64_linux", "raspberry_pi_zero_2w") if runs_here(load_target(name))), "x86_64_linux")
runs_libraries = pytest.mark.skipif(not runs_here(load_target(HERE)), reason="this machine is no target with Linux")


def images(count: int) -> Array:
    """Real images (count, 1, 8, 8), float32 of 0 to 1."""
    with np.load(TEST) as data:
        return data["image"][:count]
