"""Runs a stranger's .tflite file in a process of its own, so that an interpreter that crashes takes nothing with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import toolchain
from runtimes.litert_engine import run_tflite_litert_batch
from runtimes.tflm_engine import ARENA_BYTES, run_tflite_micro_batch
from toolchain.errors import DataError, EnvironmentFault, RunError, StropError

Array = NDArray[Any]
Engine = Literal["litert", "litert_reference", "tflm"]
TIMEOUT_S = 120.0
FAULTS: dict[str, type[StropError]] = {"E2": DataError, "E4": EnvironmentFault, "E5": RunError}


def run_guarded(
    engine: Engine,
    model: bytes,
    samples: Sequence[Sequence[Array]],
    *,
    timeout_s: float = TIMEOUT_S,
    arena_bytes: int = ARENA_BYTES,
) -> list[list[Array]]:
    """Outputs for each sample (a sequence of inputs). arena_bytes: for TFLM.

    Raises RunError(501) after timeout_s, RunError(502) when the interpreter crashes, else what the engine raises.
    """
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        place = Path(folder)
        (place / "model.tflite").write_bytes(model)
        inputs: dict[str, Any] = {f"{i}_{j}": array for i, sample in enumerate(samples) for j, array in enumerate(sample)}
        np.savez(place / "inputs.npz", **inputs)
        command = [sys.executable, "-P", "-m", "runtimes.guarded", engine, folder, str(len(samples)), str(arena_bytes)]
        root = str(Path(toolchain.__file__).resolve().parents[1])
        paths = os.pathsep.join([root, *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])])
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=timeout_s, check=False, env={**os.environ, "PYTHONPATH": paths}
            )
        except subprocess.TimeoutExpired as fault:
            raise RunError(501, engine, f"the model ran longer than {timeout_s:g} s", "Give it more time") from fault
        return _read(engine, place, len(samples), done.returncode)


def _read(engine: str, place: Path, count: int, status: int) -> list[list[Array]]:
    report = place / "fault.json"
    if report.is_file():
        fault = json.loads(report.read_text())["error"]
        kind = FAULTS.get(fault["code"][:2], RunError)
        raise kind(int(fault["code"][1:]), fault["place"], fault["message"], fault["hint"])
    if status != 0:
        raise RunError(
            502, engine, f"the interpreter ended with status {status}", "The model is damaged, or the engine has a defect"
        )
    with np.load(place / "outputs.npz", allow_pickle=False) as data:
        found = {name: data[name] for name in data.files}
    return [[found[f"{i}_{j}"] for j in range(sum(name.startswith(f"{i}_") for name in found))] for i in range(count)]


def main(engine: str, folder: str, count: int, arena_bytes: int) -> None:
    """The guarded process: reads the model and its inputs, writes its outputs or the fault."""
    place = Path(folder)
    model = (place / "model.tflite").read_bytes()
    with np.load(place / "inputs.npz", allow_pickle=False) as data:
        names = sorted(data.files, key=lambda name: tuple(int(part) for part in name.split("_")))
        samples = [[data[name] for name in names if name.startswith(f"{i}_")] for i in range(count)]
    try:
        outputs = _run(engine, model, samples, arena_bytes)
    except StropError as fault:
        (place / "fault.json").write_text(json.dumps(fault.as_json()))
        return
    arrays: dict[str, Any] = {f"{i}_{j}": array for i, sample in enumerate(outputs) for j, array in enumerate(sample)}
    np.savez(place / "outputs.npz", **arrays)


def _run(engine: str, model: bytes, samples: Sequence[Sequence[Array]], arena_bytes: int) -> list[list[Array]]:
    if engine == "tflm":
        return run_tflite_micro_batch(model, samples, arena_bytes=arena_bytes)
    return run_tflite_litert_batch(model, samples, reference=engine == "litert_reference")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
