"""The formats `tfjs` and `litertjs`: a graph to a folder that a web server can serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.backends.tfjs.writer import MODEL_NAME, write_tfjs
from toolchain.backends.tflite.writer import write_tflite
from toolchain.backends.web.interface import with_float_interface, with_short_names
from toolchain.backends.web.package import Engine, web_files
from toolchain.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class EmittedWeb:
    """Files by path relative to the bundle, and the manifest's object of the format."""

    files: Mapping[str, bytes]
    section: Mapping[str, object]


def emit_tfjs(graph: Graph, name: str) -> EmittedWeb:
    """A folder with a TF.js graph model. Raises TargetError(305) for what TF.js cannot say."""
    return _emitted(graph, name, "tfjs", MODEL_NAME, write_tfjs(graph))


def emit_litertjs(graph: Graph, name: str) -> EmittedWeb:
    """A folder with a .tflite file for LiteRT.js, integers inside and floats outside. Raises TargetError(305)."""
    model = f"{name}.tflite"
    return _emitted(graph, name, "litertjs", model, {model: write_tflite(with_short_names(with_float_interface(graph)))})


def _emitted(graph: Graph, name: str, engine: Engine, model: str, own: Mapping[str, bytes]) -> EmittedWeb:
    found = {**web_files(graph, name, engine, model, _precision(graph)), **own}
    return EmittedWeb({f"{engine}/{path}": found[path] for path in sorted(found)}, {"file": f"{engine}/{model}"})


def _precision(graph: Graph) -> str:
    """What the graph's layers give, for people to read: `int8`, `float32`, or several of these."""
    types = [value.type for node in graph.nodes for value in node.outputs]
    return "+".join(sorted({type_.dtype.numpy.name for type_ in types if type_.quant is not None or type_.dtype.is_float}))
