"""Labels by people: samples that have none as tasks of Label Studio, and its answers back as labelled samples.

A file of samples without `y` waits for labels. A task names its sample as `FILE#ROW`; its choices are numbers of classes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet.files import write_whole
from toolchain.errors import DataError
from toolchain.ir.types import Array
from toolchain.loop.settings import LoopSettings

MAX_FILE_BYTES = 1 << 30
_KEY = "strop"


@dataclass(frozen=True, slots=True)
class Labelled:
    """What came back. labelled: samples with a class. open: tasks without an answer. contradicted: by people who disagree.

    known: samples that had a label already. file: the new samples, empty where there are none.
    """

    labelled: int
    open: int
    contradicted: int
    known: int
    file: str

    def as_json(self) -> dict[str, object]:
        """The figures as one object."""
        return {name: getattr(self, name) for name in self.__slots__}


def export_tasks(settings: LoopSettings, place: Path) -> int:
    """Write a task for every sample without a label; how many. Images of one or three channels are PNG in a data URL, others
    arrays. Raises DataError E203 where there are none, E205.
    """
    had = _had(settings.fleet.samples)
    tasks: list[dict[str, object]] = []
    for path in sorted(settings.fleet.samples.glob("*.npz")):
        stored = _stored(path)
        if "y" in stored:
            continue
        low, high = (float(end) for end in (stored["x"].min(), stored["x"].max())) if stored["x"].size else (0.0, 0.0)
        for row, sample in enumerate(stored["x"]):
            name = f"{path.name}#{row}"
            if name not in had:
                shown = _shown(sample, low, high)
                tasks.append({"data": {_KEY: name, "segment": str(stored["segment"][row]), **shown}})
    if not tasks:
        raise DataError(203, str(settings.fleet.samples), "no sample waits for a label", "Send .npz files without y")
    write_whole(place, json.dumps(tasks).encode())
    return len(tasks)


def import_answers(settings: LoopSettings, file: Path) -> Labelled:
    """Take Label Studio's JSON export into a new file of labelled samples. Raises DataError E201, E203, E205."""
    tasks, had = _tasks(file), _had(settings.fleet.samples)
    stored: dict[str, Mapping[str, Array]] = {}
    kept: dict[str, tuple[Array, int, str, str]] = {}
    counts = {"open": 0, "contradicted": 0, "known": 0}
    for number, task in enumerate(tasks):
        place = f"{file}: task {number}"
        name, row = _sample_of(task, place)
        answers = _answers(task, settings.validate.classes, place)
        full = f"{name}#{row}"
        if len(answers) != 1 or full in had or full in kept:
            counts["known" if answers and (full in had or full in kept) else "contradicted" if answers else "open"] += 1
            continue
        if name not in stored:
            stored[name] = _stored(settings.fleet.samples / name)
        own = stored[name]
        if row >= len(own["x"]):
            raise DataError(201, place, f"{name} has {len(own['x']):,} samples, not {row:,}", "Import the export of this loop")
        kept[full] = (own["x"][row], answers.pop(), str(own["segment"][row]), str(own["group"][row]))
    written = _write(settings.fleet.samples, kept) if kept else ""
    return Labelled(len(kept), counts["open"], counts["contradicted"], counts["known"], written)


def _tasks(file: Path) -> Sequence[Any]:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise DataError(205, str(file), f"it has more than {MAX_FILE_BYTES:,} B", "Export fewer tasks at a time")
        tasks = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as fault:
        raise DataError(205, str(file), f"it cannot be read: {fault!s:.100}", "Give Label Studio's export as JSON") from fault
    if not isinstance(tasks, list) or not tasks:
        raise DataError(203, str(file), "it holds no list of tasks", "Export as JSON, not as JSON-MIN or CSV")
    return tasks


