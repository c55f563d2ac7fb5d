"""A graph to a SavedModel without variables: the nodes that TF.js would get, as a TensorFlow graph with its weights inside."""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.backends.tfjs.writer import MODEL_NAME, write_tfjs
from toolchain.errors import EnvironmentFault, TargetError
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array

FOLDER = "savedmodel/1"
"""In a bundle: servers want folders of versions below the model's."""

FILE = "saved_model.pb"
SIGNATURE, TAG = "serving_default", "serve"
METHOD = "tensorflow/serving/predict"
MOST_BYTES = (1 << 31) - 1
"""Protocol buffers hold no more."""

TYPES = {"DT_FLOAT": "float32", "DT_INT32": "int32", "DT_BOOL": "bool"}
LISTS = {"ConcatV2": 1, "Pack": 0}
"""Ops whose first operands are one list: how many operands come after it."""

FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative", "_FusedMatMul": "MatMul"}
"""TF.js's fused kernels, each of which TensorFlow has as several ops."""


def write_savedmodel(graph: Graph) -> dict[str, bytes]:
    """The files of the SavedModel's folder; equal graphs and versions of TensorFlow give equal bytes.

    Inputs and outputs are in real units, float32 for quantized ones, whose arithmetic is float on the quantized weights.
    Raises TargetError(305) for what it cannot say or hold, EnvironmentFault(404) without TensorFlow.
    """
    files = write_tfjs(graph)
    tf = _tensorflow()
    document: Mapping[str, Any] = json.loads(files[MODEL_NAME])
    builder = _Builder(tf, weights_of(document, files))
    with tf.Graph().as_default() as made:
        for part in ("modelInitializer", "modelTopology"):
            for node in document.get(part, {}).get("node", ()):
                builder.add(node)
        definition: Any = made.as_graph_def()
    data = _saved(tf, definition, builder, document["signature"])
    if len(data) > MOST_BYTES:
        what = f"a SavedModel without variables holds {MOST_BYTES:,} B, these are {len(data):,}"
        raise TargetError(305, graph.name, what, "Choose another format")
    return {FILE: data}


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return importlib.import_module("tensorflow")
    except ImportError as fault:
        raise EnvironmentFault(404, "tensorflow", "it is not installed", "pip install 'strop[keras]'") from fault


def weights_of(document: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Array]:
    """The arrays of a TF.js model by name, as TF.js reads them."""
    found: dict[str, Array] = {}
    for group in document["weightsManifest"]:
        data, at = b"".join(files[path] for path in group["paths"]), 0
        for entry in group["weights"]:
            quantization = entry.get("quantization")
            stored = np.dtype(quantization["dtype"] if quantization else entry["dtype"])
            count = int(np.prod(entry["shape"], dtype=np.int64))
            array = np.frombuffer(data, stored, count, at).reshape(entry["shape"])
            at += count * stored.itemsize
            if quantization and "scale" in quantization:
                array = array.astype(np.float64) * quantization["scale"] + quantization["min"]
            found[entry["name"]] = array.astype(entry["dtype"])
    return found


