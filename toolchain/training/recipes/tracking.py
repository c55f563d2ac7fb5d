"""Where a training's course is kept beside its folder: nowhere else, or in MLflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from toolchain.errors import EnvironmentFault, RunError
from toolchain.extras import need

EXPERIMENT = "strop"
SQLITE = "sqlite:///"


class Tracker(Protocol):
    """What takes a training's course. Calls after a resume may repeat what was said before."""

    def begin(self, name: str, digest: str, parameters: Mapping[str, object]) -> None:
        """Open the run of a recipe, or the one that was left open for it."""
        ...

    def left(self, digest: str) -> bool:
        """Take up the run that was left open for a recipe; False where there is none."""
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

    def left(self, digest: str) -> bool:
        """Nothing was."""
        return False

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def end(self, folder: Path, tags: Mapping[str, str]) -> None:
        """Nothing."""


class MlflowTracker:
    """A run in MLflow; a resumed training goes on in the run that it began."""

    def __init__(self, address: str) -> None:
        """address: of a tracking server or a store, such as sqlite:///runs.db. Raises EnvironmentFault E404, RunError E505."""
        self._address, self._run = address, ""
        with self._kept():
            self._client = open_mlflow(address)

    def begin(self, name: str, digest: str, parameters: Mapping[str, object]) -> None:
        """Open the run. Raises RunError E505 where the server takes nothing."""
        with self._kept():
            if not self._find(digest):
                known = self._client.get_experiment_by_name(EXPERIMENT)
                place = files_of(self._address, "artifacts")
                experiment = known.experiment_id if known else self._client.create_experiment(EXPERIMENT, place)
                self._run = self._client.create_run(experiment, run_name=name, tags={"recipe_sha256": digest}).info.run_id
            for key, value in parameters.items():
                self._client.log_param(self._run, key, value)

    def left(self, digest: str) -> bool:
        """Take up the run that was left open. Raises RunError E505."""
        with self._kept():
            return self._find(digest)

    def _find(self, digest: str) -> bool:
        known = self._client.get_experiment_by_name(EXPERIMENT)
        if known is None:
            return False
        wanted = f"tags.recipe_sha256 = '{digest}' and attributes.status = 'RUNNING'"
        found = self._client.search_runs([known.experiment_id], wanted, max_results=1)
        self._run = found[0].info.run_id if found else ""
        return bool(found)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of an epoch. Raises RunError E505."""
        with self._kept():
            for key, value in values.items():
                self._client.log_metric(self._run, key, value, step=step)

    def end(self, folder: Path, tags: Mapping[str, str]) -> None:
        """Keep the folder, and close the run. Raises RunError E505."""
        with self._kept():
            for key, value in tags.items():
                self._client.set_tag(self._run, key, value)
            self._client.log_artifacts(self._run, str(folder))
            self._client.set_terminated(self._run)

    @contextmanager
    def _kept(self) -> Generator[None]:
        try:
            yield
        except EnvironmentFault:
            raise
        except Exception as fault:
            # MLflow, its store and its transport raise classes of their own.
            text = " ".join(str(fault).split())[:160]
            what = f"MLflow keeps nothing ({type(fault).__name__}: {text})"
            raise RunError(505, self._address, what, "Check --track") from fault


def open_mlflow(address: str) -> Any:
    """A client of MLflow at an address: of a server, or a store, whose file is made where there is none.

    Raises EnvironmentFault E404, and what MLflow raises.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow = need("mlflow", "loop", address)
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if address.startswith(SQLITE):
        _make_file(mlflow, Path(address.removeprefix(SQLITE)))
    return mlflow.MlflowClient(address)


def _make_file(mlflow: Any, file: Path) -> None:
    """Make a store's tables aside: MLflow makes them in many steps, and cannot go on with some of them."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    mlflow.MlflowClient(f"{SQLITE}{aside}").search_registered_models(max_results=1)
    os.replace(aside, file)


def files_of(address: str, folder: str) -> str | None:
    """Where files of a database go: a folder beside it. A server knows by itself."""
    return (Path(address.removeprefix(SQLITE)).resolve().parent / folder).as_uri() if address.startswith(SQLITE) else None


def make_tracker(address: str | None) -> Tracker:
    """The tracker of an address; None keeps nothing. Raises EnvironmentFault E404."""
    return NoTracker() if address is None else MlflowTracker(address)
