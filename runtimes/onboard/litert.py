"""Runs the .tflite file of a bundle on a board, with whichever of LiteRT's packages is there."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtimes.onboard.network import Array, Tensor
from toolchain.errors import EnvironmentFault, RunError

PACKAGES = {"litert": "ai_edge_litert", "tflite_runtime": "tflite_runtime"}


class LiteRt:
    """A .tflite file opened with an interpreter that runs in one thread."""

    def __init__(self, engine: str, path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """engine: a key of PACKAGES. Raises EnvironmentFault E404 without its package, E405 where that refuses the file."""
        package = PACKAGES[engine]
        try:
            interpreter = importlib.import_module(f"{package}.interpreter").Interpreter
        except ImportError as fault:
            hint = f"pip install {package.replace('_', '-')}, or take another --engine"
            raise EnvironmentFault(404, package, f"it cannot be imported ({fault})", hint) from fault
        self._name = path.name
        try:
            self._interpreter: Any = interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as fault:
            raise EnvironmentFault(
                405, package, f"it does not run {path.name} ({fault!s:.200})", "Take another --engine"
            ) from fault
        self._in = _indices(self._interpreter.get_input_details(), inputs, path)
        self._out = _indices(self._interpreter.get_output_details(), outputs, path)

    def run_stored(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs as stored. inputs: one array of the stored type and shape per input. Raises RunError E502."""
        try:
            for index, array in zip(self._in, inputs):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as fault:
            raise RunError(502, self._name, f"the interpreter failed ({fault!s:.200})", "Take another --engine") from fault
        return [self._interpreter.get_tensor(index) for index in self._out]


def _indices(details: Sequence[Any], tensors: Sequence[Tensor], path: Path) -> list[int]:
    """The interpreter's numbers of tensors. Raises RunError E504 where they are not those of the manifest."""
    found = [(np.dtype(detail["dtype"]).name, tuple(int(size) for size in detail["shape"])) for detail in details]
    if found != [(tensor.dtype, tensor.shape) for tensor in tensors]:
        raise RunError(504, str(path), f"its tensors are {found}, not those of the manifest", "Compile the model again")
    return [int(detail["index"]) for detail in details]
