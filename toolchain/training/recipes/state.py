"""Where a training stands, kept on disk so that one that was cut off goes on where it was."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from toolchain.errors import DataError, RunError
from toolchain.ir.types import Array

FOLDER = "checkpoint"
FACTS, WEIGHTS, BEST, MASKS = "state.json", "weights.bin", "best.bin", "masks.npz"


@dataclass(slots=True)
class State:
    """How far a training is. epoch: finished ones of all phases together. phase: fit, prune:N, fine_tune.

    done: finished epochs of the phase. best: the least validation loss of the phase, at epoch `best_epoch` of it.
    """

    digest: str
    phase: str = "fit"
    epoch: int = 0
    done: int = 0
    best: float = float("inf")
    best_epoch: int = 0
    history: list[dict[str, float | str]] = field(default_factory=list)


def write_json(path: Path, document: object) -> None:
    """Write a file that is whole or absent. Raises OSError."""
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(json.dumps(document, indent=2))
    os.replace(aside, path)


class Checkpoint:
    """The folder that holds a state. Files are complete or absent: the state names the ones that belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def read(self, digest: str) -> State | None:
        """The state of a recipe, None where there is none. Raises DataError E205 when it is damaged or another recipe's."""
        try:
            text = (self.folder / FACTS).read_text()
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise self._unreadable(str(fault)) from fault
        try:
            state = State(**json.loads(text))
        except (ValueError, TypeError) as fault:
            raise self._unreadable(f"{fault!s:.100}") from fault
        if state.digest != digest:
            raise DataError(205, str(self.folder), "it belongs to another recipe", "Name another folder with -o")
        return state

    def file(self, name: str, state: State) -> Path:
        """The file of this kind that belongs to a state."""
        number = state.best_epoch if name == BEST else state.done
        return self.folder / f"{state.phase.replace(':', '-')}-{number}-{name}"

    def write(self, state: State) -> None:
        """Make a state the current one; its files must be there. Older files go. Raises RunError E505."""
        path = self.folder / FACTS
        try:
            write_json(path, asdict(state))
            keep = {self.file(name, state).name for name in (WEIGHTS, BEST)} | {FACTS, MASKS}
            for other in self.folder.iterdir():
                if other.name not in keep:
                    other.unlink()
        except OSError as fault:
            raise RunError(505, str(path), f"it cannot be written: {fault.strerror}", "Choose another folder with -o") from fault

    def clear(self) -> None:
        """Take the files away, and leave the folder."""
        for path in self.folder.iterdir():
            path.unlink()

    def write_masks(self, masks: dict[str, Array]) -> None:
        """Keep which channels stay."""
        aside = self.folder / f"{MASKS}.new"
        with aside.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **masks)
        os.replace(aside, self.folder / MASKS)

    def read_masks(self) -> dict[str, Array]:
        """Which channels stay; empty where all do."""
        path = self.folder / MASKS
        if not path.exists():
            return {}
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError) as fault:
            raise self._unreadable(f"{fault!s:.100}") from fault

    def _unreadable(self, why: str) -> DataError:
        return DataError(205, str(self.folder), f"the checkpoint cannot be read: {why}", "Remove the folder to begin anew")
