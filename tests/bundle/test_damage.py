"""Any damage to a bundle gives a coded error or the same content, never a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolchain.bundle.graph_files import CONSTANTS_NAME, TEXT_NAME, graph_files, read_graph
from toolchain.bundle.manifest import GraphFiles, Manifest, SourceModel, TensorInfo, manifest_bytes, parse_manifest
from toolchain.errors import StropError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, TensorType, f32

X, W = Value("x", f32(1, 4)), Value("w", TensorType((2, 4), DType.F32))
NODE = make_node("fully_connected", [X, W], ["y"])
GRAPH = Graph("net", (X,), NODE.outputs, (NODE,), {"w": np.arange(8, dtype=np.float32).reshape(2, 4)})
FILES = graph_files(GRAPH)
MANIFEST = Manifest(
    name="net",
    target="host",
    precision="float32",
    source=SourceModel("net.onnx", "onnx", "0" * 64),
    graph=GraphFiles(TEXT_NAME, CONSTANTS_NAME),
    inputs=(TensorInfo("x", "f32", (1, 4), 16),),
    outputs=(TensorInfo("y", "f32", (1, 2), 8),),
    macs=8,
    versions={},
)


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with a stretch replaced, cut off or repeated."""
    start = draw(st.integers(0, len(content)))
    stop = draw(st.integers(start, min(len(content), start + 12)))
    return content[:start] + draw(st.binary(max_size=12)) + content[stop:]


@settings(max_examples=300, deadline=None)
@given(damage(manifest_bytes(MANIFEST)))
def test_manifests(content: bytes) -> None:
    try:
        assert isinstance(parse_manifest(content, "m"), Manifest)
    except StropError as fault:
        assert fault.number == 504 and fault.place == "m"


@pytest.mark.parametrize("name", [TEXT_NAME, CONSTANTS_NAME])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_graphs(name: str, data: st.DataObject, tmp_path: Path) -> None:
    for each, content in FILES.items():
        (tmp_path / each).write_bytes(data.draw(damage(content)) if each == name else content)
    try:
        assert isinstance(read_graph(tmp_path / TEXT_NAME, tmp_path / CONSTANTS_NAME), Graph)
    except StropError as fault:
        assert fault.number in (103, 104, 106, 107, 108, 111, 504)
