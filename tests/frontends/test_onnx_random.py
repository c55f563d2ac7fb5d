"""Random networks: the evaluator against ONNX Runtime, before and after the passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings

from tests.support.onnx_graphs import error_of, networks, onnxruntime_outputs
from toolchain.frontends.onnx.load import import_onnx
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import run

TOLERANCE = 1e-5


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks())
def test_equals_onnxruntime(model: onnx.ModelProto) -> None:
    graph = import_onnx(model, "random", Path())
    x = np.random.default_rng(1).standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    (want,) = onnxruntime_outputs(model, {"x": x})
    assert error_of(run(graph, [x])[0], want) <= TOLERANCE
    lean = canonicalize(graph)
    assert [v.name for v in lean.outputs] == [v.name for v in graph.outputs]
    assert error_of(run(lean, [x])[0], want) <= TOLERANCE
