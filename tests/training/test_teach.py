"""Distillation: what a teacher answers, and that a network learns it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.training.test_recipes import PLAIN, ROOT, recipe_of
from toolchain.errors import DataError
from toolchain.training.recipes.data import batches, load_data
from toolchain.training.recipes.teach import Teacher
from toolchain.training.recipes.train import teacher_recipes

ON = np.random.default_rng(5).permutation(10)
"""What a teacher takes each digit for."""


def model(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], outputs: tuple[int, ...] = (1, 10)) -> Path:
    """A model of an image (1, 1, 8, 8)."""
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, 8, 8))
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "teacher", [taken], [given], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def linear(path: Path, weight: np.ndarray, last: str = "Softmax") -> Path:
    """Softmax, or another operation, of a product."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["row"]),
        helper.make_node("MatMul", ["row", "weight"], ["logits"]),
        helper.make_node(last, ["logits"], ["y"]),
    ]
    return model(path, nodes, {"weight": weight.astype(np.float32)}, (1, weight.shape[1]))


def probabilities(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What the model of `linear` gives, in float64, for samples with channels last."""
    logits = np.moveaxis(x, -1, 1).reshape(len(x), -1).astype(float) @ weight
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def test_a_teacher_answers_many_at_once(tmp_path: Path) -> None:
    weight = np.random.default_rng(1).normal(size=(64, 10))
    teacher = Teacher([linear(tmp_path / "teacher.onnx", weight)], (8, 8, 1), 10)
    for count in (1, 7, 32):
        x = np.random.default_rng(count).uniform(size=(count, 8, 8, 1)).astype(np.float32)
        np.testing.assert_allclose(teacher(x), probabilities(x, weight), atol=1e-6)


def test_teachers_teach_the_mean_of_their_logits(tmp_path: Path) -> None:
    weights = np.random.default_rng(4).normal(size=(3, 64, 10))
    teacher = Teacher([linear(tmp_path / f"{number}.onnx", weight) for number, weight in enumerate(weights)], (8, 8, 1), 10)
    x = np.random.default_rng(5).uniform(size=(9, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(teacher(x), probabilities(x, weights.mean(0)), atol=1e-6)


def test_a_teacher_that_would_mix_samples_is_asked_one_by_one(tmp_path: Path) -> None:
    weight = np.random.default_rng(2).normal(size=(64, 10)).astype(np.float32)
    # Rows of the transposed image: a batch of them could not be told apart.
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["column"]),
        helper.make_node("Transpose", ["column"], ["row"], perm=[1, 0]),
        helper.make_node("MatMul", ["row", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    place = model(tmp_path / "teacher.onnx", nodes, {"weight": weight, "flat": np.array([64, 1])})
    x = np.random.default_rng(3).uniform(size=(5, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(Teacher([place], (8, 8, 1), 10)(x), probabilities(x, weight), atol=1e-6)


def test_wrong_teachers_are_refused(tmp_path: Path) -> None:
    weight = np.ones((64, 10))
    place = linear(tmp_path / "teacher.onnx", weight)
    with pytest.raises(DataError, match=r"E201 .*it takes \(1, 1, 8, 8\), samples are \(4, 4, 4\)"):
        Teacher([place], (4, 4, 4), 10)
    with pytest.raises(DataError, match=r"E207 .*it gives 10 numbers, there are 3 classes"):
        Teacher([place], (8, 8, 1), 3)
    logits = linear(tmp_path / "logits.onnx", weight, "Relu")
    with pytest.raises(DataError, match=r"E207 .*its answers are no probabilities"):
        Teacher([logits], (8, 8, 1), 10)(np.ones((2, 8, 8, 1), np.float32))


def test_answers_may_have_other_dimensions(tmp_path: Path) -> None:
    weight = np.random.default_rng(7).normal(size=(64, 10)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["row"]),
        helper.make_node("MatMul", ["row", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["flat"]),
        helper.make_node("Reshape", ["flat", "long"], ["y"]),
    ]
    place = model(tmp_path / "teacher.onnx", nodes, {"weight": weight, "long": np.array([1, 1, 1, 10])}, (1, 1, 1, 10))
    x = np.random.default_rng(8).uniform(size=(6, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(Teacher([place], (8, 8, 1), 10)(x), probabilities(x, weight), atol=1e-6)


def test_a_teacher_sees_what_the_network_sees(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, PLAIN.replace("[fit]", '[[augment]]\nkind = "shift"\n[fit]'))
    data, seen = load_data(recipe), []

    def teacher(x: np.ndarray) -> np.ndarray:
        seen.append(x.copy())
        return np.full((len(x), 10), len(seen), np.float32)

    found = list(batches(recipe, data.train, 2, teacher=teacher))
    for number, (batch, asked) in enumerate(zip(found, seen, strict=True), 1):
        assert np.array_equal(batch.x, asked) and batch.taught is not None and np.all(batch.taught == number)


def trained(folder: Path, text: str) -> dict[str, Any]:
    (folder / "recipe.toml").write_text(text)
    command = [sys.executable, "-m", "toolchain.cli", "train", str(folder / "recipe.toml"), "-o", str(folder / "net"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, found
    assert not done.stderr, "whoever trains is not to read what packages chat about"
    return found


LEARN = """
import sys
import numpy as np
from toolchain.training.recipes.data import batches, load_data
from toolchain.training.recipes.engine import make_engine
from toolchain.training.recipes.recipe import load_recipe
from toolchain.training.recipes.teach import Teacher
recipe = load_recipe(sys.argv[1])
data = load_data(recipe)
teacher = Teacher([sys.argv[2]], data.shape, data.classes)
engine = make_engine(recipe, data.shape, data.classes)
for epoch in range(40):
    engine.fit(batches(recipe, data.train, epoch, teacher=teacher), lambda: 0.003)
np.save(sys.argv[3], engine.predict(data.test.x))
"""


LOSS = """
import sys
import numpy as np
from toolchain.training.recipes.engine import Batch, make_engine
from toolchain.training.recipes.recipe import load_recipe
engines = [make_engine(load_recipe(sys.argv[1]), (8, 8, 1), 10) for _ in range(2)]
with np.load(sys.argv[2]) as given:
    x, targets, taught = given["x"], given["targets"], given["taught"]
before = [engine.predict(x) for engine in engines]
losses = [engine.fit([Batch(x, targets, told)], lambda: 0.0) for engine, told in zip(engines, (taught, None))]
np.savez(sys.argv[3], before=before, losses=losses)
"""


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_the_loss_is_what_it_is_said_to_be(framework: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorflow" if framework == "keras" else "torch") is None:
        pytest.skip(f"it comes with strop[{framework}]")
    text = PLAIN.replace("seed = 3", f'seed = 3\nframework = "{framework}"')
    (tmp_path / "recipe.toml").write_text(f'{text}[distill]\nteacher = "none"\nweight = 0.3\ntemperature = 4\n')
    rng = np.random.default_rng(6)
    x, targets = rng.uniform(size=(12, 8, 8, 1)).astype(np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, 12)]
    taught = probabilities(x, rng.normal(size=(64, 10)))
    np.savez(tmp_path / "given.npz", x=x, targets=targets, taught=taught.astype(np.float32))
    command = [sys.executable, "-c", LOSS, *(str(tmp_path / name) for name in ("recipe.toml", "given.npz", "found.npz"))]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with np.load(tmp_path / "found.npz") as found:
        (own, again), (both, alone) = found["before"].astype(float), found["losses"]
    assert np.array_equal(own, again), "the seed decides"
    crossed = -np.mean((targets * np.log(own)).sum(1))
    soft, learnt = (each ** (1 / 4) / (each ** (1 / 4)).sum(1, keepdims=True) for each in (taught, own))
    apart = np.mean((soft * np.log(soft / learnt)).sum(1))
    assert alone == pytest.approx(crossed, rel=1e-4)
    assert both == pytest.approx(0.7 * crossed + 0.3 * 16 * apart, rel=1e-4)


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_a_network_learns_its_teachers_answers(framework: str, tmp_path: Path) -> None:
    """The teacher takes each digit for another one, and is not sure of it; so does a network that learns of it alone."""
    if importlib.util.find_spec("tensorflow" if framework == "keras" else "torch") is None:
        pytest.skip(f"it comes with strop[{framework}]")
    stored = np.load(ROOT / "examples" / "digits" / "train.npz")
    rows = stored["image"].reshape(-1, 64).astype(float)
    weight = np.linalg.lstsq(rows.T @ rows + 3 * np.eye(64), rows.T @ np.eye(10)[ON[stored["y"]]], rcond=None)[0] * 4
    place, text = linear(tmp_path / "teacher.onnx", weight), PLAIN.replace("seed = 3", f'seed = 3\nframework = "{framework}"')
    test = load_data(recipe_of(tmp_path, f'{text}[distill]\nteacher = "{place}"\nweight = 1\ntemperature = 2\n')).test
    command = [sys.executable, "-c", LEARN, str(tmp_path / "recipe.toml"), str(place), str(tmp_path / "answers.npy")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600, env={**os.environ, "PYTHONPATH": str(ROOT)})
    told, learnt = probabilities(test.x, weight), np.load(tmp_path / "answers.npy")
    same, apart = np.mean(told.argmax(1) == learnt.argmax(1)), np.abs(told - learnt).mean()
    print(f"{same:.0%} are taken for the same, probabilities differ by {apart:.3f}")
    assert test.labels is not None and np.mean(told.argmax(1) == ON[test.labels]) > 0.8
    # Softened once only, or on one side alone, the probabilities would differ by 0.05.
    assert same > 0.85 and apart < 0.02


def test_teachers_are_trained_first(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch comes with strop[torch]")
    text = PLAIN.replace("seed = 3", 'seed = 3\nframework = "torch"')
    distill = (
        '[distill]\nepochs = 6\nnetworks = 2\n[distill.network]\nkind = "mlp"\nwidth = 48\n[[distill.augment]]\nkind = "noise"\n'
    )
    found = trained(tmp_path, text + distill)
    one, other = (json.loads((tmp_path / "net" / "teacher" / name / "result.json").read_text()) for name in "12")
    assert (one["epochs"], other["epochs"], found["epochs"]) == (6, 6, 4) and one["parameters"] > 64 * 48
    assert one["loss"] != other["loss"], "they are to differ"
    assert trained(tmp_path, text + distill) == found


def test_teachers_do_not_see_what_is_kept_aside(tmp_path: Path) -> None:
    text = f'{PLAIN}[distill]\nnetworks = 3\n[distill.network]\nkind = "mlp"\n'
    recipe = recipe_of(tmp_path, text)
    assert recipe.distill is not None and recipe.distill.network is not None
    own = teacher_recipes(recipe, recipe.distill, recipe.distill.network)
    assert len({each.seed for each in own}) == 3
    for each in own:
        assert np.array_equal(load_data(each).validation.x, load_data(recipe).validation.x)


def test_a_split_has_a_seed_of_its_own(tmp_path: Path) -> None:
    text = PLAIN.replace('input = "image"', 'input = "image"\nvalidation = 0.2')
    splits = [load_data(recipe_of(tmp_path, text.replace("seed = 3", f"seed = {seed}\n"))) for seed in (3, 4)]
    fixed = text.replace("validation", "seed = 3\nvalidation")
    same = load_data(recipe_of(tmp_path, fixed.replace("seed = 3\n[data]", "seed = 4\n[data]")))
    assert not np.array_equal(splits[0].validation.x, splits[1].validation.x)
    assert np.array_equal(splits[0].validation.x, same.validation.x)


@pytest.mark.long
def test_processes_train_together_and_share_their_teachers(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch comes with strop[torch]")
    text = PLAIN.replace("seed = 3", 'seed = 3\nframework = "torch"').replace("epochs = 4", "epochs = 25\nlearning_rate = 0.01")
    (tmp_path / "recipe.toml").write_text(f'{text}[distill]\nnetworks = 2\n[distill.network]\nkind = "mlp"\n')
    ours = ["-m", "toolchain.cli", "train", str(tmp_path / "recipe.toml"), "-o", str(tmp_path / "net"), "--json"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *ours]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    found = json.loads((tmp_path / "net" / "result.json").read_text())
    assert done.stdout.count(f'"loss": {found["loss"]}') == 2, "both come to the same"
    assert found["accuracy"] > 0.8 and (tmp_path / "net" / "teacher" / "2" / "result.json").exists()
