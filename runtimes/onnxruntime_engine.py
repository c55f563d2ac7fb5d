"""ONNX Runtime on the host: float execution for calibration, and QDQ models."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.backends.onnx.writer import write_onnx
from toolchain.errors import DataError, EnvironmentFault, ModelError, RunError
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType
from toolchain.reference.evaluator import evaluate

Inputs = Sequence[Array] | Mapping[str, Array]


class OnnxSession:
    """A loaded model that can be run again and again, on one thread so that sums keep their order.

    optimize: let ONNX Runtime fuse nodes; without it every value is computed as the file says.
    """

    def __init__(self, model: bytes, optimize: bool = True) -> None:
        """Raises EnvironmentFault E404 without onnxruntime, RunError E502 when it refuses the model."""
        # Else it reports to its makers and leaves a mark among the temporary files.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            onnxruntime: Any = importlib.import_module("onnxruntime")
        except ImportError as fault:
            raise EnvironmentFault(404, "onnxruntime", "the package is not installed", "pip install onnxruntime") from fault
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
        try:
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as fault:
            raise _refused(fault) from fault
        self.input_names: tuple[str, ...] = tuple(entry.name for entry in self._session.get_inputs())
        self.output_names: tuple[str, ...] = tuple(entry.name for entry in self._session.get_outputs())

    def run(self, inputs: Inputs, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """The named outputs (all by default) for inputs in order or by name.

        Raises DataError E201 when the number of inputs is wrong, RunError E502 when execution fails.
        """
        if not isinstance(inputs, Mapping):
            if len(inputs) != len(self.input_names):
                what = f"{len(inputs)} inputs were given, the model has {len(self.input_names)}"
                raise DataError(201, "onnxruntime", what, "Give one array an input")
            inputs = dict(zip(self.input_names, inputs, strict=True))
        names = list(self.output_names if outputs is None else outputs)
        try:
            results: list[Any] = self._session.run(names, {name: np.asarray(array) for name, array in inputs.items()})
        except Exception as fault:
            raise _refused(fault) from fault
        return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}


def _refused(fault: Exception) -> RunError:
    """ONNX Runtime raises classes of its own that share no base but Exception."""
    text = str(fault).splitlines()[0][:300] if str(fault) else type(fault).__name__
    return RunError(502, "onnxruntime", text, "Run the reference evaluator instead")


def run_onnx(model: bytes, inputs: Inputs, outputs: Sequence[str] | None = None) -> dict[str, Array]:
    """Outputs of one run by name, without graph optimizations. Raises as OnnxSession does."""
    return OnnxSession(model, optimize=False).run(inputs, outputs)


def float_executor(graph: Graph) -> Callable[[Sequence[Array]], dict[str, Array]]:
    """What calibration runs: one sample's inputs to every float32 node output and graph output by name.

    ONNX Runtime where it takes the graph, else the reference evaluator, which is slower and means the same.
    """
    made = [value.name for node in graph.nodes for value in node.outputs if value.type.dtype is DType.F32 and value.type.elements]
    try:
        session = OnnxSession(write_onnx(graph, made), optimize=False)
    except (ModelError, RunError):
        return lambda inputs: evaluate(graph, inputs, made)
    wanted = [name for name in session.output_names if name in {*made, *(value.name for value in graph.outputs)}]
    return lambda inputs: session.run(inputs, wanted)
