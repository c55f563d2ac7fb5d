"""Files of a TF.js graph model: the manifest, stored weights, the initializer graph, determinism, refusals."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from tests.support.float_graphs import random_network
from toolchain.backends.tfjs.weights import SHARD_BYTES
from toolchain.backends.tfjs.writer import write_tfjs
from toolchain.errors import TargetError
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, f32, per_tensor
from toolchain.passes.store_weights import parse_form, store_weights

RNG = np.random.default_rng(7)


def document(files: dict[str, bytes]) -> Any:
    return json.loads(files["model.json"])


def decoded(files: dict[str, bytes]) -> dict[str, Array]:
    """Weights by name as TF.js decodes them, by the documentation of its format."""
    (group,) = document(files)["weightsManifest"]
    data, offset, found = b"".join(files[path] for path in group["paths"]), 0, {}
    for entry in group["weights"]:
        quantization = entry.get("quantization", {})
        stored = np.dtype(quantization.get("dtype", entry["dtype"])).newbyteorder("<")
        count = int(np.prod(entry["shape"], dtype=np.int64))
        array = np.frombuffer(data, stored, count, offset).reshape(entry["shape"])
        offset += array.nbytes
        if "scale" in quantization:
            array = (array * quantization["scale"] + quantization["min"]).astype(np.float32)
        found[entry["name"]] = array
    assert offset == len(data)
    return found


def product(weights: Array, type_: TensorType) -> Graph:
    """One fully connected layer with the given stored weights; quantized ones make all of it int8."""
    real = type_.quant is None
    x = Value("x", f32(1, 4) if real else TensorType((1, 4), DType.I8, per_tensor(0.1, 3)))
    w = Value("w", type_)
    node = make_node("fully_connected", [x, w], ("y",), at.ActivationAttrs())
    if not real:
        y = Value("y", TensorType((1, 2), DType.I8, per_tensor(0.2, -4)))
        node = type(node)(node.op, node.inputs, (y,), node.attrs)
    return Graph("product", (x,), node.outputs, (node,), {"w": weights})


def test_the_document_has_the_form_of_a_graph_model() -> None:
    graph = random_network(3)
    found = document(write_tfjs(graph))
    assert found["format"] == "graph-model"
    nodes = found["modelTopology"]["node"]
    sizes = [{"size": str(size)} for size in graph.inputs[0].type.shape]
    assert nodes[0] == {
        "name": "x",
        "op": "Placeholder",
        "attr": {
            "dtype": {"type": "DT_FLOAT"},
            "shape": {"shape": {"dim": sizes}},
        },
    }
    made: set[str] = set()
    for node in nodes:
        assert {name.split(":")[0] for name in node.get("input", ())} <= made, node
        assert node["name"] not in made
        made.add(node["name"])
    assert list(found["signature"]["outputs"]) == [graph.outputs[0].name]


def test_strings_are_base64() -> None:
    x = Value("x", f32(1, 5, 5, 2))
    attrs = at.ConvAttrs(padding=(1, 1, 1, 1), activation=at.Activation.RELU)
    node = make_node("conv_2d", [x, Value("w", f32(3, 3, 3, 2)), Value("b", f32(3))], ("y",), attrs)
    constants = {"w": RNG.standard_normal((3, 3, 3, 2)).astype(np.float32), "b": np.ones(3, np.float32)}
    found = document(write_tfjs(Graph("g", (x,), (node.output,), (node,), constants)))
    (conv,) = [entry for entry in found["modelTopology"]["node"] if entry["op"] == "_FusedConv2D"]
    assert base64.b64decode(conv["attr"]["padding"]["s"]) == b"SAME"
    assert [base64.b64decode(item) for item in conv["attr"]["fused_ops"]["list"]["s"]] == [b"BiasAdd", b"Relu"]
    assert conv["attr"]["strides"]["list"]["i"] == ["1", "1", "1", "1"]


@pytest.mark.parametrize("seed", range(4))
def test_equal_graphs_give_equal_bytes(seed: int) -> None:
    assert write_tfjs(random_network(seed)) == write_tfjs(random_network(seed))


def test_float_weights_are_kept_exactly() -> None:
    weights = RNG.standard_normal((2, 4)).astype(np.float32)
    (stored,) = decoded(write_tfjs(product(weights, f32(2, 4)))).values()
    np.testing.assert_array_equal(stored, weights.T)


def test_one_scale_is_applied_by_the_loader_and_rounds_once() -> None:
    stored = RNG.integers(-128, 128, (2, 4), dtype=np.int8)
    quant = per_tensor(0.0137, -5)
    files = write_tfjs(product(stored, TensorType((2, 4), DType.I8, quant)))
    (found,) = decoded(files).values()
    exact = (stored.astype(np.float64) + 5) * np.float64(np.float32(0.0137))
    np.testing.assert_array_equal(found, exact.astype(np.float32).T)
    assert "modelInitializer" not in document(files)
    assert len(files["group1-shard1of1.bin"]) == stored.size


@pytest.mark.parametrize("zeros", [(0, 0), (7, 7), (3, -9)])
def test_scales_of_channels_are_applied_by_the_initializer(zeros: tuple[int, int]) -> None:
    stored = RNG.integers(-128, 128, (2, 4), dtype=np.int8)
    quant = Quant((0.25, 0.0314), zeros, 0)
    files = write_tfjs(product(stored, TensorType((2, 4), DType.I8, quant)))
    found, values = document(files), dict(decoded(files))
    for node in found["modelInitializer"]["node"]:
        if node["op"] != "Const":
            a, b = (values[name] for name in node["input"])
            values[node["name"]] = a * b if node["op"] == "Mul" else a - b
    ((name, entry),) = found["initializerSignature"]["outputs"].items()
    assert found["signature"]["inputs"][name]["resourceId"] == entry["resourceId"]
    wanted = (stored - np.array(zeros).reshape(2, 1)) * np.array([0.25, 0.0314], np.float32).reshape(2, 1)
    np.testing.assert_allclose(values[name], wanted.T, rtol=1e-7)
    assert sum(map(len, files.values())) - len(files["model.json"]) <= stored.size + 2 * 2 * 4


@pytest.mark.parametrize(("precision", "bytes_per_weight"), [("float16", 2), ("w8", 1)])
def test_stored_weights_stay_small(precision: str, bytes_per_weight: int) -> None:
    form = parse_form(precision)
    assert form is not None
    net = Graph("g", (Value("x", f32(1, 256)),), (), (), {})
    node = make_node("fully_connected", [net.inputs[0], Value("w", f32(64, 256))], ("y",), at.ActivationAttrs())
    graph = Graph("g", net.inputs, (node.output,), (node,), {"w": RNG.standard_normal((64, 256)).astype(np.float32)})
    files = write_tfjs(store_weights(graph, form))
    assert len(files["group1-shard1of1.bin"]) <= bytes_per_weight * 64 * 256 + 64 * 8


def test_weights_are_cut_into_shards() -> None:
    weights = RNG.standard_normal((1100, 1000)).astype(np.float32)
    x = Value("x", f32(1, 1000))
    node = make_node("fully_connected", [x, Value("w", f32(1100, 1000))], ("y",), at.ActivationAttrs())
    files = write_tfjs(Graph("g", (x,), (node.output,), (node,), {"w": weights}))
    sizes = {name: len(data) for name, data in files.items() if name != "model.json"}
    assert sizes == {"group1-shard1of2.bin": SHARD_BYTES, "group1-shard2of2.bin": weights.nbytes - SHARD_BYTES}
    np.testing.assert_array_equal(*decoded(files).values(), weights.T)


def test_an_op_without_a_form_is_refused_by_name() -> None:
    x = Value("x", TensorType((4,), DType.I32))
    node = make_node("bitwise_not", [x], ("y",))
    with pytest.raises(TargetError, match=r"E305 y: TF.js and SavedModels have no bitwise_not. Choose another format"):
        write_tfjs(Graph("g", (x,), (node.output,), (node,), {}))


def test_integers_beyond_32_bits_are_refused() -> None:
    x = Value("x", TensorType((2,), DType.I64))
    node = make_node("add", [x, Value("c", TensorType((2,), DType.I64))], ("y",), at.ActivationAttrs())
    with pytest.raises(TargetError, match=r"E305 c: TF.js holds integers in 32 bits"):
        write_tfjs(Graph("g", (x,), (node.output,), (node,), {"c": np.array([1, 1 << 40])}))


def test_names_that_mean_something_to_tfjs_are_changed() -> None:
    x, y = Value("serving:0", f32(2)), Value("^out put", f32(2))
    node = make_node("relu", [x], ("^out put",))
    found = document(write_tfjs(Graph("g", (x,), (y,), (node,), {})))
    assert list(found["signature"]["inputs"]) == ["serving_0"]
    assert list(found["signature"]["outputs"]) == ["v_out_put"]


@pytest.mark.parametrize(("scale", "zero", "fused"), [(6 / 255, -128, "Relu6"), (0.05, -128, "Relu"), (0.05, -100, None)])
def test_a_range_that_ends_at_zero_or_six_clamps(scale: float, zero: int, fused: str | None) -> None:
    x = Value("x", TensorType((1, 4), DType.I8, per_tensor(0.1)))
    w, b = Value("w", TensorType((2, 4), DType.I8, per_tensor(0.1))), Value("b", TensorType((2,), DType.I32, per_tensor(0.01)))
    y = Value("y", TensorType((1, 2), DType.I8, per_tensor(scale, zero)))
    node = type(make_node("relu", [x], ("r",)))("fully_connected", (x, w, b), (y,), at.ActivationAttrs())
    constants = {"w": np.ones((2, 4), np.int8), "b": np.array([1, 2], np.int32)}
    nodes = document(write_tfjs(Graph("g", (x,), (y,), (node,), constants)))["modelTopology"]["node"]
    (product_,) = [entry for entry in nodes if entry["op"] == "_FusedMatMul"]
    found = [base64.b64decode(item).decode() for item in product_["attr"]["fused_ops"]["list"]["s"]]
    assert found == ["BiasAdd", *([fused] if fused else [])]
