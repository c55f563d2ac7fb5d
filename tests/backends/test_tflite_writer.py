"""Written .tflite files: read back the same, run the same in LiteRT and TFLM, no larger than the converter's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from runtimes.litert_engine import run_tflite_litert
from runtimes.tflm_engine import run_tflite_micro
from tests.property.cases import CELLS, DYNAMIC, random_case
from tests.property.draw import FLOAT32, INT16
from tests.support.mlperf import MLPERF, MODELS, model_inputs, needs_mlperf
from toolchain.backends.tflite.movement import joined_transpose
from toolchain.backends.tflite.operators import EXPORTS, window_counts
from toolchain.backends.tflite.writer import write_tflite
from toolchain.errors import StropError, TargetError
from toolchain.frontends.tflite.load import load_tflite, parse_tflite
from toolchain.ir.attrs import ActivationAttrs, ConvAttrs, PoolAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, f32, i8
from toolchain.reference.evaluator import run

ORIGINAL_BYTES = {"kws": 53_936, "ic": 98_496, "vww": 333_288, "ad": 276_976}


def unpacked(data: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(data, 0)


@needs_mlperf
@pytest.mark.parametrize("model", MODELS)
def test_round_trip_of_real_models(model: str) -> None:
    path = MLPERF / f"{model}_int8.tflite"
    original, graph = path.read_bytes(), load_tflite(path)
    data = write_tflite(graph)
    again = parse_tflite(data, "again", name=graph.name)
    assert again.nodes == graph.nodes
    assert all(np.array_equal(again.constants[name], array) for name, array in graph.constants.items())
    assert len(data) <= ORIGINAL_BYTES[model]
    assert write_tflite(again) == data
    for sample in model_inputs(model, graph.inputs[0].type.shape, 3):
        for reference in (False, True):
            wanted = run_tflite_litert(original, [sample], reference=reference)[0]
            np.testing.assert_array_equal(run_tflite_litert(data, [sample], reference=reference)[0], wanted)
        wanted = run_tflite_micro(original, [sample])[0]
        compact = write_tflite(graph, compact=True, signature=False)
        assert len(compact) < len(data)
        np.testing.assert_array_equal(run_tflite_micro(data, [sample])[0], wanted)
        np.testing.assert_array_equal(run_tflite_micro(compact, [sample])[0], wanted)


@needs_mlperf
@pytest.mark.parametrize("model", ["ic_float", "vww_float", "ad_float"])
def test_round_trip_of_float_models(model: str) -> None:
    path = MLPERF / f"{model}.tflite"
    data = write_tflite(load_tflite(path))
    shape = load_tflite(path).inputs[0].type.shape
    x = np.random.default_rng(2).random(shape, np.float32)
    np.testing.assert_array_equal(run_tflite_litert(data, [x])[0], run_tflite_litert(path.read_bytes(), [x])[0])
    assert len(data) <= path.stat().st_size


@needs_mlperf
def test_data_is_aligned_and_stored_once() -> None:
    data = write_tflite(load_tflite(MLPERF / "kws_int8.tflite"))
    root = schema.Model.GetRootAs(data, 0)
    seen: set[bytes] = set()
    for index in range(root.BuffersLength()):
        array = root.Buffers(index).DataAsNumpy()
        if isinstance(array, np.ndarray):
            assert (array.__array_interface__["data"][0] - np.frombuffer(data, np.uint8).__array_interface__["data"][0]) % 16 == 0
            assert array.tobytes() not in seen
            seen.add(array.tobytes())
    assert root.Buffers(0).DataLength() == 0


@needs_mlperf
def test_inputs_and_outputs_can_be_used_by_name() -> None:
    from ai_edge_litert.interpreter import Interpreter

    graph = load_tflite(MLPERF / "kws_int8.tflite")
    interpreter = Interpreter(model_content=write_tflite(graph))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["input_1"], "outputs": ["Identity"]}}
    x = np.zeros((1, 49, 10, 1), np.int8)
    found = interpreter.get_signature_runner("serving_default")(input_1=x)["Identity"]
    np.testing.assert_array_equal(found, run_tflite_litert(write_tflite(graph), [x])[0])


# Versions that TensorFlow's converter 2.21 writes for the same operators.
CONVERTER_VERSIONS = {
    "kws": {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "AVERAGE_POOL_2D": 2, "RESHAPE": 1, "FULLY_CONNECTED": 4, "SOFTMAX": 2},
    "ic": {"CONV_2D": 3, "ADD": 2, "AVERAGE_POOL_2D": 2, "RESHAPE": 1, "FULLY_CONNECTED": 4, "SOFTMAX": 2},
}


@needs_mlperf
@pytest.mark.parametrize("model", sorted(CONVERTER_VERSIONS))
def test_operator_versions(model: str) -> None:
    numbers = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    written = unpacked(write_tflite(load_tflite(MLPERF / f"{model}_int8.tflite")))
    assert {numbers[code.builtinCode]: code.version for code in written.operatorCodes} == CONVERTER_VERSIONS[model]
    assert all(code.deprecatedBuiltinCode == min(code.builtinCode, 127) for code in written.operatorCodes)


# Where LiteRT computes other bytes than TFLM or has other rounding; those are held against TFLM in tests/property.
OTHER_BYTES = {
    "conv_2d",
    "cumsum",
    "depthwise_conv_2d",
    "div",
    "fully_connected",
    "leaky_relu",
    "neg",
    "prelu",
    "reciprocal",
    "reduce_mean",
    "requantize",
    "resize_bilinear",
    "round",
    "squared_difference",
    "transpose_conv_2d",
}
UNWRITTEN = {
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "cosh",
    "erf",
    "gather_elements",
    "gru",
    "isinf",
    "isnan",
    "mod",
    "rnn",
    "scatter_elements",
    "shift_left",
    "shift_right",
    "sinh",
    "tan",
}
# What is read back of dynamic range layers are float ones; tests/backends/test_dynamic_range.py has LiteRT run them.
CASES = [(op, cell) for op in sorted(CELLS) for cell in CELLS[op] if op in EXPORTS and op not in DYNAMIC]
# Steps of int16 between float32 and a table of 513 entries with interpolation.
TABLE_STEPS = 64.0


@pytest.mark.parametrize(("op", "cell"), CASES)
def test_every_op_reads_back_and_runs(op: str, cell: str) -> None:
    for seed in range(3):
        case = random_case(op, cell, seed)
        try:
            data = write_tflite(case.graph)
        except TargetError as fault:
            assert fault.number == 305
            continue
        again = parse_tflite(data, "again")
        detour = any(node.op == "dequantize" for node in again.nodes) and op != "dequantize"
        wanted = run(case.graph, case.samples)
        if not detour:
            compare(run(again, case.samples), wanted, 0.0, f"{op} {cell} {seed}")
        found = None if op in OTHER_BYTES and cell != FLOAT32 else engine_outputs(data, case.samples)
        if found is not None:
            steps = TABLE_STEPS if detour and cell == INT16 else float(op == "relu_n1_1")
            compare(found, wanted, steps, f"LiteRT {op} {cell} {seed}")


def engine_outputs(data: bytes, samples: tuple[Array, ...]) -> list[Array] | None:
    """LiteRT's outputs; None where it has no kernel for the element types."""
    try:
        return run_tflite_litert(data, samples)
    except StropError as fault:
        assert fault.number == 405
        return None


