"""A training's course in a real MLflow store: a training that was cut off goes on in its run."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from toolchain.errors import RunError
from toolchain.training.recipes.recipe import load_recipe
from toolchain.training.recipes.tracking import EXPERIMENT, make_tracker
from toolchain.training.recipes.train import TrainResult, train

RECIPE = Path(__file__).parents[2] / "examples" / "recipes" / "digits.toml"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow comes with strop[loop]"),
]


def test_a_run_is_kept_and_found_again(tmp_path: Path) -> None:
    from mlflow import MlflowClient  # type: ignore[import-untyped, unused-ignore]

    address = f"sqlite:///{tmp_path}/runs.db"
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "result.json").write_text("{}")
    first = make_tracker(address)
    first.begin("net", "digest", {"width": 3})
    first.metrics(1, {"loss": 2.0})
    again = make_tracker(address)
    again.begin("net", "digest", {"width": 3})
    again.metrics(2, {"loss": 1.0})
    again.end(tmp_path / "made", {"model": "model.keras"})
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params == {"width": "3"} and run.data.tags["model"] == "model.keras" and run.info.status == "FINISHED"
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [2.0, 1.0]
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["result.json"]
    assert (tmp_path / "artifacts").is_dir()
    other = make_tracker(address)
    other.begin("net", "digest", {"width": 3})
    assert len(client.search_runs([run.info.experiment_id])) == 2, "a run that has ended is not gone on with"


def test_a_store_that_is_half_made_is_nowhere(tmp_path: Path) -> None:
    """A process is killed as soon as there is a file; the next one goes on."""
    address, body = f"sqlite:///{tmp_path}/runs.db", "import sys\nfrom toolchain.training.recipes.tracking import make_tracker\n"
    for kill in (True, False):
        process = subprocess.Popen([sys.executable, "-c", body + "make_tracker(sys.argv[1]).begin('net', 'd', {})", address])
        while kill and process.poll() is None and not any(tmp_path.iterdir()):
            time.sleep(0.01)
        if kill:
            process.kill()
        assert process.wait(120) == (-signal.SIGKILL if kill else 0)


def test_a_training_killed_before_its_run_ended_ends_it(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    recipe = replace(load_recipe(RECIPE), compile=None)
    folder = tmp_path / "made"
    (folder / "checkpoint").mkdir(parents=True)
    result = TrainResult(folder, "model.keras", 9, 2, 0.5, 0.9, 0.6, 0.8, None, None, {})
    (folder / "result.json").write_text(json.dumps({**result.as_json(), "recipe_sha256": recipe.digest}))
    (folder / "checkpoint" / "state.json").write_text("{}")
    address = f"sqlite:///{tmp_path}/runs.db"
    make_tracker(address).begin(recipe.name, recipe.digest, {})
    for _ in range(2):
        assert train(recipe, folder, make_tracker(address)).epochs == 2
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.metrics["test_accuracy"] == 0.9
    assert not (folder / "checkpoint").exists()


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RunError, match=r"E505 http://127.0.0.1:9: MLflow keeps nothing"):
        make_tracker("http://127.0.0.1:9").begin("net", "digest", {})
