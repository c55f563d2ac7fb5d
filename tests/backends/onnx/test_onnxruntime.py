"""What ONNX Runtime makes of the ONNX output: QDQ, no warnings, opsets, float16, batches, and how near the outputs are.

`pytest -s` prints the figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from runtimes.onnxruntime_engine import OnnxSession
from tests.support.calibrated import executor
from tests.support.mlperf import MLPERF, needs_mlperf, spoken_words
from tests.support.tensorrt import small_float_graph
from toolchain.api import compile, verify
from toolchain.backends.onnx.half import to_half
from toolchain.backends.onnx.writer import write_onnx
from toolchain.errors import ModelError, TargetError
from toolchain.frontends.load import load_model
from toolchain.ir.attrs import Attrs, AxesAttrs, CumsumAttrs, PermAttrs, ReduceAttrs, ReshapeAttrs, SliceAttrs, SoftmaxAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, TensorType, f32
from toolchain.passes.canonical import canonicalize
from toolchain.passes.quantize import INT8, INT16X8
from toolchain.passes.quantize_rules import Precisions
from toolchain.passes.store_weights import parse_form, store_weights
from toolchain.reference.evaluator import evaluate, run

# Loads every model at severity 2 (warning) and leaves on standard error what ONNX Runtime says.
LOADER = """
import sys, onnxruntime as ort
for path in sys.argv[1:]:
    options = ort.SessionOptions()
    options.log_severity_level = 2
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    print(path, [entry.name for entry in session.get_outputs()])
"""


def quantized(precisions: Precisions) -> Graph:
    from calibration.prepare import Recipe, quantize_with
    from calibration.ranges import parse_method

    rng = np.random.default_rng(5)
    samples = [(rng.standard_normal((1, 5, 6, 4)).astype(np.float32),) for _ in range(3)]
    recipe = Recipe(parse_method("minmax"), "nearest", precisions)
    return canonicalize(quantize_with(small_float_graph(), samples, executor, recipe).graph)


def forms() -> dict[str, tuple[bytes, int]]:
    """Models of one network in every precision, and the opset that each is written in."""
    real = small_float_graph()
    stored = {name: parse_form(name) for name in ("float16", "w8", "w4")}
    made = {f"weights {name}": store_weights(real, form) for name, form in stored.items() if form is not None}
    graphs = {"float32": real, "int8": quantized(INT8), "int16x8": quantized(INT16X8), "half": to_half(real), **made}
    opsets = {"int16x8": 21, "weights w4": 21, "weights w8": 16}
    return {name: (write_onnx(graph), opsets.get(name, 14)) for name, graph in graphs.items()}


def test_all_precisions_load_without_a_warning_in_the_lowest_opset(tmp_path: Path) -> None:
    """QDQ of int16 and of int4 needs opset 21; what only has operators of opset 14 says so."""
    paths: list[str] = []
    for name, (model, opset) in forms().items():
        assert onnx.load_from_string(model).opset_import[0].version == opset, name
        paths.append(str(tmp_path / f"{name}.onnx"))
        Path(paths[-1]).write_bytes(model)
    if MLPERF.is_dir():
        for name in ("kws_int8", "ic_int8", "vww_int8", "ad_int8", "ic_float"):
            model = write_onnx(canonicalize(load_model(MLPERF / f"{name}.tflite")))
            assert onnx.load_from_string(model).opset_import[0].version == 14, name
            paths.append(str(tmp_path / f"{name}.onnx"))
            Path(paths[-1]).write_bytes(model)
    done = subprocess.run([sys.executable, "-c", LOADER, *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(paths)


@pytest.mark.parametrize(("precisions", "stored"), [(INT8, np.int8), (INT16X8, np.int16)])
def test_integer_graphs_are_qdq_with_a_scale_per_channel(precisions: Precisions, stored: type) -> None:
    model = onnx.load_from_string(write_onnx(quantized(precisions)))
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    weights, bias = makers[conv.input[1]], makers.get(conv.input[2])
    assert (weights.op_type, known[weights.input[0]].dtype, known[weights.input[1]].shape) == ("DequantizeLinear", np.int8, (4,))
    # ONNX dequantizes no int64, the type of biases beside int16.
    assert (bias is None) == (stored is np.int16)
    assert bias is None or known[bias.input[0]].dtype == np.int32
    kinds = [known[node.input[2]].dtype for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert kinds.count(np.dtype(stored)) >= 3
    assert {entry.type.tensor_type.elem_type for entry in model.graph.input} == {
        onnx.helper.np_dtype_to_tensor_dtype(np.dtype(stored))
    }


def alone(graph: Graph, node: Node) -> Graph:
    """One node as a graph."""
    inputs = tuple(value for value in node.inputs if value.name not in graph.constants)
    known = {value.name: graph.constants[value.name] for value in node.inputs if value.name in graph.constants}
    return Graph("alone", inputs, (node.output,), (node,), known)


@needs_mlperf
def test_int8_figures_of_keyword_spotting(capsys: pytest.CaptureFixture[str]) -> None:
    """The bar: each layer within a step on 99.9 % of values, fed the evaluator's inputs; top-1 equal on 99.5 % of 500 words."""
    graph = canonicalize(load_model(MLPERF / "kws_int8.tflite"))
    words, labels = spoken_words(0, 500)
    names = [node.name for node in graph.nodes]
    values = [evaluate(graph, [word[None]], names) | {graph.inputs[0].name: word[None]} for word in words]
    rows: list[str] = []
    for node in graph.nodes:
        part, found = alone(graph, node), list[Array]()
        session = OnnxSession(write_onnx(part))
        for known in values[:100]:
            made = session.run([known[value.name] for value in part.inputs])[node.name]
            found.append(np.abs(made.astype(int) - known[node.name].astype(int)).reshape(-1))
        steps = np.concatenate(found)
        near = float((steps <= 1).mean())
        rows.append(
            f"{node.op:20} {steps.size:>9,} values  equal {(steps == 0).mean():8.3%}  within one {near:8.3%}  max {steps.max()}"
        )
        assert near >= 0.999, rows[-1]
    end = graph.outputs[0].name
    session = OnnxSession(write_onnx(graph))
    made = np.stack([session.run([word[None]])[end].reshape(-1) for word in words]).astype(int)
    wanted = np.stack([known[end].reshape(-1) for known in values]).astype(int)
    equal = float((made.argmax(axis=1) == wanted.argmax(axis=1)).mean())
    largest = int(np.abs(made - wanted).max())
    right = [int((outputs.argmax(axis=1) == labels).sum()) for outputs in (made, wanted)]
    rows.append(f"end to end, 500 words: top-1 equal {equal:.2%}, right {right[0]} (reference {right[1]})")
    rows.append(f"largest difference {largest} of 255 steps")
    with capsys.disabled():
        print("\n" + "\n".join(rows))
    assert equal >= 0.995


