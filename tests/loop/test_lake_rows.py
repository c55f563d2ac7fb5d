"""Lines to rows: the fast way and the careful one agree on every line, whatever stands beside it."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from benchmarks.telemetry.event import EventMaker, Failure, Inference
from tests.support.events import SKETCH, inference, origin
from toolchain.loop import rows
from toolchain.loop.rows import parse

pytest.importorskip("pyarrow")
NOW = 4e9
MISSING = object()


def plain() -> list[bytes]:
    maker = EventMaker(origin())
    batch = [Inference(1.0, (SKETCH, SKETCH), 3, 0.25), Inference(3.0, (SKETCH, SKETCH), 4, None)]
    return [
        inference(maker).line,
        maker.inferences(batch).line,
        maker.inferences([Inference(2.5, (SKETCH,))]).line,
        maker.failure(Failure("E201", "no")).line,
        maker.report("health", {"boots": 3}).line,
        EventMaker(origin(sha256="")).report("drift", {"score": 1}, ok=False).line,
    ]


def strange() -> list[bytes]:
    """Every key of an event gone or of another kind, and lines that are no event at all."""
    made: list[bytes] = []
    odd: tuple[Any, ...] = (
        MISSING,
        None,
        1,
        -1,
        1.5,
        1e400,
        True,
        "",
        "é\ud800",
        "x",
        [],
        [1],
        [None],
        {},
        {"mean": None},
        1 << 70,
    )
    for line in plain()[:4]:
        event = json.loads(line)
        for path in paths(event):
            for value in odd:
                changed = copy.deepcopy(event)
                place = changed
                for key in path[:-1]:
                    place = place[key]
                if value is MISSING:
                    del place[path[-1]]
                else:
                    place[path[-1]] = value
                made.append(json.dumps(changed).encode() + b"\n")
    whole = plain()[0].strip()
    for text in (
        "2026-02-30T00:00:00Z",
        "2026-01-01T00:00:00+02:00",
        "2026-01-01",
        "2026-01-01T24:00:00Z",
        "0001-01-01T00:00:00Z",
    ):
        made.append(json.dumps({**json.loads(whole), "@timestamp": text}).encode() + b"\n")
    broken = (b"", b"{", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 5000, whole + whole, b" " + whole + b" ", whole[:-2])
    more = (whole.replace(b"board", b"b\xff"), whole.replace(b"0.5", b"NaN"), whole.replace(b'"top":[3]', b'"top":[3],"top":[4]'))
    return [*made, *(line + b"\n" for line in (*broken, *more))]


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    found = [(*before, key) for key in keys if key not in ("counts", "ecs")]
    return [*found, *(deeper for path in found for deeper in paths(value[path[-1]], path))]


def fates(lines: list[bytes], late_s: float = 1e12) -> list[Any]:
    """Of each line, its row or the reason against it."""
    parsed = parse(lines, np.full(len(lines), NOW), late_s)
    found: list[Any] = [None] * len(lines)
    for place, row in zip(parsed.places, parsed.rows.to_pylist(), strict=True):
        found[place] = row
    for place, reason in parsed.refused:
        assert found[place] is None and reason
        found[place] = reason
    assert None not in found
    return found


def test_both_ways_agree_on_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    good, odd = plain(), strange()
    odd = odd[::3]
    # Alone among good lines, so that Arrow reads what it can.
    quick = [fates([*good, line])[-1] for line in odd]
    together = fates(odd)
    monkeypatch.setattr(rows, "_together", lambda *_: None)
    slow = fates(odd)
    assert {isinstance(one, str) for one in slow} == {True, False}
    for line, one, two, three in zip(odd, quick, together, slow, strict=True):
        assert one == two == three, line


def test_plain_events_go_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_row", None)
    found = fates(plain() * 50)
    assert [row["kind"] for row in found[:6]] == ["inference", "inference", "inference", "error", "health", "drift"]
    assert [row["top"] for row in found[:3]] == [3, 3, None]
    assert found[3]["code"] == "E201" and found[0]["latency_us"] == 123.4 and found[1]["latency_us"] == 2.0


def test_a_bad_line_costs_its_neighbours_nothing() -> None:
    lines = plain() * 400
    bad = {7: b"{]}\n", 900: b"\n", 901: b"{}{}\n", 2000: b'{"strop":{"schema":3}}\n'}
    for place, line in bad.items():
        lines[place] = line
    found = fates(lines)
    assert {place for place, fate in enumerate(found) if isinstance(fate, str)} == set(bad)


def test_late_is_measured_to_the_arrival() -> None:
    line = json.dumps({**json.loads(plain()[0]), "@timestamp": "2026-01-01T00:00:00Z"}).encode() + b"\n"
    moment = 1767225600.0
    for arrived, late in ((moment + 99, False), (moment + 101, True)):
        assert parse([line], np.array([arrived]), 100.0).rows["late"].to_pylist() == [late]
