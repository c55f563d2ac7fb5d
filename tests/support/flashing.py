"""Test support: bundles of the digits, and the boards that QEMU stands in for, with a flash that no other test sees."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from firmware.serial.virtual import image_of, powered
from runtimes.qemu_engine import find_qemu
from targets.load import load_target
from toolchain.cli.main import main

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
TEST = DIGITS / "test.npz"


def strop(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit status and object of a command under --json."""
    capsys.readouterr()
    status = main([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def compiling(folder: Path, target: str, model: Path = DIGITS / "digits.onnx", more: Sequence[str] = ()) -> list[str]:
    """The command that makes a C bundle of a model."""
    options = ["--calibrate", str(DIGITS / "calibration.npz")] if model.suffix == ".onnx" else []
    arguments = ["compile", str(model), "--target", target, "--format", "c", "--precision", "auto", *options, *more]
    return [*arguments, "-o", str(folder / target)]


def compiled(folder: Path, target: str, model: Path = DIGITS / "digits.onnx", more: Sequence[str] = ()) -> Path:
    """A C bundle of a model."""
    assert main(compiling(folder, target, model, more)) == 0
    return folder / target


@contextlib.contextmanager
def board_of(name: str) -> Generator[Any]:
    """The line to a board that QEMU stands in for, as it was flashed."""
    target = load_target(name)
    assert target.qemu is not None
    with powered(target, find_qemu(target.qemu), image_of(target)) as line:
        yield line