@needs_mlperf
def test_half_precision_is_float16_between_float32_ends() -> None:
    graph = canonicalize(load_model(MLPERF / "ic_float.tflite"))
    half = write_onnx(to_half(graph))
    model = onnx.load_from_string(half)
    assert {tensor.data_type for tensor in model.graph.initializer} <= {TensorProto.FLOAT16, TensorProto.INT64}
    assert {entry.type.tensor_type.elem_type for entry in (*model.graph.input, *model.graph.output)} == {TensorProto.FLOAT}
    assert len(half) < 0.55 * len(write_onnx(graph))
    image = np.random.default_rng(1).random(graph.inputs[0].type.shape, np.float32)
    found = OnnxSession(half).run([image])[graph.outputs[0].name]
    np.testing.assert_allclose(found, run(graph, [image])[0], atol=2e-3)


@needs_mlperf
def test_float16_is_half_precision_where_it_is_asked_for(tmp_path: Path) -> None:
    """What only stores weights so keeps computing in float32."""
    model = MLPERF / "ic_float.tflite"
    compile(model, "host", tmp_path / "b", name="ic", formats=("onnx",), precision="float16")
    assert onnx.load(str(tmp_path / "b" / "ic.onnx")).graph.node[0].op_type == "Cast"
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["precision"] == "float16"
    found = verify(tmp_path / "b", place="onnxruntime")
    assert found.passed
    assert 1e-5 < found.largest_difference < found.tolerance
    form = parse_form("float16")
    assert form is not None
    stored = store_weights(canonicalize(load_model(model)), form)
    image = np.random.default_rng(1).random(stored.inputs[0].type.shape, np.float32)
    exact = OnnxSession(write_onnx(stored)).run([image])[stored.outputs[0].name]
    np.testing.assert_allclose(exact, run(stored, [image])[0], atol=1e-6)