def _sample_of(task: Any, place: str) -> tuple[str, int]:
    """File and row of the sample that a task is about; never outside of the folder of samples."""
    data: Any = task.get("data") if isinstance(task, dict) else None
    text = data.get(_KEY) if isinstance(data, dict) else None
    name, _, row = text.rpartition("#") if isinstance(text, str) else ("", "", "")
    if (
        not name.endswith(".npz")
        or Path(name).name != name
        or "\\" in name
        or not (row.isascii() and row.isdigit())
        or len(row) > 9
    ):
        raise DataError(201, place, f"its data name no sample: {text!r:.60}", f"Keep the field '{_KEY}' of exported tasks")
    return name, int(row)


def _answers(task: Any, classes: int, place: str) -> set[int]:
    """The classes that people chose, of answers that were not cancelled."""
    found: set[int] = set()
    given = task.get("annotations")
    if not isinstance(given, list):
        raise DataError(205, place, "it has no list of annotations", "Export as JSON, not as JSON-MIN or CSV")
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("result"), list):
            raise DataError(205, place, "an annotation has no list of results", "Export as JSON, not as JSON-MIN or CSV")
        if one.get("was_cancelled"):
            continue
        for result in one["result"]:
            value: Any = result.get("value") if isinstance(result, dict) else None
            choices: Any = value.get("choices") if isinstance(value, dict) else None
            if choices is None:
                continue
            text = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
            if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 and int(text) < classes):
                what = f"its choice {choices!r:.60} is no class of 0 to {classes - 1}"
                raise DataError(201, place, what, "Label with one choice each, whose values are numbers of classes")
            found.add(int(text))
    return found


def _had(samples: Path) -> set[str]:
    """Samples that were labelled in earlier imports."""
    return {str(name) for path in samples.glob("labels-*.npz") for name in _stored(path).get("task", np.empty(0, "U1"))}


def _stored(path: Path) -> Mapping[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zlib.error) as fault:
        raise DataError(205, str(path), f"it cannot be read: {fault!s:.100}", "Give .npz with x, segment and group") from fault
    sizes = {len(found[name]) for name in ("x", "segment", "group") if name in found and found[name].ndim}
    if not {"x", "segment", "group"} <= found.keys() or len(sizes) != 1:
        raise DataError(205, str(path), "it lacks x, segment or group, or they differ in rows", "Give as many of each")
    return found


def _write(samples: Path, kept: Mapping[str, tuple[Array, int, str, str]]) -> str:
    x, y, segment, group = zip(*kept.values(), strict=True)
    if len({each.shape for each in x}) != 1:
        raise DataError(201, str(samples), "labelled samples have several shapes", "Import samples of one shape")
    stream = io.BytesIO()
    arrays = {"x": np.stack(x), "y": np.array(y, np.int64), "segment": np.array(segment), "group": np.array(group)}
    np.savez_compressed(stream, allow_pickle=False, **arrays, task=np.array(list(kept)))
    # By what it holds: an import that was cut off and done again writes the same file.
    name = f"labels-{hashlib.sha256(json.dumps([*kept, *map(int, y)]).encode()).hexdigest()[:12]}.npz"
    write_whole(samples / name, stream.getvalue())
    return name


def _shown(sample: Array, low: float, high: float) -> dict[str, object]:
    """A sample as a person may look at it; low, high: extremes of its file."""
    if sample.ndim == 3 and sample.shape[-1] in (1, 3) and sample.size:
        scale = 255 / (high - low) if high > low else 0.0
        levels = np.clip(np.rint((np.nan_to_num(sample.astype(np.float64)) - low) * scale), 0, 255).astype(np.uint8)
        return {"image": "data:image/png;base64," + base64.b64encode(png(levels)).decode()}
    return {"array": np.nan_to_num(sample.astype(np.float64)).tolist()}


def png(image: Array) -> bytes:
    """(h, w, 1 or 3) uint8 as a PNG file."""
    height, width, channels = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * channels)], 1)
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    made = (struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)
