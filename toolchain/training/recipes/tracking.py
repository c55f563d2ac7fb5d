"""Where a training's course is kept beside its folder: nowhere else, or in MLflow."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from toolchain.errors import EnvironmentFault, RunError

EXPERIMENT = "strop"


class Tracker(Protocol):
    """What takes a training's course. Calls after a resume may repeat what was said before."""

    def begin(self, name: str, digest: str, parameters: Mapping[str, object]) -> None:
        """Open the run of a recipe, or the one that was left open for it."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of an epoch."""
        ...

    def end(self, folder: Path, tags: Mapping[str, str]) -> None:
        """Keep what the training came to, and close the run."""
        ...


class NoTracker:
    """Keeps nothing."""

    def begin(self, name: str, digest: str, parameters: Mapping[str, object]) -> None:
        """Nothing."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def end(self, folder: Path, tags: Mapping[str, str]) -> None:
        """Nothing."""


class MlflowTracker:
    """A run in MLflow; a resumed training goes on in the run that it began."""

    def __init__(self, address: str) -> None:
        """address: of a tracking server or a store, such as sqlite:///runs.db. Raises EnvironmentFault E404."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            mlflow: Any = importlib.import_module("mlflow")
        except ImportError as fault:
            raise EnvironmentFault(404, "mlflow", "it is not installed", "pip install 'strop[loop]'") from fault
        self._address, self._client, self._run = address, mlflow.MlflowClient(address), ""

    def begin(self, name: str, digest: str, parameters: Mapping[str, object]) -> None:
        """Open the run. Raises RunError E505 where the server takes nothing."""
        try:
            known = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = known.experiment_id if known else self._client.create_experiment(EXPERIMENT, _artifacts(self._address))
            wanted = f"tags.recipe_sha256 = '{digest}' and attributes.status = 'RUNNING'"
            left = self._client.search_runs([experiment], wanted, max_results=1)
            if left:
                self._run = left[0].info.run_id
                return
            run = self._client.create_run(experiment, run_name=name, tags={"recipe_sha256": digest})
            self._run = run.info.run_id
            for key, value in parameters.items():
                self._client.log_param(self._run, key, value)
        except Exception as fault:
            # MLflow, its store and its transport raise classes of their own.
            raise self._fault(fault) from fault

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of an epoch. Raises RunError E505."""
        try:
            for key, value in values.items():
                self._client.log_metric(self._run, key, value, step=step)
        except Exception as fault:
            raise self._fault(fault) from fault

    def end(self, folder: Path, tags: Mapping[str, str]) -> None:
        """Keep the folder, and close the run. Raises RunError E505."""
        try:
            for key, value in tags.items():
                self._client.set_tag(self._run, key, value)
            self._client.log_artifacts(self._run, str(folder))
            self._client.set_terminated(self._run)
        except Exception as fault:
            raise self._fault(fault) from fault

    def _fault(self, fault: Exception) -> RunError:
        text = " ".join(str(fault).split())[:160]
        return RunError(505, self._address, f"MLflow keeps nothing ({type(fault).__name__}: {text})", "Check --track")


def _artifacts(address: str) -> str | None:
    """Where files of a database's runs go: beside it. A server knows by itself."""
    head = "sqlite:///"
    return (Path(address[len(head) :]).resolve().parent / "artifacts").as_uri() if address.startswith(head) else None


def make_tracker(address: str | None) -> Tracker:
    """The tracker of an address; None keeps nothing. Raises EnvironmentFault E404."""
    return NoTracker() if address is None else MlflowTracker(address)
