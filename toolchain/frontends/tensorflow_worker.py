"""The process in which TensorFlow opens a stranger's file: `python -m toolchain.frontends.tensorflow_worker JOB`.

JOB is a folder with `job.json`. It gets `model.tflite` and `names.json`, or `fault.json` with a coded error. HDF5's and
TensorFlow's own code may hang or end the process on damaged files, which then takes nothing else with it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.errors import EnvironmentFault, ModelError, StropError
from toolchain.frontends.keras_files import check_hdf5, check_keras_weights
from toolchain.frontends.tensorflow_files import SERVE_TAG, Shapes, check_names, static_shape

HDF5_CPU_SECONDS = 2
_AGAIN = "Export or copy the model again"


@dataclass(frozen=True, slots=True)
class Job:
    """What to open. inputs, outputs: tensor names by the names that users see, and sizes: of the inputs; empty for Keras."""

    path: Path
    kind: str
    shapes: Shapes
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    sizes: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Frozen:
    """A graph without variables: tensor names of its inputs and outputs, by the names that users see."""

    graph: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def main(folder: Path) -> int:
    """Do the job in the folder; status 0 also when the file is refused."""
    given = json.loads((folder / "job.json").read_text())
    shapes = {name: tuple(sizes) for name, sizes in given["shapes"].items()}
    job = Job(Path(given["path"]), given["kind"], shapes, given["inputs"], given["outputs"], given["sizes"])
    try:
        if job.kind in ("keras", "h5"):
            _check_keras(job)
        tf = import_tensorflow()
        frozen = _read_keras(tf, job.path, job.shapes) if job.kind in ("keras", "h5") else _read_graph(tf, job)
        (folder / "model.tflite").write_bytes(_convert(tf, frozen, job.path.name))
        (folder / "names.json").write_text(json.dumps({"inputs": dict(frozen.inputs), "outputs": dict(frozen.outputs)}))
    except StropError as fault:
        (folder / "fault.json").write_text(json.dumps(fault.as_json()))
    return 0


def _check_keras(job: Job) -> None:
    """What HDF5 holds, under a limit on the work, as its library loops without end on some damaged files."""
    with _limited_work():
        if job.kind == "keras":
            check_keras_weights(job.path)
        else:
            check_hdf5(job.path, job.path.name, job.path.stat().st_size)


@contextmanager
def _limited_work() -> Generator[None]:
    """The kernel ends this process when the work takes HDF5_CPU_SECONDS; systems without such limits have none."""
    if os.name != "posix":
        yield
        return
    limits: Any = importlib.import_module("resource")
    usage = limits.getrusage(limits.RUSAGE_SELF)
    soft, hard = limits.getrlimit(limits.RLIMIT_CPU)
    limits.setrlimit(limits.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1 + HDF5_CPU_SECONDS, hard))
    yield
    limits.setrlimit(limits.RLIMIT_CPU, (soft, hard))


def import_tensorflow() -> Any:
    """The package, its messages turned off before it starts. Raises EnvironmentFault(404)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow as tf  # type: ignore[import-untyped, unused-ignore]
    except ImportError as fault:
        what = f"Keras models and SavedModels need TensorFlow, which cannot be imported ({fault})"
        raise EnvironmentFault(404, "tensorflow", what[:300], "pip install 'strop[keras]'") from fault
    return tf


def _faults(tf: Any) -> tuple[type[Exception], ...]:
    return (tf.errors.OpError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, IndexError)


def _damaged(place: str, fault: Exception) -> ModelError:
    lines = [line for line in str(fault).splitlines() if line.strip()] or [type(fault).__name__]
    return ModelError(103, place, f"TensorFlow cannot open it ({lines[0][:300]})", _AGAIN)


def keras_as_tflite(tf: Any, model: Any, place: str) -> tuple[bytes, dict[str, dict[str, str]]]:
    """The float .tflite of a Keras model in memory, and tensor names of its inputs and outputs by the names that users see.

    An unknown batch is 1. Raises ModelError 103 to 105.
    """
    frozen = _freeze_keras(tf, model, place, {})
    return _convert(tf, frozen, place), {"inputs": dict(frozen.inputs), "outputs": dict(frozen.outputs)}


def _read_keras(tf: Any, path: Path, shapes: Shapes) -> _Frozen:
    try:
        model = tf.keras.models.load_model(str(path), compile=False, safe_mode=True)
    except _faults(tf) as fault:
        if "nknown layer" in str(fault) or "ould not locate class" in str(fault):
            what = f"a layer is not one of Keras's own ({str(fault).splitlines()[0][:200]})"
            raise ModelError(104, path.name, what, "Export the model as a SavedModel (model.export)") from fault
        raise _damaged(path.name, fault) from fault
    return _freeze_keras(tf, model, path.name, shapes)


