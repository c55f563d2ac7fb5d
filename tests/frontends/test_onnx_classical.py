"""Trees and linear models of ai.onnx.ml against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.onnx_graphs import error_of, onnxruntime_outputs
from toolchain.errors import ModelError
from toolchain.frontends.onnx.load import import_onnx
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import run

SAMPLES, FEATURES = 6, 4


def model_of(node: onnx.NodeProto, outputs: dict[str, int], version: int = 3) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "classical",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [SAMPLES, FEATURES])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def random_trees(
    prefix: str, seed: int, outputs: list[int], mode: str, positive: bool = True, trees: int = 3, depth: int = 3
) -> dict[str, object]:
    """Attributes of full trees with random comparisons and votes."""
    random = np.random.default_rng(seed)
    lists: dict[str, list[object]] = {
        key: [] for key in ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids", "modes")
    }
    values: list[float] = []
    votes: dict[str, list[object]] = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(trees):
        for node in range(2 ** (depth + 1) - 1):
            leaf = node >= 2**depth - 1
            entry = (tree, node, int(random.integers(FEATURES)), 0 if leaf else 2 * node + 1, 0 if leaf else 2 * node + 2)
            for key, number in zip(lists, (*entry, "LEAF" if leaf else mode), strict=True):
                lists[key].append(number)
            values.append(float(np.float32(random.standard_normal() * 0.5)))
            for output in outputs if leaf else ():
                weight = float(np.float32(random.random() if positive else random.standard_normal()))
                for key, number in zip(votes, (tree, node, output, weight), strict=True):
                    votes[key].append(number)
    attributes: dict[str, object] = {f"nodes_{key}": numbers for key, numbers in lists.items()}
    attributes |= {f"{prefix}_{key}": numbers for key, numbers in votes.items()}
    return attributes | {"nodes_values": values}


def compare(model: onnx.ModelProto, x: Array | None = None) -> None:
    rows = np.random.default_rng(9).standard_normal((SAMPLES, FEATURES)).astype(np.float32) if x is None else x
    graph = canonicalize(import_onnx(model, "classical", Path()))
    for got, want in zip(run(graph, [rows]), onnxruntime_outputs(model, {"x": rows}), strict=True):
        assert got.dtype == want.dtype
        assert error_of(got.reshape(want.shape), want) < 1e-5


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_tree_regressor(mode: str, aggregate: str) -> None:
    attributes = random_trees("target", 1, [0], mode)
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, aggregate_function=aggregate, **attributes
    )
    compare(model_of(node, {"y": TensorProto.FLOAT}))


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"])
def test_comparison_at_the_threshold(mode: str) -> None:
    attributes = random_trees("target", 2, [0], mode, trees=1, depth=1)
    values, features = attributes["nodes_values"], attributes["nodes_featureids"]
    assert isinstance(values, list)
    assert isinstance(features, list)
    x = np.zeros((SAMPLES, FEATURES), np.float32)
    x[0, features[0]] = values[0]
    x[1, features[0]] = np.nextafter(np.float32(values[0]), np.float32(9))
    x[2, features[0]] = np.nextafter(np.float32(values[0]), np.float32(-9))
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **attributes)
    compare(model_of(node, {"y": TensorProto.FLOAT}), x)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_tree_classifier(transform: str) -> None:
    attributes = random_trees("class", 3, [0, 1, 2], "BRANCH_LEQ")
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        classlabels_int64s=[10, 20, 30],
        post_transform=transform,
        base_values=[0.1, 0.2, -0.3],
        **attributes,
    )
    compare(model_of(node, {"label": TensorProto.INT64, "scores": TensorProto.FLOAT}))


@pytest.mark.parametrize(("positive", "transform"), [(True, "NONE"), (False, "NONE"), (False, "LOGISTIC")])
def test_tree_classifier_of_one_score(positive: bool, transform: str) -> None:
    attributes = random_trees("class", 4, [0], "BRANCH_LEQ", positive, trees=1)
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1],
        post_transform=transform,
        **attributes,
    )
    compare(model_of(node, {"label": TensorProto.INT64, "scores": TensorProto.FLOAT}))


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_linear_models(transform: str) -> None:
    random = np.random.default_rng(5)
    linear = {"coefficients": random.standard_normal(3 * FEATURES).tolist(), "intercepts": [0.1, 0.2, 0.3]}
    made = {"domain": "ai.onnx.ml", "post_transform": transform, **linear}
    compare(model_of(helper.make_node("LinearRegressor", ["x"], ["y"], targets=3, **made), {"y": TensorProto.FLOAT}))
    node = helper.make_node("LinearClassifier", ["x"], ["label", "scores"], classlabels_ints=[3, 5, 7], **made)
    compare(model_of(node, {"label": TensorProto.INT64, "scores": TensorProto.FLOAT}))


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Scaler", {"offset": [0.5, 1.0, -1.0, 0.0], "scale": [2.0, 0.5, 1.0, 3.0]}),
        ("Normalizer", {"norm": "MAX"}),
        ("Normalizer", {"norm": "L1"}),
        ("Normalizer", {"norm": "L2"}),
        ("Binarizer", {"threshold": 0.2}),
        ("Imputer", {"replaced_value_float": 0.0, "imputed_value_floats": [1.0, 2.0, 3.0, 4.0]}),
    ],
)
def test_preprocessing(op: str, attributes: dict[str, object]) -> None:
    x = np.random.default_rng(6).standard_normal((SAMPLES, FEATURES)).astype(np.float32)
    x[2] = 0
    compare(model_of(helper.make_node(op, ["x"], ["y"], domain="ai.onnx.ml", **attributes), {"y": TensorProto.FLOAT}), x)


def fault_of(attributes: dict[str, object]) -> ModelError:
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **attributes)
    with pytest.raises(ModelError) as caught:
        import_onnx(model_of(node, {"y": TensorProto.FLOAT}), "bad", Path())
    return caught.value


def test_a_tree_with_a_cycle() -> None:
    attributes = random_trees("target", 1, [0], "BRANCH_LEQ", trees=1, depth=1)
    assert fault_of(attributes | {"nodes_truenodeids": [0, 0, 0]}).number == 108


def test_a_feature_that_is_not_there() -> None:
    attributes = random_trees("target", 1, [0], "BRANCH_LEQ", trees=1, depth=1)
    assert fault_of(attributes | {"nodes_featureids": [99, 0, 0]}).number == 108


def test_lists_of_different_lengths() -> None:
    attributes = random_trees("target", 1, [0], "BRANCH_LEQ", trees=1, depth=1)
    assert fault_of(attributes | {"nodes_values": [0.5]}).number == 108
