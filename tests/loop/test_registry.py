"""The registry in a real MLflow store: each candidate once whatever is killed, aliases that move, and bundles that are signed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolchain.api import compile
from toolchain.errors import RunError, UsageError, VerificationError
from toolchain.loop.gate import canonical
from toolchain.loop.registry import CANDIDATE, CHAMPION, Registry, address_of
from toolchain.loop.rollout import manifest_digests
from toolchain.loop.settings import load_loop
from toolchain.loop.signing import sign

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow comes with strop[loop]")
ROOT = Path(__file__).parents[2]
DIGITS, LOOP = ROOT / "examples" / "digits", ROOT / "examples" / "loop" / "loop.toml"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made") / "rp2040_pico"
    compile(DIGITS / "digits.onnx", "rp2040_pico", place, formats=("c",), calibrate=str(DIGITS / "calibration.npz"))
    return place


def candidate(folder: Path, number: int, bundle: Path) -> dict[str, Path]:
    """The files of a round's candidate, its record signed by the key in `keys`."""
    made = folder / f"{number}"
    made.mkdir()
    record = {"round": number, "accepted": True, "bundles": manifest_digests({"rp2040_pico": bundle})}
    document = {"record": record, "signature": sign(folder / "keys", canonical(record))}
    (made / "decision.json").write_text(json.dumps(document))
    (made / "card.md").write_text(f"# round {number}")
    return {"decision.json": made / "decision.json", "card.md": made / "card.md", "programs/rp2040_pico": bundle}


def test_candidates_aliases_and_signed_bundles(tmp_path: Path, bundle: Path) -> None:
    registry = Registry("digits", f"sqlite:///{tmp_path}/registry.db")
    first, second = (candidate(tmp_path, number, bundle) for number in (1, 2))
    assert registry.register(1, "accepted", first) == "1"
    assert registry.register(2, "refused", second) == "2"
    assert registry.register(1, "accepted", first) == "1", "once"
    assert registry.point(CHAMPION, 1) == "1" and registry.point(CANDIDATE, 2) == "2" and registry.point(CHAMPION, 9) is None
    assert [(one["round"], one["decision"], one["aliases"]) for one in registry.versions()] == [
        (1, "accepted", [CHAMPION]),
        (2, "refused", [CANDIDATE]),
    ]
    registry.point(CHAMPION, 2)
    registry.drop(CANDIDATE)
    registry.point(CHAMPION, 1)
    assert [one["aliases"] for one in registry.versions()] == [[CHAMPION], []]

    place = tmp_path / "fetched"
    assert registry.fetch(CHAMPION, "rp2040_pico", place, tmp_path / "keys") == "1"
    assert digests(place) == digests(bundle)
    with pytest.raises(UsageError, match="no version of 'digits' is the candidate"):
        registry.fetch(CANDIDATE, "rp2040_pico", place, tmp_path / "keys")
    with pytest.raises(UsageError, match="mps2_an386 is not among rp2040_pico"):
        registry.fetch(CHAMPION, "mps2_an386", place, tmp_path / "keys")
    sign(tmp_path / "others", b"")
    with pytest.raises(VerificationError, match="E603 decision"):
        registry.fetch(CHAMPION, "rp2040_pico", tmp_path / "none", tmp_path / "others")
    source = manifest_of(tmp_path, registry)
    source.write_text(source.read_text().replace('"target"', '"Target"', 1))
    with pytest.raises(VerificationError, match="E603"):
        registry.fetch(CHAMPION, "rp2040_pico", tmp_path / "none", tmp_path / "keys")
    assert not (tmp_path / "none").exists()


def manifest_of(folder: Path, registry: Registry) -> Path:
    """The manifest that the registry's files hold of the champion."""
    records = [
        path for path in (folder / "registry").rglob("decision.json") if json.loads(path.read_text())["record"]["round"] == 1
    ]
    assert len(records) == 1 and registry.versions()[0]["aliases"] == [CHAMPION]
    return records[0].parent / "programs" / "rp2040_pico" / "manifest.json"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_where_the_registry_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = load_loop(LOOP)
    assert address_of(settings) == f"sqlite:///{settings.folder}/registry.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert address_of(settings) == "http://127.0.0.1:5000"
    (tmp_path / "loop.toml").write_text(LOOP.read_text() + '\n[registry]\nuri = "none"\n')
    assert address_of(load_loop(tmp_path / "loop.toml")) is None


def test_a_server_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Path) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RunError, match=r"E505 http://127.0.0.1:9: the registry does not answer"):
        Registry("digits", "http://127.0.0.1:9").register(1, "accepted", candidate(tmp_path, 1, bundle))


KILLED = """
import sys
from pathlib import Path
from toolchain.loop.registry import CHAMPION, Registry
folder, bundle = Path(sys.argv[1]), Path(sys.argv[2])
files = {name: folder / "1" / name for name in ("decision.json", "card.md")} | {"programs/rp2040_pico": bundle}
registry = Registry("digits", f"sqlite:///{folder}/registry.db")
print("ready", flush=True)
registry.register(1, "accepted", files)
registry.point(CHAMPION, 1)
"""


@pytest.mark.long
def test_killed_again_and_again_there_is_one_whole_version(tmp_path: Path, bundle: Path) -> None:
    candidate(tmp_path, 1, bundle)
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(bundle)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill in range(8):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=tmp_path)
        assert process.stdout is not None
        # The first is killed while it makes the store, the others at moments of a registration that took a second.
        if kill:
            process.stdout.readline()
            time.sleep(0.15 * kill)
        else:
            time.sleep(6.0)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, check=True, cwd=tmp_path)
    registry = Registry("digits", f"sqlite:///{tmp_path}/registry.db")
    assert registry.versions() == [{"version": 1, "round": 1, "decision": "accepted", "aliases": [CHAMPION]}]
    registry.fetch(CHAMPION, "rp2040_pico", tmp_path / "fetched", tmp_path / "keys")
    assert digests(tmp_path / "fetched") == digests(bundle)
    assert len(list((tmp_path / "registry").rglob("decision.json"))) == 1
