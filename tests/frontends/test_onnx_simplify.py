"""onnxsim: used where it helps and computes the same, never in the way."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_graphs import error_of, onnxruntime_outputs
from toolchain.frontends.onnx import simplify as module
from toolchain.frontends.onnx.load import load_onnx
from toolchain.frontends.onnx.simplify import simplify
from toolchain.frontends.onnx.simplify_worker import agree
from toolchain.reference.evaluator import run

needs_onnxsim = pytest.mark.skipif(importlib.util.find_spec("onnxsim") is None, reason="onnxsim is not installed")


def wordy() -> onnx.ModelProto:
    """A product with a matrix that is computed from constants, and an identity."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["w"]),
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("MatMul", ["i", "w"], ["y"]),
    ]
    random = np.random.default_rng(0)
    stored = [numpy_helper.from_array(random.standard_normal((3, 2)).astype(np.float32), name) for name in ("a", "b")]
    entry = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 3), ("y", 2))]
    graph = helper.make_graph(nodes, "wordy", entry[:1], entry[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@needs_onnxsim
def test_fewer_nodes_same_outputs() -> None:
    result = simplify(wordy(), {"x": (1, 3)})
    assert result.reason == ""
    assert (result.nodes_before, result.nodes_after) == (3, 1)
    x = np.ones((1, 3), np.float32)
    assert error_of(onnxruntime_outputs(result.model, {"x": x})[0], onnxruntime_outputs(wordy(), {"x": x})[0]) < 1e-6


@needs_onnxsim
def test_loaded_graph_is_right(tmp_path: Path) -> None:
    onnx.save(wordy(), tmp_path / "wordy.onnx")
    graph = load_onnx(tmp_path / "wordy.onnx")
    x = np.arange(3, dtype=np.float32).reshape(1, 3)
    assert [value.name for value in (*graph.inputs, *graph.outputs)] == ["x", "y"]
    assert error_of(run(graph, [x])[0], onnxruntime_outputs(wordy(), {"x": x})[0]) < 1e-5


def test_absent_package_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    result = simplify(wordy())
    assert result.reason == "onnxsim is not installed"
    assert result.nodes_after == result.nodes_before == 3


@needs_onnxsim
def test_time_limit() -> None:
    assert "more than" in simplify(wordy(), {"x": (1, 3)}, limit_seconds=0.01).reason


def test_quantized_models_are_left_alone() -> None:
    model = wordy()
    model.graph.node.append(helper.make_node("DequantizeLinear", ["q", "s"], ["z"]))
    assert "quantized" in simplify(model).reason or "not installed" in simplify(model).reason


def test_other_outputs_do_not_agree() -> None:
    changed = wordy()
    changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((3, 2), np.float32), "a"))
    assert agree(wordy(), wordy(), {"x": [1, 3]})
    assert not agree(wordy(), changed, {"x": [1, 3]})
