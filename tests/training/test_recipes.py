"""Recipes: what is refused, what is random only by seed, and trainings that end in the same model however they were cut off."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import DataError
from toolchain.training.recipes.augment import AUGMENTS
from toolchain.training.recipes.data import Split, batches, load_data
from toolchain.training.recipes.prune import keep, share_of_round
from toolchain.training.recipes.recipe import Recipe, load_recipe
from toolchain.training.recipes.zoo import ZOO

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"
PLAIN = f"""
name = "net"
seed = 3
[data]
train = "{DIGITS}/train.npz[0:400]"
test = "{DIGITS}/test.npz[0:100]"
input = "image"
layout = "channels_first"
[network]
kind = "mlp"
width = 16
depth = 1
[fit]
epochs = 4
batch = 64
"""


def recipe_of(folder: Path, text: str) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(text)
    return load_recipe(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seed = 3", "seeds = 3"), "key 'seeds' is unknown. Did you mean 'seed'?"),
        (("seed = 3", "seed = -1"), "key 'seed' is -1. It must lie in 0 to 2,147,483,647"),
        (('kind = "mlp"', 'kind = "mpl"'), "key 'network.kind' is 'mpl'. Use one of: mlp, cnn, ds_cnn"),
        (("width = 16", "width = 0"), "key 'network.width' is 0. It must lie in 1 to 4,096"),
        (("width = 16", "with = 16"), "key 'network.with' is unknown. Did you mean 'width'?"),
        (("epochs = 4", 'epochs = "4"'), "key 'fit.epochs' must be an integer, is a string"),
        (("batch = 64", "batch = 64\nlearning_rate = nan"), "key 'fit.learning_rate' is nan"),
        (("[fit]", '[[augment]]\nkind = "blur"\n[fit]'), "key 'augment[0].kind' is 'blur'. Use one of: shift, noise"),
        (("[fit]", "[fine_tune]\nepochs = 1\n[fit]"), "key 'fine_tune' needs what the model is compiled for"),
        (("[fit]", "[distill]\nweight = 0.5\n[fit]"), "key 'distill.teacher' is missing"),
        (("[fit]", '[distill]\nteacher = "a.onnx"\n[distill.network]\nkind = "mlp"\n[fit]'), "key 'distill.teacher' is unknown"),
        (
            (
                '[network]\nkind = "mlp"\nwidth = 16\ndepth = 1\n[fit]',
                'validation = 0\n[network]\nkind = "mlp"\n[fit]\npatience = 2',
            ),
            "'fit.patience' needs samples",
        ),
        (("[fit]", "[search]\n[fit]"), "key 'search' needs a target to ask for costs"),
        (("[fit]", '[search.space]\nsize = [1, 2]\n[compile]\ntarget = "host"\n[fit]'), "'search.space.size' is no whole number"),
        (
            ("[fit]", '[search.space]\nwidth = [9, 2]\n[compile]\ntarget = "host"\n[fit]'),
            "'search.space.width' must be [low, high]",
        ),
        (("seed = 3", "seed = 3\nseed = 4"), "it is not valid TOML"),
        (('kind = "mlp"', 'kind = "autoencoder"'), "Use one of: mlp"),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_and_key(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as fault:
        recipe_of(tmp_path, PLAIN.replace(*change))
    assert fault.value.number == 208 and fault.value.place == "recipe.toml"
    assert message in str(fault.value)


def test_every_network_is_there_in_both_frameworks() -> None:
    # Two processes: one cannot hold both frameworks.
    for framework in ("keras", "torch"):
        code = f"from toolchain.training.recipes.{framework}_zoo import BUILDERS; print(*BUILDERS)"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.split() == list(ZOO)


def test_data_is_split_once_and_has_channels_last(tmp_path: Path) -> None:
    data = load_data(recipe_of(tmp_path, PLAIN))
    assert (
        data.train.x.shape == (360, 8, 8, 1) and data.validation.x.shape == (40, 8, 8, 1) and data.test.x.shape == (100, 8, 8, 1)
    )
    stored = np.load(DIGITS / "train.npz")
    both = {sample.tobytes() for sample in (*data.train.x, *data.validation.x)}
    assert both == {sample.tobytes() for sample in stored["image"][:400]}
    assert data.train.labels is not None and np.array_equal(data.train.targets.argmax(1), data.train.labels)
    assert data.classes == 10


def test_labels_are_needed(tmp_path: Path) -> None:
    text = PLAIN.replace("train.npz[0:400]", "calibration.npz")
    with pytest.raises(DataError, match=r"E206 .*a classifier needs a label for every sample"):
        load_data(recipe_of(tmp_path, text))


def test_processes_share_every_batch(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, PLAIN.replace("[fit]", '[[augment]]\nkind = "noise"\n[fit]'))
    data = load_data(recipe).train
    whole = list(batches(recipe, data, 5))
    parts = [list(batches(recipe, data, 5, (number, 2))) for number in range(2)]
    for both, first, second in zip(whole, *parts, strict=True):
        assert np.array_equal(both.x[0::2], first.x) and np.array_equal(both.x[1::2], second.x)
        assert np.array_equal(both.targets[0::2], first.targets) and np.array_equal(both.targets[1::2], second.targets)
    assert not np.array_equal(whole[0].x, next(batches(recipe, data, 6)).x)


@pytest.mark.parametrize("kind", AUGMENTS)
def test_augmentations_depend_on_the_seed_alone(kind: str) -> None:
    for shape in ((5, 8, 8, 2), (5, 20, 3)):
        batch = np.random.default_rng(0).uniform(0.5, 1, shape).astype(np.float32)
        kept = batch.copy()
        first, again, other = (AUGMENTS[kind].apply(batch, {}, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert np.array_equal(batch, kept), "the samples themselves were changed"
        assert first.shape == shape and np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_shift_brings_in_zeros() -> None:
    batch = np.ones((50, 6, 6, 1), np.float32)
    moved = AUGMENTS["shift"].apply(batch, {"steps": 2}, np.random.default_rng(0))
    sums = moved.reshape(50, -1).sum(1)
    assert set(sums) <= {float(a * b) for a in (4, 5, 6) for b in (4, 5, 6)} and len(set(sums)) > 3


def test_a_warp_is_what_scipy_makes_of_it() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(3)
    batch = np.zeros((20, 9, 7, 2))
    batch[:, 2:-2, 2:-2] = rng.uniform(size=(20, 5, 3, 2))
    warped = AUGMENTS["warp"].apply(batch, {"degrees": 30, "stretch": 0.2}, np.random.default_rng(8))
    drawn = np.random.default_rng(8)
    stretch, angle = 1 / (1 + 0.2 * drawn.uniform(-1, 1, (20, 2))), np.radians(30 * drawn.uniform(-1, 1, 20))
    for index, (image, turn) in enumerate(zip(batch, angle, strict=True)):
        matrix = np.diag(stretch[index]) @ [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        shift = np.array([4, 3]) - matrix @ [4, 3]
        for channel in range(2):
            wanted = ndimage.affine_transform(image[..., channel], matrix, shift, order=1, mode="grid-constant")
            np.testing.assert_allclose(warped[index, ..., channel], wanted, atol=1e-12)


def test_a_warp_of_a_sequence_stretches_it() -> None:
    ramp = np.arange(21.0).reshape(1, 21, 1)
    warped = AUGMENTS["warp"].apply(ramp, {"stretch": 0.5}, np.random.default_rng(2))[0, 6:15, 0]
    steps = np.diff(warped)
    assert np.allclose(steps, steps[0]) and abs(steps[0] - 1) > 0.05 and warped[4] == pytest.approx(10)


def test_the_lightest_channels_go_and_every_layer_keeps_one() -> None:
    weights = {"a": np.array([1.0, 2.0, 3.0, 10.0]), "b": np.array([0.1, 0.1, 0.1]), "c": np.array([5.0, 6.0])}
    kept = keep(weights, 0.5)
    assert not kept["a"][0] and kept["a"][3] and all(each.any() for each in kept.values())
    assert all(each.all() for each in keep(weights, 0.0).values())
    assert [int(each.sum()) for each in keep(weights, 0.95).values()] == [1, 1, 1]
    assert share_of_round(0.3, 3, 3) == pytest.approx(0.3) and share_of_round(0.3, 1, 3) == pytest.approx(1 - 0.7 ** (1 / 3))


def started(recipe: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "toolchain.cli", "train", str(recipe), "-o", str(folder), "--json"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.long
@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_a_training_that_is_killed_goes_on_to_the_same_model(framework: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    dropout = PLAIN.replace("depth = 1", "depth = 2\ndropout = 0.2").replace("epochs = 4", "epochs = 8")
    recipe.write_text(
        dropout.replace("seed = 3", f'seed = 3\nframework = "{framework}"') + "[prune]\nshare = 0.3\nrounds = 2\nepochs = 2\n"
    )
    whole = started(recipe, tmp_path / "whole")
    expected = json.loads(whole.communicate(timeout=600)[0])
    rng, cuts = np.random.default_rng(), 0
    while True:
        process = started(recipe, tmp_path / "cut")
        wanted = cuts + 1 + int(rng.integers(0, 3))
        state = tmp_path / "cut" / "checkpoint" / "state.json"
        while process.poll() is None and cuts < 3:
            time.sleep(0.01)
            if state.exists() and json.loads(state.read_text())["epoch"] >= wanted:
                os.kill(process.pid, signal.SIGKILL)
                cuts += 1
                break
        out = process.communicate(timeout=600)[0]
        if process.returncode == 0:
            break
    found = json.loads(out)
    assert cuts == 3 and {**found, "folder": ""} == {**expected, "folder": ""}
    assert (tmp_path / "cut" / "history.jsonl").read_text() == (tmp_path / "whole" / "history.jsonl").read_text()


def zoo(framework: str, folder: Path, kinds: Sequence[str] = tuple(ZOO)) -> None:
    command = [sys.executable, "-m", "tests.support.zoo_runs", framework, str(folder), *kinds]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row["kind"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert list(rows) == list(kinds)
    for kind, row in rows.items():
        right = f"{row['accuracy']:.0%} right, {row['integer_accuracy']:.0%} in integers" if row["accuracy"] is not None else ""
        print(
            f"{framework} {kind}: {row['parameters']:,} parameters, loss {row['loss']:.3f} {right}, bit-exact {row['bit_exact']}"
        )
        assert row["bit_exact"] is True
        assert row["accuracy"] is None or row["accuracy"] > 0.3, "it learnt nothing"
        assert row["accuracy"] is None or row["integer_accuracy"] > row["accuracy"] - 0.06


def test_a_network_trains_compiles_and_runs_bit_exact(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras comes with strop[keras]")
    zoo("keras", tmp_path, ("cnn",))


@pytest.mark.long
def test_every_network_trains_compiles_and_runs_bit_exact_in_keras(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras comes with strop[keras]")
    zoo("keras", tmp_path)


@pytest.mark.long
def test_every_network_trains_compiles_and_runs_bit_exact_in_torch(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch comes with strop[torch]")
    zoo("torch", tmp_path)


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_a_cnn_grows_from_its_second_block_on(framework: str) -> None:
    if importlib.util.find_spec("tensorflow" if framework == "keras" else "torch") is None:
        pytest.skip(f"it comes with strop[{framework}]")
    body = """
