"""A loop whose process is killed again and again comes to the decision of one that is left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.bundle.read import read_bundle
from toolchain.loop.fleet import version_of
from toolchain.loop.lake import read_events
from toolchain.loop.registry import open_registry
from toolchain.loop.rollout import check_record, read_record
from toolchain.loop.settings import load_loop
from toolchain.loop.store import Store

pytestmark = pytest.mark.long
pytest.importorskip("tensorflow")
pytest.importorskip("pyarrow")
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "loop"
KILLS = int(os.environ.get("STROP_KILLS", "30"))
ROUNDS, LIMIT_S = "9", 1800


def made(folder: Path) -> Path:
    """The example's loop, with its folders in this one, a short training and one target."""
    folder.mkdir()
    text = (EXAMPLE / "loop.toml").read_text().replace("../../build/loop", str(folder / "loop"))
    text = text.replace('["rp2040_pico", "mps2_an386"]', '["rp2040_pico"]').replace(
        "../digits", str(ROOT / "examples" / "digits")
    )
    # A short training is not to be refused, so that the rollout is killed, too.
    for limit in ("max_loss = 0.01", "min_gain = 0.1", "max_slice_loss = 0.1"):
        name = limit.partition(" = ")[0]
        text = text.replace(limit, f"{name} = {0 if name == 'min_gain' else 1}")
    (folder / "loop.toml").write_text(text)
    recipe = (EXAMPLE / "recipe.toml").read_text().replace("../digits", str(ROOT / "examples" / "digits"))
    (folder / "recipe.toml").write_text(recipe.replace("epochs = 25", "epochs = 4"))
    return folder / "loop.toml"


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
    calm, shaken = made(tmp_path / "calm"), made(tmp_path / "shaken")
    with ThreadPoolExecutor(1) as beside:
        left_alone = beside.submit(alone, calm)
        shake(shaken)
        left_alone.result()
    for one, other in zip(decided(shaken), decided(calm), strict=True):
        assert one == other
    whole(shaken)
    shutil.rmtree(tmp_path)


def alone(loop: Path) -> None:
    assert started("start", loop).wait(LIMIT_S) == 0
    assert started("run", loop, "--rounds", ROUNDS).wait(LIMIT_S) == 0


def shake(shaken: Path) -> None:
    """Begin and run a loop, and kill it again and again."""
    rng, kills, places = np.random.default_rng(5), 0, []
    for action, more in (("start", ()), ("run", ("--rounds", ROUNDS))):
        while True:
            process = started(action, shaken, *more)
            try:
                assert process.wait(float(rng.uniform(0.5, 20)) if kills < KILLS else LIMIT_S) == 0
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                places.append(f"{action} {where(shaken)}")
                time.sleep(0.1)
    print(f"\n{kills} kills; round and number of steps done then: {places}")
    assert kills >= min(KILLS, 20)


def where(loop: Path) -> str:
    if not (loop.parent / "loop" / "state.db").exists():
        return "nothing"
    return "{}:{}".format(*Store(loop.parent / "loop").rows("SELECT coalesce(max(round), 0), count(*) FROM steps")[0])


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
    registry = open_registry(load_loop(loop))
    if registry is not None:
        versions = registry.versions()
        assert len({one["round"] for one in versions}) == len(versions), "each candidate once"
        assert [one["round"] for one in versions if "champion" in one["aliases"]] == [deployed["round"]]
    if deployed["round"]:
        record = read_record(folder / "rounds" / f"{deployed['round']:04d}" / "decision.json")
        check_record(*record, folder / "keys", bundles)
