"""Test support: a real board's file with a serial port that a simulated board has, and a bundle for it."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest

from firmware.serial.board import Board
from targets.load import load_target
from targets.model import Target
from toolchain.api import compile

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SERIAL = '\n[serial]\ndriver = "cmsdk"\nbase = 0x4000_4000\nclock_hz = 80_000_000\nbaud = 115_200\n'


def board_file(name: str, folder: Path) -> Path:
    """The target's file with another serial port."""
    text = (files("targets") / "boards" / f"{name}.toml").read_text("utf-8")
    made = folder / f"{name}.toml"
    made.write_text(re.sub(r"(?ms)^\[serial\].*?(?=^\[|\Z)", "", text) + SERIAL)
    return made


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Lives as long as the tests do."""
    return tempfile.TemporaryDirectory(prefix="strop-boards-")


@functools.cache
def serial_bundle(name: str) -> tuple[Target, Path]:
    """A target with a serial port, and digits compiled for it, once."""
    folder = Path(_folder().name)
    file, bundle = board_file(name, folder), folder / f"bundle-{name}"
    compile(
        DIGITS / "digits.onnx", str(file), bundle, formats=("c",), calibrate=str(DIGITS / "calibration.npz"), precision="int8"
    )
    return load_target(str(file)), bundle


@contextmanager
def quick_lines() -> Generator[None]:
    """While it lasts, tools that `strop flash` starts have quick lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).with_name("quick_lines")))
        patch.setenv("STROP_TEST_SPEED", "10")
        patch.setattr(Board.__init__, "__defaults__", (0.2, 5))
        yield
