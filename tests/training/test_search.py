"""Search: what is tried is never tried twice, what was cut off goes on, and what is found keeps the limits."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.training.test_recipes import PLAIN, ROOT, recipe_of
from tests.training.test_teach import linear
from toolchain.errors import DataError
from toolchain.frontends.load import load_model
from toolchain.training.recipes import search as module
from toolchain.training.recipes.cost import Cost, layers_digest
from toolchain.training.recipes.recipe import CompilePart, Recipe, SearchPart
from toolchain.training.recipes.search import Studies, Trial
from toolchain.training.recipes.tracking import NoTracker

optuna = pytest.importorskip("optuna", reason="optuna comes with strop[train]")
SEARCH = """
[compile]
target = "mps2_an386"
max_flash = 9000
[search]
trials = 8
epochs = 1
finalists = 1
[search.space]
width = [4, 40]
depth = [1, 2]
"""


def parts(folder: Path) -> tuple[Recipe, SearchPart, CompilePart]:
    recipe = recipe_of(folder, PLAIN + SEARCH)
    assert recipe.search is not None and recipe.compile is not None
    return recipe, recipe.search, recipe.compile


def tried(settings: dict[str, int]) -> Trial:
    """A made-up course: larger is better, and more than 30 wide does not fit."""
    width, depth = settings["width"], settings["depth"]
    flash = 300 * width
    loss = None if flash > 9000 else 1 / width + 0.01 * depth
    return Trial(settings, f"{width}-{depth}", Cost(10 * width, flash, 0.1 * width, loss is not None), loss, None)


def told(studies: Studies, limits: CompilePart, count: int) -> list[Trial]:
    found = list(studies.found)
    for number in range(len(found), len(found) + count):
        asked, settings = studies.ask(number)
        found.append(tried(settings))
        studies.tell(number, asked, found[-1], limits)
    return found


def test_a_search_looks_for_accuracy_and_for_what_small_networks_can_do(tmp_path: Path) -> None:
    recipe, part, limits = parts(tmp_path)
    found = told(Studies(recipe, part, tmp_path), limits, 60)
    for_accuracy = [trial.settings["width"] for number, trial in enumerate(found) if number >= 20 and number % 4 != 3]
    for_front = [trial.settings["width"] for number, trial in enumerate(found) if number >= 20 and number % 4 == 3]
    assert sum(for_accuracy) / len(for_accuracy) > 22 and max(width for width in for_accuracy if width <= 30) >= 29
    assert min(for_front) < 12


def test_a_search_that_was_cut_off_between_its_studies_goes_on(tmp_path: Path) -> None:
    recipe, part, limits = parts(tmp_path)
    studies = Studies(recipe, part, tmp_path)
    found = told(studies, limits, 5)
    asked, settings = studies.ask(5)
    found.append(tried(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Studies, "_add", cut)
        with pytest.raises(KeyboardInterrupt):
            studies.tell(5, asked, found[-1], limits)
    studies.ask(6)
    again = Studies(recipe, part, tmp_path)
    assert list(again.found) == found
    told(again, limits, 2)
    assert len(Studies(recipe, part, tmp_path).found) == 8
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "trials.journal")))
    for name in ("accuracy", "front"):
        study = optuna.load_study(study_name=f"{recipe.digest}-{name}", storage=storage)
        numbers = [each.user_attrs["number"] for each in study.trials if each.state.is_finished()]
        assert sorted(numbers) == list(range(8)), "each study knows each candidate, once"
        assert all(each.constraints.keys() >= {"flash"} for each in study.trials if each.state.is_finished())


def test_a_search_that_goes_on_keeps_its_finalists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much time there would be for more candidates."""
    recipe, part, _ = parts(tmp_path)
    recipe = replace(recipe, search=replace(part, trials=10_000, minutes=0.01))
    trained: list[Recipe] = []

    def train(own: Recipe, *_: object) -> Any:
        trained.append(own)
        if len(trained) == 1:
            raise KeyboardInterrupt
        return SimpleNamespace(validation_loss=0.0, as_json=dict)

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "load_data", lambda *_: None)
    monkeypatch.setattr(module, "_tried", lambda *given: tried(given[4]))
    with pytest.raises(KeyboardInterrupt):
        module.search(recipe, tmp_path / "out", NoTracker)
    count = len(Studies(recipe, part, tmp_path / "out").found)
    found = module.search(recipe, tmp_path / "out", NoTracker)
    assert len(found.trials) == count > 3
    assert trained[1] == trained[0] and found.settings == {name: trained[0].network.settings[name] for name in part.space}
    other = replace(recipe, seed=recipe.seed + 1)
    with pytest.raises(DataError, match=r"E205 .*it is of another recipe's search"):
        module.search(other, tmp_path / "out", NoTracker)


def cut(*_: object) -> None:
    raise KeyboardInterrupt


def test_networks_are_told_apart_by_their_layers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def digest(outputs: int, last: str = "Softmax") -> str:
        return layers_digest(load_model(linear(tmp_path / "net.onnx", rng.normal(size=(64, outputs)), last)))

    assert digest(10) == digest(10)
    assert len({digest(10), digest(11), digest(10, "Relu")}) == 3


def test_what_is_found_keeps_the_limits(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch comes with strop[torch]")
    (tmp_path / "recipe.toml").write_text(PLAIN.replace("seed = 3", 'seed = 3\nframework = "torch"') + SEARCH)
    command = [
        sys.executable,
        "-m",
        "toolchain.cli",
        "train",
        str(tmp_path / "recipe.toml"),
        "-o",
        str(tmp_path / "net"),
        "--json",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    found = json.loads(done.stdout)
    print(found["settings"], found["best"]["costs"])
    assert len(found["trials"]) == 8 and len(found["finalists"]) == 1
    for trial in found["trials"]:
        assert (trial["loss"] is None) == (trial["cost"]["flash_bytes"] > 9000)
    losses = [trial["loss"] for trial in found["trials"] if trial["loss"] is not None]
    assert min(losses) in [trial["loss"] for trial in found["pareto"]]
    best = found["best"]
    assert best["bit_exact"] and best["costs"]["flash"]["code_bytes"] + best["costs"]["flash"]["weight_bytes"] <= 9000
