"""The canonical form: what exporters write becomes channels-last layers with all they carry, and computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.support.onnx_graphs import error_of, model_of, onnxruntime_outputs, small_cnn
from toolchain.frontends.onnx.load import import_onnx
from toolchain.ir.attrs import Activation
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.passes.canonical import PASSES, canonicalize
from toolchain.reference.evaluator import run

RANDOM = np.random.default_rng(3)


def draw(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def canonical(model: onnx.ModelProto) -> Graph:
    """The canonical graph, after a comparison with ONNX Runtime."""
    graph = canonicalize(import_onnx(model, "test", Path()))
    inputs = {value.name: draw(*value.type.shape) for value in graph.inputs}
    for got, want in zip(run(graph, list(inputs.values())), onnxruntime_outputs(model, inputs), strict=True):
        assert error_of(got, want) < 1e-5
    return graph


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def chain(*nodes: onnx.NodeProto, x: tuple[int, ...] = (1, 4, 6, 6), **weights: Array) -> Graph:
    """The canonical graph of nodes from x to y."""
    return canonical(model_of(list(nodes), {"x": x}, ["y"], weights))


def test_small_cnn_has_one_transpose_at_its_input() -> None:
    graph = canonical(small_cnn())
    assert ops(graph) == ["transpose", "conv_2d", "max_pool_2d", "conv_2d", "reshape", "fully_connected", "softmax"]
    assert [node.attrs.activation for node in graph.nodes if node.op == "conv_2d"] == [Activation.RELU] * 2


def test_one_channel_needs_no_transpose() -> None:
    graph = chain(helper.make_node("Conv", ["x", "w"], ["y"]), x=(1, 1, 5, 5), w=draw(1, 1, 3, 3))
    assert ops(graph) == ["reshape", "conv_2d", "reshape"]


def test_batch_norm_folds_into_the_convolution() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], group=2),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        helper.make_node("Clip", ["n", "low", "high"], ["y"]),
    ]
    weights = {"w": draw(6, 2, 3, 3), "s": draw(6), "b": draw(6), "m": draw(6), "v": np.abs(draw(6)) + 0.5}
    graph = chain(*nodes, **weights, low=np.array(0, np.float32), high=np.array(6, np.float32))
    assert ops(graph) == ["transpose", "conv_2d", "transpose"]
    assert graph.nodes[1].attrs.activation is Activation.RELU6


def test_batch_norm_folds_into_depthwise_and_transposed() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], group=4),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        helper.make_node("ConvTranspose", ["n", "u"], ["t"], strides=[2, 2]),
        helper.make_node("Mul", ["t", "f"], ["y"]),
    ]
    weights = {"w": draw(8, 1, 3, 3), "s": draw(8), "b": draw(8), "m": draw(8), "v": np.abs(draw(8)) + 0.5}
    graph = chain(*nodes, **weights, u=draw(8, 3, 2, 2), f=draw(3, 1, 1))
    assert ops(graph) == ["transpose", "depthwise_conv_2d", "transpose_conv_2d", "transpose"]


def test_a_convolution_with_two_readers_is_not_scaled() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "f"], ["m"]),
        helper.make_node("Add", ["c", "m"], ["y"]),
    ]
    graph = chain(*nodes, w=draw(4, 4, 1, 1), f=draw(4, 1, 1))
    assert ops(graph) == ["transpose", "conv_2d", "mul", "add", "transpose"]


def test_residual_and_squeeze_excite_stay_channels_last() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["q"]),
        helper.make_node("Reshape", ["q", "shape"], ["r"]),
        helper.make_node("Mul", ["c", "r"], ["m"]),
        helper.make_node("Add", ["m", "x"], ["y"]),
    ]
    graph = chain(*nodes, w=draw(4, 4, 1, 1), v=draw(4, 4), shape=np.array([1, 4, 1, 1], np.int64))
    assert ops(graph).count("transpose") == 2


def test_channel_shuffle_stays_channels_last() -> None:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c", "cut"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["t", "whole"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    shapes = {"cut": np.array([1, 2, 2, 6, 6], np.int64), "whole": np.array([1, 4, 6, 6], np.int64)}
    pool = "max_pool_2d"
    assert ops(chain(*nodes, **shapes)) == ["transpose", pool, "reshape", "transpose", "reshape", pool, "transpose"]


def test_convolutions_of_one_dimension_meet() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    graph = chain(*nodes, x=(1, 3, 9), w=draw(5, 3, 3), v=draw(2, 5, 3))
    assert ops(graph)[2:4] == ["conv_2d", "conv_2d"]
    assert sorted(ops(graph)) == ["conv_2d", "conv_2d", "reshape", "reshape", "transpose", "transpose"]


def test_padding_goes_into_layers() -> None:
    border = np.array([0, 0, 1, 2, 0, 0, 1, 0], np.int64)
    nodes = [helper.make_node("Pad", ["x", "p"], ["a"]), helper.make_node("Conv", ["a", "w"], ["y"])]
    graph = chain(*nodes, p=border, w=draw(2, 4, 3, 3))
    assert ops(graph) == ["transpose", "conv_2d", "transpose"]
    assert graph.nodes[1].attrs.padding == (1, 1, 2, 0)


def test_padding_of_another_value_stays() -> None:
    border = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    nodes = [helper.make_node("Pad", ["x", "p", "one"], ["a"]), helper.make_node("Conv", ["a", "w"], ["y"])]
    graph = chain(*nodes, p=border, one=np.array(1, np.float32), w=draw(2, 4, 3, 3))
    assert "pad" in ops(graph)


def test_matmul_and_add_are_one_layer() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["b", "m"], ["y"])]
    graph = chain(*nodes, x=(2, 5), w=draw(5, 3), b=draw(3))
    assert ops(graph) == ["fully_connected"]
    assert len(graph.nodes[0].inputs) == 3


def test_input_scale_goes_into_weights() -> None:
    nodes = [
        helper.make_node("Sub", ["x", "m"], ["a"]),
        helper.make_node("Mul", ["a", "s"], ["b"]),
        helper.make_node("Conv", ["b", "w", "c"], ["y"]),
    ]
    graph = chain(*nodes, m=draw(1, 4, 1, 1), s=draw(1, 4, 1, 1), w=draw(2, 4, 3, 3), c=draw(2))
    assert ops(graph) == ["transpose", "conv_2d", "transpose"]


GATE = [("Add", ["x", "three"], "a"), ("Clip", ["a", "zero", "six"], "b")]


@pytest.mark.parametrize(
    ("nodes", "op"),
    [
        ([("Sigmoid", ["x"], "s"), ("Mul", ["x", "s"], "y")], "swish"),
        ([*GATE, ("Mul", ["x", "b"], "c"), ("Div", ["c", "six"], "y")], "hard_swish"),
        ([*GATE, ("Div", ["b", "six"], "y")], "hard_sigmoid"),
        ([("Max", ["x", "zero"], "a"), ("Min", ["a", "six"], "y")], "relu6"),
        ([("Div", ["x", "root2"], "a"), ("Erf", ["a"], "b"), ("Add", ["b", "one"], "c"), ("Mul", ["x", "c"], "d"),
          ("Mul", ["d", "half"], "y")], "gelu"),
        ([("Mul", ["x", "half"], "h"), ("Div", ["x", "root2"], "a"), ("Erf", ["a"], "b"), ("Add", ["one", "b"], "c"),
          ("Mul", ["h", "c"], "y")], "gelu"),
        ([("Softmax", ["x"], "s"), ("Log", ["s"], "y")], "log_softmax"),
        ([("Mul", ["x", "x"], "y")], "square"),
    ],
)  # fmt: skip
def test_spelled_out_functions_are_recognized(nodes: list[tuple[str, list[str], str]], op: str) -> None:
    numbers = {"zero": 0.0, "one": 1.0, "three": 3.0, "six": 6.0, "half": 0.5, "root2": float(np.sqrt(2))}
    used = {name for _, operands, _ in nodes for name in operands}
    weights = {name: np.array(value, np.float32) for name, value in numbers.items() if name in used}
    made = [helper.make_node(kind, operands, [result]) for kind, operands, result in nodes]
    assert ops(chain(*made, x=(2, 3), **weights)) == [op]


def test_gelu_by_tanh_is_recognized() -> None:
    nodes = [
        helper.make_node("Pow", ["x", "three"], ["p"]),
        helper.make_node("Mul", ["p", "c"], ["q"]),
        helper.make_node("Add", ["x", "q"], ["r"]),
        helper.make_node("Mul", ["r", "k"], ["s"]),
        helper.make_node("Tanh", ["s"], ["t"]),
        helper.make_node("Add", ["t", "one"], ["u"]),
        helper.make_node("Mul", ["x", "u"], ["v"]),
        helper.make_node("Mul", ["v", "half"], ["y"]),
    ]
    numbers = {"three": 3.0, "c": 0.044715, "k": float(np.sqrt(2 / np.pi)), "one": 1.0, "half": 0.5}
    graph = chain(*nodes, x=(2, 3), **{name: np.array(value, np.float32) for name, value in numbers.items()})
    assert ops(graph) == ["gelu"]
    assert graph.nodes[0].attrs.tanh


def test_pixel_shuffle_folds_its_order_into_the_convolution() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("DepthToSpace", ["r"], ["y"], blocksize=2, mode="CRD"),
    ]
    assert ops(chain(*nodes, w=draw(8, 4, 1, 1), b=draw(8))) == ["transpose", "conv_2d", "depth_to_space", "transpose"]


def test_channel_shuffle_before_a_convolution_folds_into_it() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["g"], group=2),
        helper.make_node("Reshape", ["g", "cut"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["t", "whole"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["y"]),
    ]
    shapes = {"cut": np.array([1, 2, 2, 6, 6], np.int64), "whole": np.array([1, 4, 6, 6], np.int64)}
    graph = chain(*nodes, v=draw(4, 2, 1, 1), w=draw(3, 4, 3, 3), **shapes)
    assert ops(graph) == ["transpose", "conv_2d", "conv_2d", "transpose"]


def test_bidirectional_lstm_needs_no_reshapes() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r"], ["s"], hidden_size=3, direction="bidirectional"),
        helper.make_node("Transpose", ["s"], ["u"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["u", "shape"], ["y"]),
    ]
    graph = chain(*nodes, x=(1, 5, 2), w=draw(2, 12, 2), r=draw(2, 12, 3), shape=np.array([1, 5, 6], np.int64))
    assert ops(graph) == ["lstm", "lstm", "concat"]


def test_rows_of_a_sequence_stay_together() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["g"]),
        helper.make_node("Reshape", ["g", "whole"], ["h"]),
        helper.make_node("Add", ["h", "x"], ["y"]),
    ]
    shapes = {"flat": np.array([5, 4], np.int64), "whole": np.array([1, 5, 4], np.int64)}
    assert ops(chain(*nodes, x=(1, 5, 4), w=draw(4, 4), b=draw(4), **shapes)) == ["fully_connected", "add"]


def test_nodes_that_do_nothing_go() -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("Add", ["a", "zero"], ["b"]),
        helper.make_node("Mul", ["one", "b"], ["c"]),
        helper.make_node("Neg", ["c"], ["d"]),
        helper.make_node("Neg", ["d"], ["e"]),
        helper.make_node("Reshape", ["e", "shape"], ["f"]),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("Identity", ["h"], ["y"]),
    ]
    one, zero = np.array([1], np.float32), np.array([0], np.float32)
    graph = chain(*nodes, x=(2, 3), one=one, zero=zero, shape=np.array([2, 3], np.int64))
    assert ops(graph) == ["relu"]
    assert graph.outputs[0].name == "y"


def test_equal_nodes_are_computed_once() -> None:
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        helper.make_node("Exp", ["x"], ["b"]),
        helper.make_node("Sub", ["a", "b"], ["y"]),
    ]
    assert ops(chain(*nodes, x=(2, 3))) == ["exp", "sub"]


def test_an_output_that_is_an_input_keeps_both_names() -> None:
    graph = canonical(model_of([helper.make_node("Identity", ["x"], ["y"])], {"x": (2,)}, ["y"], {}))
    assert (graph.inputs[0].name, graph.outputs[0].name) == ("x", "y")


def test_two_outputs_of_one_value() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["y"], ["z"])]
    graph = canonical(model_of(nodes, {"x": (2,)}, ["y", "z"], {}))
    assert [value.name for value in graph.outputs] == ["y", "z"]


def test_inner_values_may_be_outputs() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"]),
    ]
    graph = canonical(model_of(nodes, {"x": (1, 2, 4, 4)}, ["c", "r", "y"], {"w": draw(2, 2, 1, 1)}))
    assert [value.name for value in graph.outputs] == ["c", "r", "y"]
    assert ops(graph).count("conv_2d") == 2


def test_every_pass_reports() -> None:
    seen: list[str] = []
    canonicalize(import_onnx(small_cnn(), "cnn", Path()), after=lambda name, graph: seen.append(name))
    assert seen == [each.__name__ for each in PASSES]


def test_a_second_run_changes_nothing() -> None:
    once = canonical(small_cnn())
    assert ops(canonicalize(once)) == ops(once)
