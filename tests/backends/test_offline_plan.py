"""Offline plans and orders in .tflite files: TFLM obeys them, needs less, and computes the same bytes; LiteRT does not mind."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from benchmarks.models import mobilenet_v2
from runtimes.litert_engine import run_tflite_litert
from runtimes.tflm_engine import run_tflite_micro
from tests.support.mlperf import MLPERF, MODELS, model_inputs, needs_mlperf
from tests.support.streamed_graphs import random_graph
from toolchain.backends.tflite.packer import pack
from toolchain.backends.tflite.planned import planned, unplanned
from toolchain.backends.tflite.planner import lifetimes
from toolchain.backends.tflm.arena import measure_arena, smallest_arena
from toolchain.backends.tflm.backend import emit_tflm
from toolchain.frontends.load import load_model
from toolchain.frontends.tflite.schema import schema
from toolchain.ir.attrs import ActivationAttrs, ReduceAttrs, ReshapeAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, f32
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import run

pytest.importorskip("tflite_micro")
# Bytes of tensors by TFLM's own plan and by the file's.
TENSOR_BYTES = {"kws": (16_000, 16_000), "ic": (49_152, 49_152), "vww": (73_728, 55_296), "ad": (768, 768)}
LIMIT = 1 << 22


def graph_of(model: str) -> Graph:
    return canonicalize(load_model(MLPERF / f"{model}_int8.tflite", {}))


def metadata_words(data: bytes) -> list[int]:
    """The words of the plan as the file has them, none without a plan."""
    model: Any = schema().ModelT.InitFromPackedBuf(data, 0)
    notes = {note.name.decode(): note.buffer for note in model.metadata or []}
    if "OfflineMemoryAllocation" not in notes:
        return []
    raw = bytes(bytearray(model.buffers[notes["OfflineMemoryAllocation"]].data))
    return np.frombuffer(raw, "<i4").tolist()


def collisions(data: bytes) -> list[str]:
    """Tensors that are alive together and overlap, from the bytes of a file alone."""
    model: Any = schema().ModelT.InitFromPackedBuf(data, 0)
    (graph,) = model.subgraphs
    offsets = metadata_words(data)[3:]
    width = {0: 4, 9: 1, 7: 2, 2: 4}  # FLOAT32, INT8, INT16, INT32
    spans: list[tuple[int, int, int, int, int]] = []
    for index, tensor in enumerate(graph.tensors):
        writes = [step for step, op in enumerate(graph.operators) if index in op.outputs]
        reads = [step for step, op in enumerate(graph.operators) if index in op.inputs]
        if model.buffers[tensor.buffer].data is not None:
            assert offsets[index] == -1
            continue
        first = -1 if index in graph.inputs else writes[0]
        last = len(graph.operators) if index in graph.outputs else max([first, *reads])
        size = int(np.prod(tensor.shape)) * width[tensor.type]
        assert offsets[index] >= 0
        assert offsets[index] % 16 == 0
        spans.append((index, first, last, offsets[index], offsets[index] + size))
    return [
        f"{a[0]} and {b[0]}" for a, b in combinations(spans, 2) if a[1] <= b[2] and b[1] <= a[2] and a[3] < b[4] and b[3] < a[4]
    ]


@needs_mlperf
@pytest.mark.parametrize("model", MODELS)
def test_models_take_what_is_said_and_compute_the_same(model: str) -> None:
    graph = graph_of(model)
    file, plain = (make(graph, compact=True, signature=False) for make in (planned, unplanned))
    own, best = TENSOR_BYTES[model]
    assert (file.own.reference, file.bytes.reference) == (own, best)
    data, before = pack(file.model), pack(plain.model)
    assert bool(metadata_words(data)) == (best < own)
    arenas = [measure_arena(each, graph).host for each in (plain, file)]
    assert arenas[0] - arenas[1] == own - best
    for x in model_inputs(model, graph.inputs[0].type.shape, 4):
        wanted = run_tflite_micro(before, [x])[0]
        np.testing.assert_array_equal(run_tflite_micro(data, [x], arena_bytes=arenas[1])[0], wanted)


def test_mobilenet_v2_needs_no_plan() -> None:
    file = planned(mobilenet_v2(0.35, 96, 10), compact=True, signature=False)
    assert file.bytes == file.own
    assert metadata_words(pack(file.model)) == []


def test_an_output_made_early_lives_to_the_end() -> None:
    """The constant of the sum has no place in the arena."""
    x, c = Value("x", f32(1, 64)), Value("c", f32(1, 64))
    a = make_node("abs", (x,), ("a",))
    b = make_node("neg", a.outputs, ("b",))
    y = make_node("add", (b.output, c), ("y",), ActivationAttrs())
    graph = Graph("early", (x,), (a.output, y.output), (a, b, y), {"c": np.ones((1, 64), np.float32)})
    file = unplanned(graph, compact=True, signature=False).model
    spans = {file.tensors[i].name or "b": (life.bytes, life.first, life.last) for i, life in lifetimes(file).items()}
    assert spans == {"x": (256, 0, 1), "a": (256, 1, 3), "b": (256, 2, 3), "y": (256, 3, 3)}


@needs_mlperf
def test_litert_runs_a_file_with_a_plan() -> None:
    graph = graph_of("vww")
    data, before = (pack(make(graph, compact=False, signature=True).model) for make in (planned, unplanned))
    words = metadata_words(data)
    assert words[:2] == [1, 0]
    assert words[2] == len(words) - 3
    assert collisions(data) == []
    for x in model_inputs("vww", graph.inputs[0].type.shape, 3):
        np.testing.assert_array_equal(run_tflite_litert(data, [x])[0], run_tflite_litert(before, [x])[0])
        np.testing.assert_array_equal(run_tflite_micro(data, [x])[0], run_tflite_micro(before, [x])[0])


@needs_mlperf
def test_a_broken_plan_is_seen() -> None:
    """The check of collisions finds two tensors at one place."""
    file = planned(graph_of("vww"), compact=True, signature=False)
    data = np.frombuffer(file.model.buffers[-1], "<i4").copy()
    data[3:][data[3:] >= 0] = 0
    broken = replace(file.model, buffers=(*file.model.buffers[:-1], data.tobytes()))
    assert collisions(pack(broken))


def branchy(count: int) -> Graph:
    """Branches that grow the input, all before any shrinks: the worst order."""
    x = Value("x", f32(1, 64))
    wide: list[Node] = [make_node("broadcast_to", (x,), (f"wide{i}",), ReshapeAttrs((16, 64))) for i in range(count)]
    small = [
        make_node("reduce_max", node.outputs, (f"small{i}",), ReduceAttrs((0,), keepdims=True)) for i, node in enumerate(wide)
    ]
    nodes, total = [*wide, *small], small[0].output
    for i, node in enumerate(small[1:]):
        nodes.append(make_node("add", (total, node.output), (f"sum{i}",), ActivationAttrs()))
        total = nodes[-1].output
    return Graph("branchy", (x,), (total,), tuple(nodes))


def test_an_order_that_needs_less_is_written() -> None:
    graph = branchy(5)
    file, plain = (make(graph, compact=True, signature=False) for make in (planned, unplanned))
    # All five wide tensors of 4 KiB and the input, against one of them, the input, a small one and the sum of 256 B each.
    assert (plain.bytes.reference, file.bytes.reference) == (5 * 4096 + 256, 4096 + 3 * 256)
    assert file.own == plain.bytes
    data, before = pack(file.model), pack(plain.model)
    arenas = [smallest_arena(each, LIMIT, "branchy") for each in (before, data)]
    assert arenas[0] - arenas[1] == plain.bytes.reference - file.bytes.reference
    x: Array = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)
    np.testing.assert_array_equal(run_tflite_micro(data, [x])[0], run(graph, [x])[0])


@pytest.mark.parametrize("seed", range(30))
def test_nothing_is_ever_worse(seed: int) -> None:
    graph = random_graph(seed)
    file, plain = (make(graph, compact=True, signature=False) for make in (planned, unplanned))
    assert all(a <= b for a, b in zip(file.bytes.all, plain.bytes.all, strict=True))
    if file.offsets:
        assert collisions(pack(file.model)) == []
    if file.bytes != plain.bytes and seed < 12:
        # In small arenas what TFLM needs while it plans counts for more than the tensors.
        arenas = [smallest_arena(pack(each.model), LIMIT, "random") for each in (plain, file)]
        assert arenas[1] <= arenas[0]


@needs_mlperf
def test_the_manifest_says_what_tensors_take() -> None:
    section = emit_tflm(graph_of("vww"), "vww").section
    assert (section["tensor_bytes"], section["tensor_bytes_own_plan"], section["offline_plan"]) == (55_296, 73_728, True)
