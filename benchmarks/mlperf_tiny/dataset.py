"""The benchmark's data on disk: `<folder>/<model>/y_labels.csv` and the binary files that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import DataError

LABELS = "y_labels.csv"
MAX_LABELS_BYTES, MAX_FILE_BYTES = 1 << 24, 1 << 26
HINT = "Give the folder that holds kws01, ic01, vww01 or ad01, as the public runner's --dataset_path"


@dataclass(frozen=True, slots=True)
class Sample:
    """One file. window, stride: bytes of each part that is sent, and from one to the next; None where the file is sent whole."""

    path: Path
    classes: int
    label: int
    window: int | None = None
    stride: int | None = None

    def parts(self) -> list[bytes]:
        """What is sent, one inference each. Raises DataError(205)."""
        try:
            if self.path.stat().st_size > MAX_FILE_BYTES:
                raise ValueError(f"more than {MAX_FILE_BYTES:,} B")
            data = self.path.read_bytes()
        except (OSError, ValueError) as fault:
            raise DataError(205, str(self.path), f"it cannot be read: {fault!s:.100}", HINT) from fault
        if self.window is None or self.stride is None:
            return [data]
        return [data[start : start + self.window] for start in range(0, len(data) - self.window + 1, self.stride)]


def read_dataset(folder: Path, model: str) -> list[Sample]:
    """The samples of a model, in the order of its list. Raises DataError(203, 205)."""
    path = folder / model / LABELS
    try:
        if path.stat().st_size > MAX_LABELS_BYTES:
            raise ValueError(f"more than {MAX_LABELS_BYTES:,} B")
        lines = path.read_text(encoding="utf-8").splitlines()
        samples = [_sample(path.parent, line) for line in lines if line.strip()]
    except (OSError, ValueError) as fault:
        raise DataError(205, str(path), f"it is no list of samples: {fault!s:.100}", HINT) from fault
    if not samples:
        raise DataError(203, str(path), "it lists no samples", HINT)
    return samples


def _sample(folder: Path, line: str) -> Sample:
    """`file.bin,12,label`, and for anomaly detection `,window,stride` behind that."""
    name, *numbers = [part.strip() for part in line.split(",")]
    if len(numbers) not in (2, 4) or not name or Path(name).name != name:
        raise ValueError(f"{line[:60]!r}")
    classes, label, *cut = (int(number) for number in numbers)
    if label < 0 or (cut and min(cut) < 1):
        raise ValueError(f"{line[:60]!r}")
    return Sample(folder / name, classes, label, *cut)