def test_a_constant_beyond_float16_is_a_coded_error() -> None:
    graph = small_float_graph()
    large = {**graph.constants, "b": np.array([0, 1e6, 0, 0], np.float32)}
    with pytest.raises(ModelError, match=r"E106 b: it holds 1e\+06, which is no finite number in float16 \(at most 65,504\)"):
        to_half(Graph(graph.name, graph.inputs, graph.outputs, graph.nodes, large))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_many_samples_at_once_are_the_samples_one_by_one(precision: str) -> None:
    graph = small_float_graph() if precision == "float32" else quantized(INT8)
    given = np.random.default_rng(2).integers(-100, 100, (7, *graph.inputs[0].type.shape[1:]))
    x = given.astype(graph.inputs[0].type.dtype.numpy)
    session = OnnxSession(write_onnx(graph, batched=True))
    (found,) = session.run([x]).values()
    (one,) = session.run([x[:1]]).values()
    wanted = np.concatenate([run(graph, [sample[None]])[0] for sample in x])
    assert found.shape == wanted.shape
    tolerance = 1e-5 if precision == "float32" else 2 * 128
    assert np.abs(found.astype(np.float64) - wanted).max() <= tolerance
    np.testing.assert_array_equal(one, found[:1])


@needs_mlperf
@pytest.mark.parametrize("name", ["kws_int8", "ic_float", "vww_float", "ad_float"])
def test_reference_models_take_batches(name: str) -> None:
    graph = canonicalize(load_model(MLPERF / f"{name}.tflite"))
    shape = (3, *graph.inputs[0].type.shape[1:])
    x = np.random.default_rng(3).integers(-9, 9, shape).astype(graph.inputs[0].type.dtype.numpy)
    (together,) = OnnxSession(write_onnx(graph, batched=True)).run([x]).values()
    apart = [next(iter(OnnxSession(write_onnx(graph)).run([sample[None]]).values())) for sample in x]
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-5)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("cumsum", CumsumAttrs(0)),
        ("reverse", AxesAttrs((0,))),
        ("reduce_mean", ReduceAttrs((0,), keepdims=True)),
        ("transpose", PermAttrs((1, 0, 2))),
        ("slice", SliceAttrs((0, 0, 0), (1, 1, 2), (1, 1, 1))),
        ("softmax", SoftmaxAttrs()),
    ],
)
def test_what_runs_along_samples_is_told_from_what_does_not(op: str, attrs: Attrs) -> None:
    """Shapes alone do not tell: the first dimension is 1 before and after."""
    x = Value("x", f32(1, 1, 4))
    node = make_node(op, (x,), ("y",), attrs)
    assert node.output.type.shape[0] == 1
    graph = Graph("along", (x,), (node.output,), (node,))
    if op in ("slice", "softmax"):
        assert write_onnx(graph, batched=True)
        return
    with pytest.raises(TargetError, match=f"E305 y: samples cannot be run together: {op} from"):
        write_onnx(graph, batched=True)


def test_what_mixes_samples_is_named() -> None:
    x = Value("x", f32(1, 4))
    column = make_node("reshape", (x,), ("column",), ReshapeAttrs((4, 1)))
    graph = Graph("mixed", (x,), (column.output,), (column,))
    with pytest.raises(
        TargetError, match=r"E305 column: samples cannot be run together: reshape from \(1, 4\) to \(4, 1\) mixes them"
    ):
        write_onnx(graph, batched=True)
    wide = Value("x", TensorType((2, 4), x.type.dtype))
    with pytest.raises(TargetError, match=r"E305 x: samples cannot be run together: the input has shape \(2, 4\)"):
        write_onnx(Graph("wide", (wide,), (wide,), ()), batched=True)
