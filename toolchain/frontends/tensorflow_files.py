"""Looks into SavedModels and frozen graphs before TensorFlow is imported: damage and code are found in milliseconds.

The messages below are the parts of TensorFlow's that are needed; protocol buffers keep the other fields as they are.
Source: graph.proto, function.proto, meta_graph.proto and saved_model.proto of TensorFlow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from toolchain.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]
SERVING = "serving_default"
SERVE_TAG = "serve"
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
_AGAIN = "Export or copy the model again"

# Fields by message: name, number and type; a star marks a repeated field, `Map:X` a map from strings to X.
_MESSAGES: Mapping[str, tuple[tuple[str, int, str], ...]] = MappingProxyType(
    {
        "Dim": (("size", 1, "int64"),),
        "Shape": (("dim", 2, "*Dim"), ("unknown_rank", 3, "bool")),
        "AttrValue": (("shape", 7, "Shape"),),
        "Node": (("name", 1, "string"), ("op", 2, "string"), ("input", 3, "*string"), ("attr", 5, "Map:AttrValue")),
        "Function": (("node_def", 3, "*Node"),),
        "Library": (("function", 1, "*Function"),),
        "Graph": (("node", 1, "*Node"), ("library", 2, "Library")),
        "TensorInfo": (("name", 1, "string"),),
        "Signature": (("inputs", 1, "Map:TensorInfo"), ("outputs", 2, "Map:TensorInfo")),
        "MetaInfo": (("tags", 4, "*string"),),
        "MetaGraph": (("meta_info_def", 1, "MetaInfo"), ("graph_def", 2, "Graph"), ("signature_def", 5, "Map:Signature")),
        "SavedModel": (("meta_graphs", 2, "*MetaGraph"),),
    }
)


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a graph begins and ends: tensor names by the names that users see, and the stored shapes of the inputs."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    shapes: Mapping[str, tuple[int | None, ...] | None]


@cache
def _classes() -> Mapping[str, Any]:
    """The message classes by name, in a pool of their own, so that TensorFlow's cannot clash with them."""
    file = descriptor_pb2.FileDescriptorProto(name="strop_tensorflow.proto", package="strop", syntax="proto3")
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, number, kind in fields:
            _declare(declared, name, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"strop.{name}")) for name in _MESSAGES}


def _declare(message: Any, name: str, number: int, kind: str) -> None:
    field = descriptor_pb2.FieldDescriptorProto
    if kind.startswith("Map:"):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _declare(entry, "key", 1, "string")
        _declare(entry, "value", 2, kind.removeprefix("Map:"))
        kind = f"*{message.name}.{entry.name}"
    scalar = {"int64": field.TYPE_INT64, "bool": field.TYPE_BOOL, "string": field.TYPE_STRING}
    plain = kind.removeprefix("*")
    added = message.field.add(name=name, number=number, type=scalar.get(plain, field.TYPE_MESSAGE))
    added.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
    if plain not in scalar:
        added.type_name = f".strop.{plain}"


def _parsed(kind: str, path: Path, place: str) -> Any:
    message = _classes()[kind]()
    try:
        message.ParseFromString(path.read_bytes())
    except OSError as fault:
        raise ModelError(101, place, f"the file cannot be read ({fault.strerror})", "Check the path") from fault
    except DecodeError as fault:
        what = f"{path.name} of {path.stat().st_size:,} B does not parse as TensorFlow's {kind}"
        raise ModelError(103, place, what, _AGAIN) from fault
    return message


def check_saved_model(folder: Path, place: str) -> Ends:
    """The ends of the signature to compile. Raises ModelError 101, 103 and, for code, 110."""
    stored = _parsed("SavedModel", folder / "saved_model.pb", place)
    metas = [meta for meta in stored.meta_graphs if SERVE_TAG in meta.meta_info_def.tags]
    if not metas:
        raise ModelError(103, place, "the folder holds no graph with the tag 'serve'", "Export the model with model.export")
    graph = metas[0].graph_def
    _check_ops(graph, place)
    signatures = {name: value for name, value in metas[0].signature_def.items() if value.inputs and value.outputs}
    if not signatures:
        raise ModelError(103, place, "the folder holds no signature with inputs and outputs", "Export it with model.export")
    signature = signatures.get(SERVING) or signatures[min(signatures)]
    inputs = {name: signature.inputs[name].name for name in sorted(signature.inputs)}
    outputs = {name: signature.outputs[name].name for name in sorted(signature.outputs)}
    return Ends(inputs, outputs, _shapes(graph, inputs))


def check_frozen(path: Path) -> Ends:
    """The ends of a frozen graph: its placeholders, and what nothing reads. Raises ModelError 101, 103, 108, for code 110."""
    graph = _parsed("Graph", path, path.name)
    _check_ops(graph, path.name)
    names = Counter(node.name for node in graph.node)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise ModelError(108, twice, f"{names[twice]} nodes have this name", "Give every node its own name")
    used = {name.lstrip("^").split(":")[0] for node in graph.node for name in node.input}
    missing = used - set(names)
    if missing:
        what = f"a node reads {min(missing)!r}, and none of the {len(names):,} nodes makes it"
        raise ModelError(103, path.name, what, _AGAIN)
    inputs = {node.name: f"{node.name}:0" for node in graph.node if node.op == "Placeholder"}
    outputs = {node.name: f"{node.name}:0" for node in graph.node if node.name not in used and node.op not in NO_RESULT}
    if not inputs or not outputs:
        raise ModelError(103, path.name, f"the graph has {len(inputs)} inputs and {len(outputs)} outputs", _AGAIN)
    return Ends(inputs, outputs, _shapes(graph, inputs))


def _check_ops(graph: Any, place: str) -> None:
    """Raise ModelError(110) for an operation that reads or writes files or calls Python."""
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    for node in nodes:
        if node.op in CODE_OPS:
            what = f"the operation {node.name!r} is {node.op}, which reaches outside the model"
            raise ModelError(110, place, what, "Export the model without it")


def _shapes(graph: Any, inputs: Mapping[str, str]) -> dict[str, tuple[int | None, ...] | None]:
    """Stored shapes of placeholders, None for an unknown size or rank."""
    nodes = {node.name: node for node in graph.node}
    found: dict[str, tuple[int | None, ...] | None] = {}
    for name, tensor in inputs.items():
        node = nodes.get(tensor.split(":")[0])
        if node is None:
            raise ModelError(103, name, f"the graph has no node {tensor!r}", _AGAIN)
        shape = node.attr["shape"].shape
        found[name] = None if shape.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
    return found


def static_shape(name: str, stored: Sequence[int | None] | None, shapes: Shapes) -> list[int]:
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


def check_names(shapes: Shapes, known: Sequence[str]) -> None:
    """Raise ModelError(105) for a shape that was given to no input."""
    for name in shapes:
        if name not in known:
            raise ModelError(105, name, f"the model has no such input, it has {', '.join(known)}", "Name one of them")
