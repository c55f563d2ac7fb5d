"""`strop forward` from files: every event arrives, what is none goes to the dead letters, and bad sources are coded errors."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from benchmarks.forward import sources
from benchmarks.forward.run import forward
from benchmarks.telemetry.event import EventMaker
from tests.support.events import inference, origin
from toolchain.cli.main import main


def events(session: str, count: int) -> bytes:
    maker = EventMaker(origin(session=session))
    return b"".join(inference(maker).line for _ in range(count))


def ids(path: Path) -> list[str]:
    return [json.loads(line)["event"]["id"] for line in path.read_bytes().splitlines()]


def test_files_arrive_in_order_and_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_LINES", 7)
    (tmp_path / "b.jsonl").write_bytes(events("b", 20))
    (tmp_path / "a.jsonl").write_bytes(events("a", 9) + b"\n  \n" + events("c", 1)[:-1])
    document, fault = forward(str(tmp_path / "?.jsonl"), str(tmp_path / "out"), threading.Event())
    assert (document["read"], document["refused"], fault) == (30, 0, None)
    assert ids(tmp_path / "out") == [*(f"a-{n:x}" for n in range(9)), "c-0", *(f"b-{n:x}" for n in range(20))]


def test_what_is_no_event_is_kept_apart_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "MOST_BYTES", 4096)
    Path("in.jsonl").write_bytes(b"nonsense\n" + events("a", 2) + b'{"x":' * 3000 + b"\n\xff\xfe\n" + events("b", 2))
    assert main(["forward", "in.jsonl", "--telemetry", "out.jsonl", "--json"]) == 15
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["code"] == "E525" and "telemetry.dead.jsonl has them" in json.dumps(document)
    assert ids(Path("out.jsonl")) == ["a-0", "a-1", "b-0", "b-1"]
    dead = [json.loads(line) for line in Path("telemetry.dead.jsonl").read_text().splitlines()]
    # The long line comes in pieces of at most 4,096 B, as no memory is asked for what a stranger's line may be.
    assert len(dead) == 1 + 4 + 1 and all(each["reason"] for each in dead)


@pytest.mark.parametrize(
    ("source", "code"),
    [("nowhere.jsonl", "E205"), ("http://127.0.0.1:9200", "E901"), ("kafka://u:p@127.0.0.1/x", "E901"), ("ftp://x", "E901")],
)
def test_a_source_that_is_none_is_an_error(
    source: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["forward", source, "--telemetry", "out.jsonl", "--json"]) != 0
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
    assert main(["forward", source, "--telemetry", "out.jsonl", "--idle", "0", "--json"]) != 0
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "E901"
