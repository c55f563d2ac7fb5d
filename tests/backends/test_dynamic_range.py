"""Dynamic range layers in other formats: ONNX Runtime and LiteRT quantize the inputs at run time, too, and come to the same."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.litert_engine import run_tflite_litert
from runtimes.onnxruntime_engine import run_onnx
from tests.support.stored_graphs import samples_of, stored_layers, written_out
from toolchain.backends.onnx.writer import write_onnx
from toolchain.backends.tflite.writer import write_tflite
from toolchain.errors import TargetError
from toolchain.frontends.tflite.reader import read_model
from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array, DType
from toolchain.passes.dynamic_range import with_dynamic_range
from toolchain.reference.evaluator import evaluate, run

OPS = ("conv_2d", "fully_connected", "depthwise_conv_2d")


def stored(seed: int) -> Graph:
    return stored_layers(seed, (DType.I8,), OPS, each=4, blocks=(None,))


def layers(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op != "dequantize"]


def share(found: Array, wanted: Array) -> float:
    """The largest difference as a share of the largest output."""
    return float(np.abs(found.reshape(wanted.shape) - wanted).max() / max(float(np.abs(wanted).max()), 1e-9))


@pytest.mark.parametrize("seed", range(6))
def test_onnx_runtime_gives_the_same_numbers(seed: int) -> None:
    graph = with_dynamic_range(stored(seed))
    sample = samples_of(graph, seed)
    found = run_onnx(write_onnx(graph), sample)
    for output, wanted in zip(graph.outputs, run(graph, sample), strict=True):
        np.testing.assert_array_equal(found[output.name], wanted)


@pytest.mark.parametrize("reference", [False, True])
def test_litert_gives_the_same_numbers_but_for_its_last_bits(reference: bool) -> None:
    """It takes the zero point from whichever end of the range errs less, so that a tie goes the other way now and then."""
    shares: list[float] = []
    for seed in range(6):
        graph = with_dynamic_range(stored(seed))
        sample = samples_of(graph, seed)
        found = run_tflite_litert(write_tflite(graph), sample, reference=reference)
        for node, array, wanted in zip(layers(graph), found, run(graph, sample), strict=True):
            if not is_grouped(node):
                shares.append(share(array, wanted))
    assert len(shares) > 50
    assert max(shares) < 0.05
    assert np.mean(np.array(shares) < 1e-6) > 0.95


def is_grouped(node: Node) -> bool:
    return node.op == "dynamic_conv_2d" and node.inputs[1].type.shape[3] != node.inputs[0].type.shape[3]


def test_groups_are_float_in_litert() -> None:
    """TFLite's hybrid convolution has no groups: its weights are made real."""
    grouped = 0
    for seed in range(6):
        graph = with_dynamic_range(stored(seed))
        sample = samples_of(graph, seed)
        found = run_tflite_litert(write_tflite(graph), sample, reference=True)
        real = evaluate(written_out(stored(seed)), sample)
        for node, array in zip(layers(graph), found, strict=True):
            if is_grouped(node):
                grouped += 1
                assert share(array, real[node.output.name]) < 1e-5
    assert grouped


def test_the_file_holds_int8_weights_and_no_conversion() -> None:
    graph = with_dynamic_range(stored_layers(1, (DType.I8,), OPS[1:], blocks=(None,)))
    model = read_model(write_tflite(graph), "dynamic")
    weights = [tensor for tensor in model.tensors if tensor.name.startswith("w")]
    assert {tensor.type_name for tensor in weights} == {"INT8"}
    assert {operator.op for operator in model.operators} == {"FULLY_CONNECTED", "DEPTHWISE_CONV_2D"} | (
        {"PAD"} & {operator.op for operator in model.operators}
    )


def test_tflite_micro_is_refused_with_what_to_do() -> None:
    with pytest.raises(TargetError) as fault:
        write_tflite(with_dynamic_range(stored(0)), compact=True)
    assert fault.value.number == 305
    assert "w8" in fault.value.hint
