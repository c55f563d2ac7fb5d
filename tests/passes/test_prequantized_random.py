"""Random networks, quantized by ONNX Runtime in random ways: they compile, and every single layer stays within one step."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.layer_steps import Layer, compare, fitting, float_values, known_values, layers, sources, stored_values, tagged
from tests.support.onnx_graphs import networks
from tests.support.quantized_onnx import quantized, samples
from toolchain.frontends.onnx.load import import_onnx
from toolchain.ir.calibration_table import CalibrationTable, ValueRange
from toolchain.passes.canonical import canonicalize
from toolchain.passes.qdq.notes import Notes
from toolchain.passes.qdq.settle import fill_from, fill_in, finish, gaps, is_prequantized

WAYS: tuple[tuple[Any, ...], ...] = (
    ("QDQ", "QUInt8", "QInt8", {}),
    ("QDQ", "QInt8", "QInt8", {"per_channel": True}),
    ("QDQ", "QInt8", "QInt8", {"extra_options": {"ActivationSymmetric": True, "AddQDQPairToWeight": True}}),
    ("QOperator", "QUInt8", "QInt8", {}),
    ("QOperator", "QInt8", "QInt8", {"per_channel": True}),
)
EXACT = {"copy", "gather", "pad", "reshape", "reverse", "slice", "split", "tile", "transpose"}


def is_single(layer: Layer) -> bool:
    """True for one operation that rounds, and the requantize that may follow it."""
    ops = [node.op for node in layer.nodes if node.op not in EXACT]
    return len([op for op in ops if op != "requantize"]) <= 1 and ops.count("requantize") <= 1


@given(networks(), st.sampled_from(WAYS))
@settings(max_examples=40, deadline=None)
def test_random_networks_keep_their_parameters(network: onnx.ModelProto, way: tuple[Any, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = tagged(quantized(network, Path(folder), *way[:3], **way[3]))
    notes, real = Notes(), canonicalize(import_onnx(model, "random", Path()))
    if not is_prequantized(real):
        return
    graph = fill_in(real, notes)
    complete = not gaps(graph)
    if not complete:
        ranges = {value.name: ValueRange(-3.0, 3.0, -3.0, 3.0) for value in graph.values()}
        graph = fill_from(graph, CalibrationTable("minmax", 1, ranges), notes)
    graph = canonicalize(finish(graph, notes))
    assert float_values(graph) == []
    rows = [stored_values(model, row) for row in samples(model, 3, 7)]
    known = known_values(graph, model)
    for row in rows:
        known = fitting(graph, known, row)
    if not complete or any(value.name not in known for value in graph.inputs):
        return
    found = layers(graph, known)
    for row in rows:
        compare(graph, found, known, row)
    # What an input lacks, ONNX Runtime reads in float, which no stored value equals.
    noted = {note.place for note in notes.made}
    for layer in found:
        if is_single(layer) and not noted & {value.name for value in sources(layer, graph)}:
            assert (np.abs(layer.differences) <= 1).mean() >= 0.999, (layer.name, layer.ops)
