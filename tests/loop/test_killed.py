"""A loop whose process is killed again and again comes to the decision of one that is left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.services.test_lake_services import JARS, needs_spark
from tests.support.services import kafka, needs_kafka
from toolchain.bundle.read import read_bundle
from toolchain.loop.fleet import version_of
from toolchain.loop.lake import read_events
from toolchain.loop.registry import open_registry
from toolchain.loop.rollout import check_record, read_record
from toolchain.loop.run import STEPS
from toolchain.loop.settings import RegistryPart, load_loop
from toolchain.loop.store import Store

pytestmark = pytest.mark.long
pytest.importorskip("tensorflow")
pytest.importorskip("pyarrow")
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "loop"
SERVED = """
[ingest]
engine = "spark"
send = ["kafka://{server}/{topic}"]

[kafka]
servers = "{server}"
topic = "{topic}"

[spark]
master = "local[2]"
jars = ["{jars}"]
"""
TIMES = int(os.environ.get("STROP_KILLS_A_STEP", "3"))
EARLY, LATE = ("observe", "ingest", "validate", "drift"), ("train", "explain", "compile", "gate", "rollout")
LONGEST_S = {"start": 20.0, "train": 6.0, "explain": 6.0, "compile": 4.0, "gate": 0.8, "rollout": 1.5}
ROUNDS, LIMIT_S = "9", 1800
ORDER, TRAINED = tuple(STEPS), 6
"""The steps of a round, and the round that has drifted and has enough labelled samples."""


def made(folder: Path, more: str = "") -> Path:
    """The example's loop, with its folders in this one, a short training and one target. more: tables of its file."""
    folder.mkdir(parents=True)
    text = (EXAMPLE / "loop.toml").read_text().replace("../../build/loop", str(folder / "loop"))
    text = text.replace('["rp2040_pico", "mps2_an386"]', '["rp2040_pico"]').replace(
        "../digits", str(ROOT / "examples" / "digits")
    )
    # A short training is not to be refused, so that the rollout is killed, too.
    for limit in ("max_loss = 0.01", "min_gain = 0.1", "max_slice_loss = 0.1"):
        name = limit.partition(" = ")[0]
        text = text.replace(limit, f"{name} = {0 if name == 'min_gain' else 1}")
    (folder / "loop.toml").write_text(f"{text}\n{more}")
    recipe = (EXAMPLE / "recipe.toml").read_text().replace("../digits", str(ROOT / "examples" / "digits"))
    (folder / "recipe.toml").write_text(recipe.replace("epochs = 25", "epochs = 4"))
    return folder / "loop.toml"


def track(loop: Path) -> tuple[str, str]:
    """The options that keep trainings in an MLflow of this loop's own."""
    return "--track", f"sqlite:///{loop.parent / 'mlflow.db'}"


def started(action: str, loop: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "toolchain.cli", "loop", action, str(loop), *more]
    log = (loop.parent / "log").open("ab")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment, start_new_session=True)


def decided(loop: Path) -> tuple[list[Any], dict[str, Any], dict[str, bytes]]:
    """Decisions of all rounds, the record of the last one, and the program it was about."""
    store = Store(loop.parent / "loop")
    rounds = store.rows("SELECT number, decision, reason FROM rounds ORDER BY number")
    last = loop.parent / "loop" / "rounds" / f"{rounds[-1][0]:04d}"
    record = read_record(last / "decision.json")[0]
    # Keras writes the time into its files, the card tells times, and the digest of the loop's file knows its folder.
    record = {key: value for key, value in record.items() if key not in ("policy", "bundles", "card")}
    sources = last / "programs" / "rp2040_pico" / "c"
    return rounds, record, {path.name: path.read_bytes() for path in sorted(sources.rglob("*.[ch]"))}


def test_killed_at_random_it_comes_to_the_same(tmp_path: Path) -> None:
    compare(made(tmp_path / "calm"), made(tmp_path / "shaken"), TIMES)
    shutil.rmtree(tmp_path)


