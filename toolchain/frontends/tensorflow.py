"""Keras files, SavedModel folders and frozen graphs: TensorFlow's own converter makes .tflite in memory, which is then read."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from toolchain.errors import EnvironmentFault, ModelError
from toolchain.frontends.keras_files import check_keras_h5, check_keras_zip
from toolchain.frontends.tflite.load import parse_tflite
from toolchain.ir.graph import Graph, Value

Shapes = Mapping[str, tuple[int, ...]]
SERVING = "serving_default"
_AGAIN = "Export or copy the model again"
# Operations that read or write files or call Python: no network needs them.
CODE_OPS = frozenset(
    {
        "PyFunc",
        "PyFuncStateless",
        "EagerPyFunc",
        "ReadFile",
        "WriteFile",
        "MatchingFiles",
        "WholeFileReader",
        "WholeFileReaderV2",
        "TextLineReader",
        "TextLineReaderV2",
        "TFRecordReader",
        "TFRecordReaderV2",
        "FixedLengthRecordReader",
        "FixedLengthRecordReaderV2",
        "LoadLibrary",
        "PrintV2",
    }
)
# Ends of a frozen graph that are no results.
NO_RESULT = frozenset({"Placeholder", "Const", "NoOp", "Assert"})


@dataclass(frozen=True, slots=True)
class _Frozen:
    """A graph without variables: tensor names of its inputs and outputs, by the names that users see."""

    graph: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def load_tensorflow(path: Path, kind: str, input_shapes: Shapes = MappingProxyType({})) -> Graph:
    """The float graph of a `keras`, `h5`, `saved_model` or `frozen` file.

    input_shapes: shapes of inputs by name; an unknown batch is 1. Raises EnvironmentFault(404) without TensorFlow,
    ModelError 103, 104, 105, 109, 110.
    """
    if kind == "keras":
        check_keras_zip(path)
    elif kind == "h5":
        check_keras_h5(path)
    tf = _tensorflow()
    readers: dict[str, Callable[[Any, Path, Shapes], _Frozen]] = {
        "keras": _read_keras,
        "h5": _read_keras,
        "saved_model": _read_saved_model,
        "frozen": _read_frozen,
    }
    with _quiet():
        frozen = readers[kind](tf, path, input_shapes)
        data = _convert(tf, frozen, path.name)
    graph = parse_tflite(data, path.name, name=path.stem)
    return _renamed(graph, frozen)


def _tensorflow() -> Any:
    """The package, its messages turned off before it starts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        with _quiet():
            import tensorflow as tf  # type: ignore[import-untyped, unused-ignore]
    except ImportError as fault:
        what = "Keras models and SavedModels need TensorFlow, which is not installed"
        raise EnvironmentFault(404, "tensorflow", what, "pip install 'strop[keras]'") from fault
    return tf


