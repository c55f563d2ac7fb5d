"""Runs .tflite files with LiteRT on this machine: its XNNPACK kernels, or the reference kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import DataError, EnvironmentFault

Array = NDArray[Any]
FAULTS = (RuntimeError, ValueError, TypeError)


class LiteRtModel:
    """A .tflite file opened with LiteRT. reference: its plain kernels instead of XNNPACK."""

    def __init__(self, model: bytes, *, reference: bool = False, threads: int = 1) -> None:
        """Raises EnvironmentFault(404) without ai-edge-litert, (405) when LiteRT refuses the model."""
        try:
            from ai_edge_litert.interpreter import (  # type: ignore[import-untyped, unused-ignore]
                Interpreter,
                OpResolverType,
            )
        except ImportError as fault:
            hint = "Install it: pip install ai-edge-litert"
            raise EnvironmentFault(404, "ai-edge-litert", "the package that runs .tflite is missing", hint) from fault
        kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
        try:
            self._interpreter: Any = Interpreter(model_content=model, experimental_op_resolver_type=kind, num_threads=threads)
            self._interpreter.allocate_tensors()
        except FAULTS as fault:
            raise _refused(fault) from fault

    @property
    def input_details(self) -> list[dict[str, Any]]:
        """LiteRT's description of each input: name, index, shape, dtype."""
        return list(self._interpreter.get_input_details())

    def invoke(self) -> None:
        """One inference of the inputs that are there. Raises EnvironmentFault(405)."""
        try:
            self._interpreter.invoke()
        except FAULTS as fault:
            raise _refused(fault) from fault

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for one sample. Raises DataError(201, 202) for inputs that do not fit, EnvironmentFault(405)."""
        details = self.input_details
        if len(inputs) != len(details):
            raise DataError(201, "inputs", f"{len(inputs)} were given, the model has {len(details)}", "Give one each")
        for array, detail in zip(inputs, details, strict=True):
            _check(array, detail)
            self._interpreter.set_tensor(detail["index"], array)
        self.invoke()
        return [np.array(self._interpreter.get_tensor(detail["index"])) for detail in self._interpreter.get_output_details()]


def run_tflite_litert(model: bytes, inputs: Sequence[Array], *, reference: bool = False) -> list[Array]:
    """Outputs of a .tflite file for one sample; reference chooses LiteRT's plain kernels. Errors as `LiteRtModel`."""
    return LiteRtModel(model, reference=reference).run(inputs)


def run_tflite_litert_batch(model: bytes, samples: Sequence[Sequence[Array]], *, reference: bool = False) -> list[list[Array]]:
    """Outputs for each sample (a sequence of inputs), the model opened once. Errors as `LiteRtModel`."""
    opened = LiteRtModel(model, reference=reference)
    return [opened.run(sample) for sample in samples]


def _check(array: Array, detail: dict[str, Any]) -> None:
    shape = tuple(int(size) for size in detail["shape"])
    if array.shape != shape:
        raise DataError(201, str(detail["name"]), f"shape {array.shape} was given, {shape} is needed", "Reshape the sample")
    if array.dtype != np.dtype(detail["dtype"]):
        wanted = np.dtype(detail["dtype"])
        raise DataError(202, str(detail["name"]), f"{array.dtype} was given, {wanted} is needed", "Convert the sample")


def _refused(fault: Exception) -> EnvironmentFault:
    lines = [line for line in str(fault).splitlines() if line.strip()] or [type(fault).__name__]
    return EnvironmentFault(405, "LiteRT", f"it does not run the model ({lines[0][:300]})", "See which operator it names")
