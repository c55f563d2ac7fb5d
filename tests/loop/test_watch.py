"""Drift over the lake: only the segment that changes is found, with the commit it began with; late and bad rows are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.telemetry.event import EventMaker, Inference, InputFigures, Origin
from toolchain.loop.lake import ingest
from toolchain.loop.settings import DriftPart, IngestPart
from toolchain.loop.store import Store
from toolchain.loop.watch import watch

pytest.importorskip("pyarrow")
SEGMENTS = {"d0": "hall", "d1": "yard"}


def told(folder: Path, turn: int, moved: float, *, version: str = "1" * 64) -> None:
    rng = np.random.default_rng(turn)
    lines = []
    for device, segment in SEGMENTS.items():
        maker = EventMaker(Origin("n", version, "t", "int8", "c", device, "a", "0", f"{device}-{turn}"))
        for _ in range(100):
            mean = 0.5 + rng.normal(0, 0.05) + (moved if segment == "yard" else 0)
            figures = InputFigures("x", mean - 0.5, mean + 0.5, mean, 0.1 + 0.01 * rng.uniform())
            lines.append(maker.inferences([Inference(1.0, (figures,), int(rng.integers(10)), rng.uniform(0.8, 1))]).line)
    (folder / f"{turn:04d}.jsonl").write_bytes(b"".join(lines))


def test_the_segment_that_changes_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path / "loop")
    (tmp_path / "events").mkdir()
    settings = DriftPart(reference=400, window=50, windows=2)
    for turn in range(1, 11):
        told(tmp_path / "events", turn, 0.1 if turn >= 9 else 0.0)
        ingest(tmp_path / "events", store, IngestPart())
        found = {one.segment: one for one in watch(store, SEGMENTS, ["1" * 12], settings)}
        assert not found["hall"].drifted
        assert found["yard"].drifted == (turn >= 9)
    assert found["yard"].since == 9
    assert found["yard"].alarms == (8, 9, 10, 11)
    assert all(one.inferences == 1000 for one in found.values())
    # Another model begins anew.
    assert all(one.inferences == 0 for one in watch(store, SEGMENTS, ["2" * 12], settings))