@pytest.mark.services
@needs_kafka
@needs_spark
def test_with_services_it_comes_to_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    pytest.importorskip("mlflow")
    with kafka() as server:
        calm, shaken = (
            made(tmp_path / name, SERVED.format(server=f"127.0.0.1:{server.port}", topic=name, jars=JARS))
            for name in ("calm", "shaken")
        )
        compare(calm, shaken, max(1, TIMES // 3))
    shutil.rmtree(tmp_path)


def compare(calm: Path, shaken: Path, times: int) -> None:
    """Run one loop and kill another; they come to the same, and nothing of theirs is half."""
    with ThreadPoolExecutor(1) as beside:
        left_alone = beside.submit(alone, calm)
        shake(shaken, times)
        left_alone.result()
    for one, other in zip(decided(shaken), decided(calm), strict=True):
        assert one == other
    whole(shaken)


def alone(loop: Path) -> None:
    assert started("start", loop, *track(loop)).wait(LIMIT_S) == 0
    assert started("run", loop, "--rounds", ROUNDS, *track(loop)).wait(LIMIT_S) == 0


def shake(shaken: Path, times: int) -> None:
    """Begin and run a loop; its process is killed in every step, so many times, and still more often before its first model."""
    rng, places = np.random.default_rng(5), list[tuple[str, int, str]]()
    early = [str(each) for each in rng.permutation(np.repeat(EARLY, times))]
    actions: list[tuple[str, tuple[str, ...], list[str]]] = [
        ("start", (), ["start"] * 2 * times),
        ("run", ("--rounds", ROUNDS), early + [step for step in LATE for _ in range(times)]),
    ]
    for action, more, steps in actions:
        while True:
            process = started(action, shaken, *more, *track(shaken))
            at = killed_in(process, shaken, steps[0], rng) if steps else None
            if at is None:
                assert process.wait(LIMIT_S) == 0
                break
            places.append((steps[0], *at))
            steps = steps[1:]
        assert not steps, f"it ended before it was killed in {steps}"
    told = " ".join(f"{wanted}>{number}:{step}" for wanted, number, step in places)
    print(f"\n{len(places)} kills, by the step that was waited for, and round and step where it went on: {told}")


def killed_in(process: subprocess.Popen[bytes], loop: Path, step: str, rng: np.random.Generator) -> tuple[int, str] | None:
    """Wait until the process is in a step, and kill it at a moment of that, or at its end; round and step where it was.

    A step that comes once and is over stands for any later moment. None when the process ended before.
    """
    while process.poll() is None:
        if at_work(process, loop) and (step == "start" or due(step, where(loop))):
            begun, end = where(loop), time.monotonic() + float(rng.uniform(0, LONGEST_S.get(step, 0.3)))
            while time.monotonic() < end and where(loop) == begun and process.poll() is None:
                time.sleep(0.005)
            break
        time.sleep(0.005)
    if process.poll() is not None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return where(loop)


def due(step: str, now: tuple[int, str]) -> bool:
    """Whether a loop is in a step, or past one that comes once."""
    number, at = now
    if step not in LATE:
        return at == step
    return number > TRAINED or (number == TRAINED and at in ORDER and ORDER.index(at) >= ORDER.index(step))


def at_work(process: subprocess.Popen[bytes], loop: Path) -> bool:
    """Whether the process has opened the loop's state."""
    state = str(loop.parent / "loop" / "state.db")
    try:
        return any(os.path.realpath(link) == state for link in Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:
        return False


def where(loop: Path) -> tuple[int, str]:
    """The open round and the first step of it that is not done, `end` where there will be none."""
    try:
        base = sqlite3.connect(f"file:{loop.parent / 'loop' / 'state.db'}?mode=ro", uri=True, timeout=10)
        (opened,) = base.execute("SELECT max(number) FROM rounds WHERE decision IS NULL").fetchone()
        done = {row[0]: json.loads(row[1]) for row in base.execute("SELECT step, result FROM steps WHERE round = ?", (opened,))}
        base.close()
    except sqlite3.OperationalError:
        return 0, "start"
    if opened is None:
        return 0, "start"
    if not done.get("drift", {}).get("drifted", True) or not done.get("train", {}).get("enough", True):
        return int(opened), "end"
    return int(opened), next((step for step in STEPS if step not in done), "end")


def whole(loop: Path) -> None:
    """No event is lost or doubled; devices run whole bundles, of the signed decision."""
    folder = loop.parent / "loop"
    store = Store(folder)
    sent = [json.loads(line)["event"]["id"] for path in (folder / "fleet" / "events").glob("*.jsonl") for line in path.open()]
    ids = read_events(store)["id"].to_pylist()
    assert len(set(sent)) == len(sent)
    assert sorted(ids) == sorted(sent)
    print(f"{len(ids):,} events, each once")
    devices = json.loads((folder / "fleet" / "devices.json").read_text())["devices"]
    assert len(devices) == 200
    bundles = {device["target"]: Path(device["bundle"]) for device in devices}
    for device in devices:
        assert device["version"] == version_of(Path(device["bundle"]))
    for bundle in bundles.values():
        opened = read_bundle(bundle)
        opened.graph()
    deployed = store.fact("deployed")
    registry = open_registry(replace(load_loop(loop), registry=RegistryPart(track(loop)[1])))
    assert registry is not None
    versions = registry.versions()
    assert len({one["round"] for one in versions}) == len(versions) >= 2, "each candidate once"
    assert [one["round"] for one in versions if "champion" in one["aliases"]] == [deployed["round"]]
    if deployed["round"]:
        record = read_record(folder / "rounds" / f"{deployed['round']:04d}" / "decision.json")
        check_record(*record, folder / "keys", bundles)
    registered(track(loop)[1], loop.parent / "downloaded")


def registered(store: str, place: Path) -> None:
    """Every model that MLflow has as registered can be had, whole."""
    mlflow = pytest.importorskip("mlflow")
    for version in mlflow.MlflowClient(store, store).search_model_versions():
        assert version.status == "READY", version
        got = mlflow.artifacts.download_artifacts(version.source, dst_path=str(place / str(version.version)), tracking_uri=store)
        assert any(path.stat().st_size for path in Path(got).rglob("*") if path.is_file())