def compare(found: Any, wanted: Any, steps: float, message: str) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape, message
        if b.dtype.kind == "f":
            finite = np.isfinite(b)
            np.testing.assert_array_equal(a[~finite], b[~finite], err_msg=message)
            largest = float(np.abs(b[finite]).max(initial=0))
            np.testing.assert_allclose(a[finite], b[finite], rtol=0, atol=1e-5 * largest, err_msg=message)
        else:
            assert np.abs(a.astype(np.float64) - b).max(initial=0) <= steps, message


def test_the_ops_that_have_no_export_are_known() -> None:
    assert set(CELLS) - set(EXPORTS) == UNWRITTEN


@pytest.mark.parametrize("op", sorted(UNWRITTEN))
def test_an_op_that_tflite_lacks_names_the_node(op: str) -> None:
    case = random_case(op, CELLS[op][0], 1)
    with pytest.raises(TargetError) as fault:
        write_tflite(case.graph)
    assert (fault.value.number, fault.value.place) == (305, case.node.name)
    assert op in fault.value.message


def conv_graph(padding: tuple[int, int, int, int], weights: TensorType | None = None) -> Graph:
    x = Value("x", f32(1, 7, 8, 2))
    w = Value("w", weights or f32(3, 3, 3, 2))
    node = make_node("conv_2d", [x, w], ["y"], ConvAttrs(stride=(2, 1), padding=padding))
    data = np.random.default_rng(1).normal(size=w.type.shape).astype(np.float32)
    return Graph("conv", (x,), node.outputs, (node,), {"w": data})


@pytest.mark.parametrize(
    ("padding", "operators"),
    [
        ((1, 1, 1, 1), ["CONV_2D"]),
        ((0, 0, 0, 0), ["CONV_2D"]),
        ((1, 0, 1, 1), ["PAD", "CONV_2D"]),
        ((2, 2, 0, 3), ["PAD", "CONV_2D"]),
    ],
)
def test_explicit_padding(padding: tuple[int, int, int, int], operators: list[str]) -> None:
    graph = conv_graph(padding)
    data = write_tflite(graph)
    model = unpacked(data)
    numbers = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    assert [numbers[model.operatorCodes[op.opcodeIndex].builtinCode] for op in model.subgraphs[0].operators] == operators
    x = np.random.default_rng(4).normal(size=(1, 7, 8, 2)).astype(np.float32)
    compare(run_tflite_litert(data, [x]), run(graph, [x]), 0.0, "padding")