class _Builder:
    """Nodes of a TF.js graph as tensors of the TensorFlow graph that is being made."""

    def __init__(self, tf: Any, weights: Mapping[str, Array]) -> None:
        self._tf, self._weights = tf, weights
        self.tensors: dict[str, Any] = {}

    def add(self, node: Mapping[str, Any]) -> None:
        """One node; one that the initializer made already is what the main graph asks for by a placeholder."""
        name, op = node["name"], node["op"]
        if name in self.tensors:
            return
        if op == "Const":
            made = self._tf.constant(self._weights[name], name=name)
        elif op == "Placeholder":
            shape = [int(size["size"]) for size in node["attr"]["shape"]["shape"]["dim"]]
            kind = TYPES[node["attr"]["dtype"]["type"]]
            made = self._tf.compat.v1.placeholder(kind, shape, name=name)
        else:
            inputs = [self.tensor(each) for each in node["input"]]
            attributes = {key: _attribute(value) for key, value in node.get("attr", {}).items()}
            made = self._made(op, inputs, attributes, name.lstrip("_"))
        several = isinstance(made, (list, tuple))
        for index, tensor in enumerate(made if several else (made,)):
            self.tensors[name if index == 0 else f"{name}:{index}"] = tensor

    def tensor(self, name: str) -> Any:
        """The tensor that a node's input names."""
        return self.tensors[name.removesuffix(":0")]

    def _made(self, op: str, inputs: Sequence[Any], attributes: dict[str, Any], name: str) -> Any:
        if op in FUSED:
            return self._unfused(op, inputs, attributes, name)
        if op == "Prelu":
            raw = self._tf.raw_ops
            kept, cut = raw.Relu(features=inputs[0]), raw.Relu(features=raw.Neg(x=inputs[0]))
            return raw.Sub(x=kept, y=raw.Mul(x=inputs[1], y=cut), name=name)
        if op == "ConcatV2" and len(inputs) == 2:
            return self._tf.raw_ops.Identity(input=inputs[0], name=name)
        if op == "SplitV":
            attributes["num_split"] = int(inputs[1].shape[0])
        if op in ("ArgMax", "ArgMin"):
            attributes["output_type"] = "int32"
        return self._raw(op, inputs, attributes, name)

    def _unfused(self, op: str, inputs: Sequence[Any], attributes: dict[str, Any], name: str) -> Any:
        """The product, then what is fused onto it, in order."""
        steps = attributes.pop("fused_ops", [])
        attributes.pop("num_args", None)
        operands, more = list(inputs[:2]), list(inputs[2:])
        result = self._raw(FUSED[op], operands, attributes, f"{name}_product" if steps else name)
        for index, step in enumerate(steps):
            last = name if index == len(steps) - 1 else f"{name}_{step}"
            result = self._raw(step, [result, more.pop(0)] if step == "BiasAdd" else [result], {}, last)
        return result

    def _raw(self, op: str, inputs: Sequence[Any], attributes: Mapping[str, Any], name: str) -> Any:
        """An op of TensorFlow with operands in its own order; attributes that it has not are left out."""
        function = getattr(self._tf.raw_ops, op)
        names = list(inspect.signature(function).parameters)
        operands = list(inputs)
        if op in LISTS:
            end = len(operands) - LISTS[op]
            operands = [operands[:end], *operands[end:]]
        known = {key: value for key, value in attributes.items() if key in names}
        return function(**dict(zip(names, operands, strict=False)), **known, name=name)


def _attribute(value: Mapping[str, Any]) -> Any:
    """An attribute of the JSON form."""
    kind, held = next(iter(value.items()))
    if kind == "list":
        inner, items = next(iter(held.items())) if held else ("i", [])
        return [_attribute({inner: item}) for item in items]
    if kind == "s":
        return base64.b64decode(held).decode()
    if kind == "type":
        return TYPES[held]
    return int(held) if kind == "i" else held


def _saved(tf: Any, definition: Any, builder: _Builder, signature: Mapping[str, Any]) -> bytes:
    """The file: one graph with the tag and the signature that servers look for."""
    saved = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2").SavedModel()
    saved.saved_model_schema_version = 1
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append(TAG)
    meta.meta_info_def.tensorflow_version = tf.__version__
    meta.graph_def.CopyFrom(definition)
    entry = meta.signature_def[SIGNATURE]
    entry.method_name = METHOD
    for way, entries in ((entry.inputs, signature["inputs"]), (entry.outputs, signature["outputs"])):
        for name, described in entries.items():
            if "resourceId" in described:
                continue
            tensor = builder.tensor(name)
            way[name].name = tensor.name
            way[name].dtype = tensor.dtype.as_datatype_enum
            way[name].tensor_shape.CopyFrom(tensor.shape.as_proto())
    return saved.SerializeToString(deterministic=True)
