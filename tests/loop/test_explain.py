"""Explaining: attributions of models whose weights say what they must be, features that tell, pictures, no SHAP."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import EnvironmentFault
from toolchain.ir.types import Array
from toolchain.loop.attribution import attributions
from toolchain.loop.card import wilson
from toolchain.loop.disagree import compare, divergence, features_of
from toolchain.loop.explain import FACTS, explain_models, slices
from toolchain.loop.gate import Answers
from toolchain.loop.pictured import explained
from toolchain.loop.retrain import TestSet as Tested
from toolchain.loop.settings import ExplainPart

Y = np.tile(np.arange(3), 30)
needs_shap = pytest.mark.skipif(importlib.util.find_spec("shap") is None, reason="SHAP comes with strop[explain]")


def answers(kind: str, differ: Array) -> Answers:
    """Models of which the old one is right, the new one is wrong where they differ."""
    return Answers(kind, Y, np.where(differ, (Y + 1) % 3, Y), Y, np.full(len(Y), ""))


def test_divergence_of_known_histograms() -> None:
    assert divergence(np.array([5.0, 0.0]), np.array([0.0, 9.0])) == 1.0
    assert divergence(np.array([2.0, 4.0]), np.array([1.0, 2.0])) == 0.0
    middle = 2 - 0.75 * math.log2(3)
    assert divergence(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(middle - 0.5)


def test_the_feature_that_tells_comes_first() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(Y), 4)).astype(np.float32)
    differ = x[:, 2] > 0.8
    found = compare(features_of(x, ("a", "b", "c", "d")), differ, 0)
    assert found[0].name == "c" and found[0].divergence > 2 * found[0].usual
    assert all(each.divergence < 1.5 * each.usual for each in found[1:])
    assert compare(features_of(x, ()), np.zeros(len(Y), bool), 0) == ()


@pytest.mark.parametrize(
    ("shape", "named", "expected"),
    [
        ((8, 8, 1), (), "sharpness"),
        ((5, 2), ("speed", "heat"), "mean of heat"),
        ((5, 2), (), "deviation"),
        ((3,), (), "feature 2"),
    ],
)
def test_features_fit_the_samples(shape: tuple[int, ...], named: tuple[str, ...], expected: str) -> None:
    found = features_of(np.random.default_rng(0).uniform(size=(6, *shape)).astype(np.float32), named)
    assert expected in found and all(each.shape == (6,) for each in found.values())


def test_slices_tell_where_models_differ() -> None:
    found = {one.name: one for one in slices([answers("old", Y == 1)])}
    assert found["class 1"].differ == 1.0 and found["class 1"].new == 0.0
    assert found["class 0"].differ == 0.0 and found["all"].differ == pytest.approx(1 / 3, abs=1e-4)


def planted(model: Path, background: Array, x: Array, y: Array, seed: int) -> Array:
    """The old model looks at the first row, or feature, the new one at the last."""
    found = np.zeros(x.shape, np.float32)
    found[:, 0 if model.name == "old" else -1] = 0.5
    return found


def run(tmp_path: Path, shape: tuple[int, ...], settings: ExplainPart, explainer: object = planted) -> dict[str, object]:
    assert callable(explainer)
    x = np.random.default_rng(0).uniform(size=(len(Y), *shape)).astype(np.float32)
    tested = [Tested("old", x, Y, np.full(len(Y), ""))]
    models = (tmp_path / "old", tmp_path / "new")
    return explain_models(tmp_path / "explain", models, x, tested, [answers("old", Y == 1)], settings, explainer)


def test_images_become_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    found = run(tmp_path, (6, 5, 1), ExplainPart(samples=4))
    assert json.loads((tmp_path / "explain" / FACTS).read_text())["attribution"] == found["attribution"]
    with image.open(tmp_path / "explain" / "attribution-old.png") as picture:
        assert picture.size == (3 * 6, 4 * 7)
        pixels = np.asarray(picture)
    old, new, change = (pixels[7 * row : 7 * row + 6, :5].astype(int) for row in (1, 2, 3))
    assert (old[0] != 255).any() and (old[1:] == 255).all()
    assert (new[-1] != 255).any() and (new[:-1] == 255).all()
    assert (change[0, :, 2] > change[0, :, 0]).all() and (change[-1, :, 0] > change[-1, :, 2]).all(), "cool was, warm is"
    page = explained(tmp_path / "explain")
    assert "data:image/png;base64," in page and "No attributions" not in page


def test_vectors_become_a_ranked_table(tmp_path: Path) -> None:
    found = run(tmp_path, (3,), ExplainPart(samples=2, features=("speed", "heat", "noise")))
    (one,) = found["attribution"]["sets"]  # type: ignore[index]
    assert one["picture"] is None
    assert {row["name"]: (row["old"], row["new"]) for row in one["features"]} == {
        "speed": (1, 0),
        "heat": (0, 0),
        "noise": (0, 1),
    }
    assert one["features"][-1]["name"] == "heat"
    assert [row["same"] for row in one["classes"]] == [0, 0, 0]


def test_without_shap_the_step_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, extra: str) -> object:
        raise EnvironmentFault(404, "strop loop", f"the package '{name}' is not installed", f"pip install 'strop[{extra}]'")

    monkeypatch.setattr("toolchain.loop.attribution.need", missing)
    found = run(tmp_path, (3,), ExplainPart(), attributions)
    assert "the package 'shap' is not installed. pip install 'strop[explain]'" in str(found["attribution"])
    assert found["disagreement"]
    assert "No attributions: E404" in explained(tmp_path / "explain")


def test_wilsons_interval() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


WEIGHTS = np.array([[1.0, 0.0], [-2.0, 3.0], [0.5, 4.0]], np.float32)


def linear_case() -> tuple[Array, Array, Array, Array]:
    """Background of one sample, samples, their classes, and what the attributions of a linear model are then, exactly."""
    rng = np.random.default_rng(0)
    base, x = rng.normal(size=(1, 3)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    y = np.array([0, 1, 0, 1, 1, 0])
    return base, x, y, (x - base) * WEIGHTS[:, y].T


@needs_shap
def test_a_model_without_gradients_is_explained(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, numeric = onnx.helper, onnx.numpy_helper
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, size)) for name, size in (("x", 3), ("y", 2))]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "linear", ends[:1], ends[1:], [numeric.from_array(WEIGHTS, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, tmp_path / "model.onnx")
    base, x, y, expected = linear_case()
    np.testing.assert_allclose(attributions(tmp_path / "model.onnx", base, x, y, 0), expected, atol=1e-4)


KERAS = """
import keras
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
model.set_weights([weights])
model.save(path)
"""
TORCH = """
import torch
module = torch.nn.Linear(3, 2, bias=False)
with torch.no_grad():
    module.weight.copy_(torch.from_numpy(weights.T.copy()))
torch.export.save(torch.export.export(module.eval(), (torch.zeros(1, 3),)), path)
"""


@pytest.mark.long
@needs_shap
@pytest.mark.parametrize(
    ("package", "code", "name"), [("tensorflow", KERAS, "model.keras"), ("torch", TORCH, "model.pt2")], ids=["keras", "torch"]
)
def test_a_framework_s_model_is_explained(package: str, code: str, name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    # torch and TensorFlow cannot be in one process, and another test may have brought one of them.
    head = f"import numpy as np\nweights, path = np.array({WEIGHTS.tolist()}, np.float32), {str(tmp_path / name)!r}\n"
    subprocess.run([sys.executable, "-c", head + code], check=True)
    base, x, y, expected = linear_case()
    np.testing.assert_allclose(attributions(tmp_path / name, base, x, y, 0), expected, atol=1e-4)