@pytest.mark.parametrize("padding", [(1, 0, 0, 1), (2, 2, 2, 2), (0, 1, 1, 0)])
@pytest.mark.parametrize(("op", "counts"), [("max_pool_2d", False), ("average_pool_2d", False), ("average_pool_2d", True)])
def test_pooling_with_padding_that_has_no_word(op: str, counts: bool, padding: tuple[int, int, int, int]) -> None:
    x = Value("x", f32(1, 6, 7, 3))
    node = make_node(op, [x], ["y"], PoolAttrs((3, 3), (2, 2), padding, count_padding=counts))
    graph = Graph("pool", (x,), node.outputs, (node,))
    data = np.random.default_rng(8).normal(size=(1, 6, 7, 3)).astype(np.float32)
    compare(run_tflite_litert(write_tflite(graph), [data]), run(graph, [data]), 0.0, op)


def test_window_counts() -> None:
    counts = window_counts(PoolAttrs((3, 2), (2, 1), (1, 1, 0, 1)), (1, 4, 3, 1))
    assert counts.reshape(2, 3).tolist() == [[4, 4, 2], [6, 6, 3]]


@pytest.mark.parametrize(
    ("shape", "perm", "expected"),
    [
        ((1, 4, 2, 5, 3, 6), (2, 4, 0, 1, 3, 5), ((4, 2, 5, 3, 6), (1, 3, 0, 2, 4))),
        ((2, 3, 4), (0, 1, 2), ((24,), (0,))),
        ((2, 3, 4, 5), (2, 3, 0, 1), ((6, 20), (1, 0))),
        ((1, 1, 1), (2, 1, 0), ((), ())),
    ],
)
def test_joined_transposes(
    shape: tuple[int, ...], perm: tuple[int, ...], expected: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    assert joined_transpose(shape, perm) == expected
    data = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(data.reshape(expected[0]).transpose(expected[1]).reshape(-1), data.transpose(perm).reshape(-1))


def test_int4_weights_keep_their_bytes() -> None:
    x = Value("x", i8((1, 4), 0.1))
    w = Value("w", TensorType((2, 4), DType.I4, Quant((0.5, 0.25), (0, 0), 0)))
    node = make_node("fully_connected", [x, w], ["y"], ActivationAttrs(), Quant((0.2,), (3,)))
    weights = np.array([[1, -2, 3, -4], [-8, 7, 0, -1]], np.int8)
    graph = Graph("fc", (x,), node.outputs, (node,), {"w": weights})
    data = write_tflite(graph)
    np.testing.assert_array_equal(parse_tflite(data, "f").constants["w"], weights)
    model = unpacked(data)
    stored = [buffer.data.tobytes() for buffer in model.buffers if buffer.data is not None and len(buffer.data) == 4]
    assert stored == [bytes([0xE1, 0xC3, 0x78, 0xF0])]


def test_lstm_runs_in_both_runtimes() -> None:
    rng = np.random.default_rng(5)
    x = Value("x", f32(1, 4, 3))
    values = [Value("w", f32(20, 3)), Value("r", f32(20, 5)), Value("b", f32(20))]
    constants = {value.name: rng.normal(size=value.type.shape).astype(np.float32) for value in values}
    node = make_node("lstm", [x, *values], ["y", "h", "c"])
    graph = Graph("lstm", (x,), (node.outputs[0],), (node,), constants)
    sample = rng.normal(size=(1, 4, 3)).astype(np.float32)
    wanted = run(graph, [sample])
    compare(run_tflite_litert(write_tflite(graph), [sample]), wanted, 0.0, "LiteRT")
    compare(run_tflite_micro(write_tflite(graph, compact=True), [sample]), wanted, 0.0, "TFLM")


def test_quantized_ops_without_an_integer_kernel_go_through_float() -> None:
    x = Value("x", i8((1, 256), 0.05, 3))
    node = make_node("swish", [x], ["y"], None, Quant((0.04,), (-100,)))
    graph = Graph("swish", (x,), node.outputs, (node,))
    sample = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)
    real = (sample.astype(np.float64) - 3) * 0.05
    wanted = np.clip(np.round(real / (1 + np.exp(-real)) / 0.04) - 100, -128, 127)
    for found in (
        run_tflite_litert(write_tflite(graph), [sample]),
        run_tflite_micro(write_tflite(graph, compact=True), [sample]),
    ):
        assert np.abs(found[0] - wanted).max() <= 1
        np.testing.assert_array_equal(found[0], run(graph, [sample])[0])
