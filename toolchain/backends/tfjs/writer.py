"""A graph to the files of a TF.js graph model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from toolchain.backends.tfjs.builder import GRAPH_TYPES, Builder, refuse, type_name
from toolchain.backends.tfjs.table import EMITTERS
from toolchain.backends.tfjs.weights import shards
from toolchain.ir.graph import Graph, Value

MODEL_NAME = "model.json"
# The graph version that TF.js 4 was made for.
VERSIONS = {"producer": 1882}
PRODUCER = "strop"


def write_tfjs(graph: Graph) -> dict[str, bytes]:
    """The files of the model by name: `model.json` and shards of at most 4 MiB; equal graphs give equal bytes.

    Inputs and outputs are float32 in real units, also those of a quantized graph, which is computed in float: TF.js has no
    integer arithmetic. Its weights stay bytes, scales per channel are applied once, when the model is loaded.
    Raises TargetError(305) for a node that TF.js cannot say.
    """
    builder = Builder(graph)
    inputs = {builder.placeholder(value): value for value in graph.inputs}
    for node in graph.nodes:
        if builder.skips(node):
            continue
        emit = EMITTERS.get(node.op)
        if emit is None:
            raise refuse(node)
        emit(builder, node)
    outputs = {builder.output(value): value for value in graph.outputs}
    manifest, files = shards(builder.weights)
    document: dict[str, object] = {
        "format": "graph-model",
        "generatedBy": PRODUCER,
        "convertedBy": PRODUCER,
        "modelTopology": {"node": builder.nodes, "versions": VERSIONS},
        "signature": {"inputs": _signature(inputs) | _captured(builder), "outputs": _signature(outputs)},
        "weightsManifest": manifest,
    }
    if builder.initializer:
        document["modelInitializer"] = {"node": builder.initializer, "versions": VERSIONS}
        document["initializerSignature"] = {"outputs": _captured(builder)}
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return {MODEL_NAME: text.encode(), **files}


def _signature(values: Mapping[str, Value]) -> dict[str, object]:
    return {name: _tensor(name, type_name(value), value.type.shape) for name, value in values.items()}


def _captured(builder: Builder) -> dict[str, object]:
    """The weights that the initializer makes, which TF.js gives to the graph as inputs of their own."""
    return {name: {"name": f"{name}:0", "resourceId": index} for index, name in enumerate(builder.captured, 1)}


def _tensor(name: str, kind: str, shape: Sequence[int]) -> dict[str, object]:
    sizes = [{"size": str(size)} for size in shape]
    return {"name": f"{name}:0", "dtype": GRAPH_TYPES[kind], "tensorShape": {"dim": sizes}}
