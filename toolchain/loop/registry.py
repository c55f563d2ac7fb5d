"""The registry of models in MLflow: every candidate once, with its bundles, card, explanations and signed decision.

A version is made when all its files are there, in one transaction, and is known by the digest of its decision's record; a process
that was killed finds what it had begun and goes on. Aliases say which version is the `candidate` and which the `champion`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain.bundle.read import read_bundle
from toolchain.errors import EnvironmentFault, RunError, UsageError
from toolchain.loop.rollout import check_record, read_record
from toolchain.loop.settings import LoopSettings
from toolchain.loop.store import whole_folder
from toolchain.training.recipes.tracking import SQLITE, files_of, open_mlflow

CANDIDATE, CHAMPION = "candidate", "champion"
ALIASES = (CANDIDATE, CHAMPION)
FILE, FILES, NOTHING = "registry.db", "registry", "none"
RECORD, PROGRAMS = "decision.json", "programs"
_DIGEST, _ROUND, _DECISION = "strop.record_sha256", "strop.round", "strop.decision"


class Registry:
    """One loop's model in an MLflow registry."""

    def __init__(self, name: str, address: str) -> None:
        """address: a tracking server or a store. Raises EnvironmentFault E404, RunError E505."""
        self.name, self.address = name, address
        with self._kept():
            self._client = open_mlflow(address)

    def register(self, number: int, decision: str, files: Mapping[str, Path]) -> str:
        """Keep a candidate once; its version. files: files and folders by their path in the version, RECORD is one of them."""
        digest = hashlib.sha256(files[RECORD].read_bytes()).hexdigest()
        with self._kept():
            known = self._find(_DIGEST, digest)
            if known:
                return str(known[0].version)
            if not self._client.search_registered_models(f"name = '{self.name}'"):
                self._client.create_registered_model(self.name)
            run = self._run(digest, number)
            for path, place in files.items():
                self._put(run, path, place)
            self._client.set_terminated(run)
            source = f"{self._client.get_run(run).info.artifact_uri}"
            tags = {_DIGEST: digest, _ROUND: str(number), _DECISION: decision}
            return str(self._client.create_model_version(self.name, source, run, tags=tags).version)

    def point(self, alias: str, number: int) -> str | None:
        """Let an alias say the last version of a round; that version, None where the round has none."""
        with self._kept():
            found = self._find(_ROUND, str(number))
            if not found:
                return None
            version = str(max(int(each.version) for each in found))
            self._client.set_registered_model_alias(self.name, alias, version)
            return version

    def drop(self, alias: str) -> None:
        """Let an alias say nothing."""
        with self._kept():
            if self._client.search_registered_models(f"name = '{self.name}'"):
                self._client.delete_registered_model_alias(self.name, alias)

    def versions(self) -> list[dict[str, Any]]:
        """`version`, `round`, `decision` and `aliases` of all, the oldest first."""
        with self._kept():
            found = [self._client.get_model_version(self.name, each.version) for each in self._search(f"name = '{self.name}'")]
        rows = [
            {
                "version": int(each.version),
                "round": int(each.tags.get(_ROUND, -1)),
                "decision": each.tags.get(_DECISION, ""),
                "aliases": sorted(each.aliases),
            }
            for each in found
        ]
        return sorted(rows, key=lambda row: int(str(row["version"])))

    def fetch(self, alias: str, target: str, place: Path, keys: Path) -> str:
        """Bring the bundle of a target into a new folder, when the loop's key signed the decision on it; its version.

        keys: folder with the public key. Raises UsageError E901 where an alias or target is unknown, VerificationError E603.
        """
        with tempfile.TemporaryDirectory() as aside:
            with self._kept():
                try:
                    found = self._client.get_model_version_by_alias(self.name, alias)
                except Exception as fault:
                    if not _missing(fault):
                        raise
                    hint = "Run the loop's gate or rollout first"
                    raise UsageError(901, alias, f"no version of '{self.name}' is the {alias}", hint) from fault
                listed = {Path(each.path).name for each in self._client.list_artifacts(found.run_id, PROGRAMS)}
                if target not in listed:
                    raise UsageError(901, "--target", f"{target} is not among {', '.join(sorted(listed))}", "Name one of these")
                wanted = (RECORD, f"{PROGRAMS}/{target}")
                record, bundle = (Path(self._client.download_artifacts(found.run_id, path, aside)) for path in wanted)
            check_record(*read_record(record), keys, {target: bundle})
            read_bundle(bundle)
            with whole_folder(place) as folder:
                shutil.copytree(bundle, folder, dirs_exist_ok=True)
            return str(found.version)

    def _find(self, tag: str, value: str) -> list[Any]:
        return [each for each in self._search(f"name = '{self.name}'") if each.tags.get(tag) == value]

    def _search(self, wanted: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while token != "":
            page = self._client.search_model_versions(wanted, page_token=token)
            found, token = found + list(page), page.token or ""
        return found

    def _run(self, digest: str, number: int) -> str:
        """The run that holds a candidate's files: the one that was begun, or a new one."""
        known = self._client.get_experiment_by_name(self.name)
        made = known.experiment_id if known else self._client.create_experiment(self.name, files_of(self.address, FILES))
        begun = self._client.search_runs([made], f"tags.`{_DIGEST}` = '{digest}'", max_results=1)
        if begun:
            return str(begun[0].info.run_id)
        tags = {_DIGEST: digest, _ROUND: str(number)}
        return str(self._client.create_run(made, run_name=f"{self.name} {number}", tags=tags).info.run_id)

    def _put(self, run: str, path: str, place: Path) -> None:
        if place.is_dir():
            self._client.log_artifacts(run, str(place), path)
        elif place.exists():
            self._client.log_artifact(run, str(place), str(Path(path).parent) if "/" in path else None)

    @contextmanager
    def _kept(self) -> Generator[None]:
        try:
            yield
        except (UsageError, RunError, EnvironmentFault):
            raise
        except Exception as fault:
            # MLflow, its store and its transport raise classes of their own.
            text = " ".join(str(fault).split())[:160]
            what = f"the registry does not answer ({type(fault).__name__}: {text})"
            raise RunError(505, self.address, what, "Check uri in [registry], or --track") from fault


def _missing(fault: Exception) -> bool:
    return getattr(fault, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def address_of(settings: LoopSettings) -> str | None:
    """Of the registry: the loop's file says it, else the environment, else it is a file in the loop's folder; None for none.

    Without MLflow that file is none.
    """
    said = settings.registry.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if said == NOTHING:
        return None
    if said or importlib.util.find_spec("mlflow") is not None:
        return said or f"{SQLITE}{settings.folder / FILE}"
    return None


def open_registry(settings: LoopSettings) -> Registry | None:
    """The loop's registry, None where there is none."""
    address = address_of(settings)
    return None if address is None else Registry(settings.name, address)
