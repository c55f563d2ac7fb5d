"""`strop bench --send`: the event holds what was printed, and faults of the sink are the command's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.benchmarks.test_event_check import SCHEMA
from tests.support.digits import CALIBRATION, MODEL
from toolchain.api import compile
from toolchain.cli.main import main

pytest.importorskip("unicorn", reason="unicorn counts instructions (pip install strop[mcu])")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "digits"
    compile(MODEL, "mps2_an386", path, calibrate=str(CALIBRATION))
    return path


def test_the_event_is_what_was_measured(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tmp_path / "t.jsonl"
    assert main(["bench", str(bundle), "--on", "unicorn", "--explain", "--send", str(told), "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    (event,) = [json.loads(line) for line in told.read_text().splitlines()]
    jsonschema.validate(event, SCHEMA)
    facts = event["strop"]["measurement"]
    for key in ("instructions", "cycles", "macs", "outputs_sha256", "runtime", "compiler", "ram", "flash"):
        assert facts[key] == printed[key], key
    assert sum(layer["instructions"] for layer in facts["layers"]) == pytest.approx(facts["instructions"], rel=0.05)
    assert (event["service"]["name"], event["strop"]["target"]) == (printed["name"], "mps2_an386")
    assert printed["sent"]["sent"] == 1


def test_a_service_that_is_not_there_is_a_coded_fault_and_the_event_waits(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("STROP_TELEMETRY_APM_CLOSE_S", "0.3")
    assert main(["bench", str(bundle), "--on", "unicorn", "--send", "apm://127.0.0.1:9", "--json"]) == 15
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert printed["error"]["code"] == "E521" and "1 events wait in" in printed["error"]["message"]
    assert printed["instructions"] > 0 and printed["sent"]["waiting"] == 1
