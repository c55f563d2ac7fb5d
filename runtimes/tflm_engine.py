"""Runs .tflite files with TensorFlow Lite Micro on this machine: its reference kernels, which define the integer bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.backends.tflm.arena import open_interpreter
from toolchain.errors import DataError, EnvironmentFault
from toolchain.extras import quiet_stderr

Array = NDArray[Any]
# The interpreter touches no more of its arena than it needs, so a generous default costs address space only.
ARENA_BYTES = 1 << 26


class TflmModel:
    """A .tflite file opened with TensorFlow Lite Micro in an arena of the given size."""

    def __init__(self, model: bytes, *, arena_bytes: int = ARENA_BYTES) -> None:
        """Raises EnvironmentFault(404) without tflite-micro, (405) when TFLM refuses the model or the arena."""
        self._log: list[str] = []
        interpreter = open_interpreter(model, arena_bytes, self._log)
        if interpreter is None:
            raise self._refused(f"with an arena of {arena_bytes:,} B")
        self._interpreter: Any = interpreter
        self._counts = _counts(model)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one sample. Raises DataError(201, 202) for inputs that do not fit, EnvironmentFault(405)."""
        if len(inputs) != self._counts[0]:
            raise DataError(201, "inputs", f"{len(inputs)} were given, the model has {self._counts[0]}", "Give one each")
        for index, array in enumerate(inputs):
            self._set(index, array)
        try:
            with quiet_stderr(self._log):
                self._interpreter.invoke()
        except RuntimeError as fault:
            raise self._refused("when it runs") from fault
        return [np.array(self._interpreter.get_output(index)) for index in range(self._counts[1])]

    def _set(self, index: int, array: Array) -> None:
        detail = self._interpreter.get_input_details(index)
        shape, wanted = tuple(int(size) for size in detail["shape"]), np.dtype(detail["dtype"])
        if array.shape != shape:
            raise DataError(201, f"input {index}", f"shape {array.shape} was given, {shape} is needed", "Reshape the sample")
        if array.dtype != wanted:
            raise DataError(202, f"input {index}", f"{array.dtype} was given, {wanted} is needed", "Convert the sample")
        self._interpreter.set_input(array, index)

    def _refused(self, when: str) -> EnvironmentFault:
        lines = [line for line in "".join(self._log).splitlines() if line.strip()] or ["no message"]
        what = f"TensorFlow Lite Micro refuses the model {when} ({lines[0][:300]})"
        return EnvironmentFault(405, "TFLM", what, "See which operator it names, or give it a larger arena")


def _counts(model: bytes) -> tuple[int, int]:
    """Numbers of inputs and outputs."""
    from toolchain.frontends.tflite.reader import read_model

    record = read_model(model, "TFLM model")
    return len(record.inputs), len(record.outputs)


def run_tflite_micro(model: bytes, inputs: Sequence[Array], *, arena_bytes: int = ARENA_BYTES) -> list[Array]:
    """Outputs of a .tflite file for one sample. Errors as `TflmModel`."""
    return TflmModel(model, arena_bytes=arena_bytes).run(inputs)


def run_tflite_micro_batch(
    model: bytes, samples: Sequence[Sequence[Array]], *, arena_bytes: int = ARENA_BYTES
) -> list[list[Array]]:
    """Outputs for each sample (a sequence of inputs), the model opened once. Errors as `TflmModel`."""
    opened = TflmModel(model, arena_bytes=arena_bytes)
    return [opened.run(sample) for sample in samples]