def _freeze_keras(tf: Any, model: Any, place: str, shapes: Shapes) -> _Frozen:
    """The graph of a Keras model for inference, with its weights as constants."""
    from tensorflow.python.framework.convert_to_constants import (  # type: ignore[import-untyped, unused-ignore]
        convert_variables_to_constants_v2,
    )

    if not model.inputs:
        raise ModelError(105, place, "the model was saved before it had an input shape", "Build the model, then save it")
    check_names(shapes, [tensor.name for tensor in model.inputs])
    specs = [tf.TensorSpec(static_shape(t.name, tuple(t.shape), shapes), t.dtype, name=t.name) for t in model.inputs]

    def call(*values: Any) -> Any:
        return model(list(values) if len(specs) > 1 else values[0], training=False)

    try:
        frozen = convert_variables_to_constants_v2(tf.function(call).get_concrete_function(*specs))
    except _faults(tf) as fault:
        raise _damaged(place, fault) from fault
    inputs = {tensor.name: value.name for tensor, value in zip(model.inputs, frozen.inputs, strict=True)}
    names = list(model.output_names) if hasattr(model, "output_names") else []
    if len(set(names)) != len(frozen.outputs):
        names = [f"output_{index}" for index in range(len(frozen.outputs))]
    outputs = {name: value.name for name, value in zip(names, frozen.outputs, strict=True)}
    return _Frozen(frozen.graph.as_graph_def(), inputs, outputs)


def _read_graph(tf: Any, job: Job) -> _Frozen:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    if job.kind == "saved_model":
        graph_def = _frozen_saved_model(tf, job)
    else:
        graph_def = tf.compat.v1.GraphDef()
        try:
            graph_def.ParseFromString(job.path.read_bytes())
        except DecodeError as fault:
            raise _damaged(job.path.name, fault) from fault
    return _Frozen(_with_shapes(graph_def, job), job.inputs, job.outputs)


def _frozen_saved_model(tf: Any, job: Job) -> Any:
    """Loaded as a graph with a session, which needs none of the Python objects that the folder also describes."""
    from tensorflow.python.framework.convert_to_constants import (  # type: ignore[import-untyped, unused-ignore]
        convert_variables_to_constants_from_session_graph,
    )

    try:
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            tf.compat.v1.saved_model.loader.load(session, [SERVE_TAG], str(job.path if job.path.is_dir() else job.path.parent))
            names = [tensor.split(":")[0] for tensor in job.outputs.values()]
            return convert_variables_to_constants_from_session_graph(session, graph.as_graph_def(), names)
    except _faults(tf) as fault:
        raise _damaged(job.path.name, fault) from fault


def _with_shapes(graph_def: Any, job: Job) -> Any:
    """The graph with the shapes of its placeholders made static."""
    nodes = {node.name: node for node in graph_def.node}
    for name, tensor in job.inputs.items():
        node = nodes.get(tensor.split(":")[0])
        if node is None:
            raise ModelError(103, name, f"no output depends on {tensor!r}", _AGAIN)
        shape = node.attr["shape"].shape
        shape.Clear()
        for size in job.sizes[name]:
            shape.dim.add().size = size
        node.attr.pop("_output_shapes", None)
    return graph_def


def _convert(tf: Any, frozen: _Frozen, place: str) -> bytes:
    """The float .tflite of a frozen graph. Raises ModelError 103, 104."""
    from tensorflow.lite.python.convert_phase import ConverterError  # type: ignore[import-untyped, unused-ignore]

    try:
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(frozen.graph, name=""), [])
        ends = [[wrapped.graph.get_tensor_by_name(name) for name in side.values()] for side in (frozen.inputs, frozen.outputs)]
        function = wrapped.prune(ends[0], ends[1])
        return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], None).convert())
    except ConverterError as fault:
        lines = [line for line in str(fault).splitlines() if "op" in line.lower()] or str(fault).splitlines()
        what = f"TensorFlow's converter refuses the model ({lines[0].strip()[:300]})"
        raise ModelError(104, place, what, "Replace the operation it names") from fault
    except _faults(tf) as fault:
        if "not registered" in str(fault):
            what = f"TensorFlow does not have the operation ({str(fault)[:60]})"
            raise ModelError(104, place, what, "Replace the operation it names") from fault
        raise _damaged(place, fault) from fault


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