@contextmanager
def _quiet() -> Generator[None]:
    """Swallow what TensorFlow's C++ code and its loggers write to standard error."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _faults(tf: Any) -> tuple[type[Exception], ...]:
    return (tf.errors.OpError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, IndexError)


def _damaged(place: str, fault: Exception) -> ModelError:
    lines = [line for line in str(fault).splitlines() if line.strip()] or [type(fault).__name__]
    return ModelError(103, place, f"TensorFlow cannot open it ({lines[0][:300]})", _AGAIN)


def _static(name: str, stored: Sequence[int | None] | None, shapes: Shapes) -> list[int]:
    """The shape to compile for: the given one where it fits the stored one, an unknown batch as 1. Raises ModelError(105)."""
    given = shapes.get(name)
    if stored is None and given is None:
        raise ModelError(105, name, "the shape is unknown", f"Give it, for example --input-shape {name}=1,96,96,3")
    chosen: list[int | None] = list(given if given is not None else stored or ())
    if stored is not None and given is not None:
        fits = len(stored) == len(given) and all(s in (None, g) for s, g in zip(stored, given, strict=True))
        if not fits:
            raise ModelError(105, name, f"shape {given} was given, the model fixes {tuple(stored)}", "Give sizes that are free")
    if chosen and chosen[0] is None:
        chosen[0] = 1
    sizes = [size for size in chosen if size is not None]
    if len(sizes) != len(chosen):
        what = f"shape {tuple(chosen)} has unknown dimensions after the first"
        raise ModelError(105, name, what, f"Give them, for example --input-shape {name}=1,49,10,1")
    return sizes


def _check_names(shapes: Shapes, known: Sequence[str]) -> None:
    for name in shapes:
        if name not in known:
            raise ModelError(105, name, f"the model has no such input, it has {', '.join(known)}", "Name one of them")


def _read_keras(tf: Any, path: Path, shapes: Shapes) -> _Frozen:
    from tensorflow.python.framework.convert_to_constants import (  # type: ignore[import-untyped, unused-ignore]
        convert_variables_to_constants_v2,
    )

    try:
        model = tf.keras.models.load_model(str(path), compile=False, safe_mode=True)
    except _faults(tf) as fault:
        if "nknown layer" in str(fault) or "ould not locate class" in str(fault):
            what = f"a layer is not one of Keras's own ({str(fault).splitlines()[0][:200]})"
            raise ModelError(104, path.name, what, "Export the model as a SavedModel (model.export)") from fault
        raise _damaged(path.name, fault) from fault
    if not model.inputs:
        raise ModelError(105, path.name, "the model was saved before it had an input shape", "Build the model, then save it")
    _check_names(shapes, [tensor.name for tensor in model.inputs])
    specs = [tf.TensorSpec(_static(t.name, tuple(t.shape), shapes), t.dtype, name=t.name) for t in model.inputs]

    def call(*values: Any) -> Any:
        return model(list(values) if len(specs) > 1 else values[0], training=False)

    try:
        frozen = convert_variables_to_constants_v2(tf.function(call).get_concrete_function(*specs))
    except _faults(tf) as fault:
        raise _damaged(path.name, fault) from fault
    inputs = {tensor.name: value.name for tensor, value in zip(model.inputs, frozen.inputs, strict=True)}
    names = list(model.output_names) if hasattr(model, "output_names") else []
    if len(set(names)) != len(frozen.outputs):
        names = [f"output_{index}" for index in range(len(frozen.outputs))]
    outputs = {name: value.name for name, value in zip(names, frozen.outputs, strict=True)}
    return _Frozen(frozen.graph.as_graph_def(), inputs, outputs)


def _read_saved_model(tf: Any, path: Path, shapes: Shapes) -> _Frozen:
    """Loaded as a graph with a session, which needs none of the Python objects that the folder also describes."""
    from tensorflow.python.framework.convert_to_constants import (  # type: ignore[import-untyped, unused-ignore]
        convert_variables_to_constants_from_session_graph,
    )

    folder = path if path.is_dir() else path.parent
    signature = _check_saved_model(tf, folder)
    try:
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(folder))
            ends = [info.name.split(":")[0] for info in signature.outputs.values()]
            graph_def = convert_variables_to_constants_from_session_graph(session, graph.as_graph_def(), ends)
    except _faults(tf) as fault:
        raise _damaged(path.name, fault) from fault
    inputs = {name: signature.inputs[name].name for name in sorted(signature.inputs)}
    outputs = {name: signature.outputs[name].name for name in sorted(signature.outputs)}
    _check_names(shapes, list(inputs))
    return _Frozen(_with_shapes(graph_def, inputs, shapes), inputs, outputs)


def _check_saved_model(tf: Any, folder: Path) -> Any:
    """The signature to compile. Raises ModelError 103 and, for operations that run code, 110."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # type: ignore[import-untyped, unused-ignore]

    stored: Any = SavedModel()
    try:
        stored.ParseFromString((folder / "saved_model.pb").read_bytes())
    except (DecodeError, OSError) as fault:
        raise _damaged(folder.name, fault) from fault
    metas = [meta for meta in stored.meta_graphs if tf.saved_model.SERVING in meta.meta_info_def.tags]
    if not metas:
        raise ModelError(103, folder.name, "the folder holds no graph with the tag 'serve'", "Export the model with model.export")
    _check_ops(metas[0].graph_def, folder.name)
    signatures = {name: value for name, value in metas[0].signature_def.items() if value.inputs and value.outputs}
    if not signatures:
        raise ModelError(103, folder.name, "the folder holds no signature with inputs and outputs", "Export it with model.export")
    return signatures.get(SERVING) or signatures[min(signatures)]


def _check_ops(graph_def: Any, place: str) -> None:
    """Raise ModelError(110) for an operation that reads or writes files or calls Python."""
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    for node in nodes:
        if node.op in CODE_OPS:
            what = f"the operation {node.name!r} is {node.op}, which reaches outside the model"
            raise ModelError(110, place, what, "Export the model without it")


def _read_frozen(tf: Any, path: Path, shapes: Shapes) -> _Frozen:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as fault:
        raise _damaged(path.name, fault) from fault
    _check_ops(graph_def, path.name)
    inputs = {node.name: f"{node.name}:0" for node in graph_def.node if node.op == "Placeholder"}
    used = {name.lstrip("^").split(":")[0] for node in graph_def.node for name in node.input}
    outputs = {node.name: f"{node.name}:0" for node in graph_def.node if node.name not in used and node.op not in NO_RESULT}
    if not inputs or not outputs:
        raise ModelError(103, path.name, f"the graph has {len(inputs)} inputs and {len(outputs)} outputs", _AGAIN)
    _check_names(shapes, list(inputs))
    return _Frozen(_with_shapes(graph_def, inputs, shapes), inputs, outputs)


def _with_shapes(graph_def: Any, inputs: Mapping[str, str], shapes: Shapes) -> Any:
    """The graph with the shapes of its placeholders made static."""
    nodes = {node.name: node for node in graph_def.node}
    for name, tensor in inputs.items():
        node = nodes.get(tensor.split(":")[0])
        if node is None:
            raise ModelError(103, name, f"the graph has no node {tensor!r}", _AGAIN)
        stored = node.attr["shape"].shape
        known = None if stored.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in stored.dim)
        shape = node.attr["shape"].shape
        sizes = _static(name, known, shapes)
        shape.Clear()
        for size in sizes:
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
        raise _damaged(place, fault) from fault


def _renamed(graph: Graph, frozen: _Frozen) -> Graph:
    """The graph with the users' names on its inputs and outputs, where the converter kept their order."""
    wanted: dict[str, str] = {}
    inputs = {tensor.split(":")[0]: name for name, tensor in frozen.inputs.items()}
    for value in graph.inputs:
        wanted[value.name] = inputs.get(value.name.split(":")[0], value.name)
    if len(graph.outputs) == len(frozen.outputs):
        wanted.update({value.name: name for value, name in zip(graph.outputs, frozen.outputs, strict=True)})
    taken = {value.name for value in graph.values()} - set(wanted)
    if len(set(wanted.values())) != len(wanted) or taken & set(wanted.values()):
        return graph

    def change(value: Value) -> Value:
        return replace(value, name=wanted.get(value.name, value.name))

    return graph.map_values(change)