import sys
from pathlib import Path
from dataclasses import replace
from toolchain.training.recipes.engine import make_engine
from toolchain.training.recipes.recipe import NetworkPart, load_recipe
recipe = replace(load_recipe(sys.argv[1]), framework=sys.argv[2])
for growth in (1, 3):
    network = NetworkPart("cnn", {"filters": 4, "blocks": 3, "growth": growth, "grid": 2})
    print(make_engine(recipe, (8, 8, 1), 10, network).parameters)
"""
    recipe = ROOT / "examples" / "recipes" / "digits.toml"
    command = [sys.executable, "-c", body, str(recipe), framework]
    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    same, grown = (int(line) for line in said.stdout.split())
    # Of 4 and 12 filters: two convolutions, two numbers of each normalization, four regions before the dense layer.
    assert grown - same == (4 * 12 + 12 * 12 - 2 * 4 * 4) * 9 + 2 * 2 * (12 - 4) + 4 * (12 - 4) * 10


def test_parts_of_a_split_keep_their_labels() -> None:
    x, labels = np.arange(6, dtype=np.float32)[:, None], np.arange(6) % 3
    part = Split(x, np.eye(3, dtype=np.float32)[labels], labels).part(np.array([4, 1]))
    assert part.labels is not None and list(part.labels) == [1, 1] and list(part.x[:, 0]) == [4, 1]
