"""A Linux board that follows an inventory: signed bundles are tested, tried and kept, or the one before is back."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet.inventory import Actual, Delivery, Device, read_actual, statement, write_inventory
from benchmarks.telemetry.sinks import open_sink
from firmware.update.keys import SigningKey, load_public, new_keys
from runtimes.onboard.network import LibraryError
from runtimes.onboard.samples import Sample
from tests.support.digits import CALIBRATION, HERE, MODEL, images, runs_libraries
from toolchain.agent.follow import CURRENT, STARTS, Bounds, Follower
from toolchain.agent.loop import Agent
from toolchain.api import compile
from toolchain.api.updating import known_answer
from toolchain.bundle.read import read_bundle
from toolchain.cli.main import main
from toolchain.errors import RunError

pytestmark = [runs_libraries]
NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network in bundles that differ by who is said to have made them."""
    folder = tmp_path_factory.mktemp("bundles")
    compile(MODEL, HERE, folder / "one", formats=("library",), calibrate=str(CALIBRATION), precision="int8")
    text = (folder / "one" / "manifest.json").read_text()
    for name in NAMES[1:]:
        shutil.copytree(folder / "one", folder / name)
        manifest = json.loads(text)
        manifest["versions"]["strop"] = name
        (folder / name / "manifest.json").write_text(json.dumps(manifest))
    return {name: folder / name for name in NAMES}


class Lab:
    """One device, its inventory and the key that signs for it."""

    def __init__(self, folder: Path, bundles: dict[str, Path]) -> None:
        self.folder, self.bundles, self.inventory = folder, bundles, folder / "devices.json"
        self.key: SigningKey = new_keys(folder / "keys")
        self.wished: Delivery | None = None
        answer = known_answer(read_bundle(bundles["one"]))
        assert answer is not None
        self.answer = answer.check
        write_inventory(self.inventory, [Device("pi", "lab", HERE)])
        self.agent, self.follower = self.started(bundles["one"])

    def started(self, given: Path | None) -> tuple[Agent, Follower]:
        """A new process of the agent."""
        follower = Follower(
            self.inventory,
            "pi",
            load_public(self.folder / "keys" / "strop.pub"),
            self.folder / "kept",
            "auto",
            Bounds(samples=20),
        )
        opened = follower.first(given)
        follower.begin_with(opened.bundle)
        return Agent(opened, open_sink(str(self.folder / "t.jsonl")), 1, "1.0", follower=follower), follower

    def wish(self, bundle: str, number: int, **changed: Any) -> None:
        """Write a delivery into the inventory."""
        digest = sha256((self.bundles[bundle] / "manifest.json").read_bytes()).hexdigest()
        said = statement(HERE, number, digest)
        made = Delivery(sha256(said).hexdigest(), "", number, "", digest, self.key.sign(said).hex(), self.answer)
        self.wished = replace(made, **changed)
        write_inventory(self.inventory, [Device("pi", "lab", HERE, digest[:12], str(self.bundles[bundle]), delivery=self.wished)])

    def work(self, count: int) -> list[dict[str, Any]]:
        """Run samples; what was answered. Every look at the inventory is due."""
        out = io.StringIO()

        def samples() -> Iterator[Sample]:
            for number, image in enumerate(images(count)):
                self.follower._looked = 0.0
                yield Sample(number, "test", [image])

        self.agent.run(samples(), out)
        return [json.loads(line) for line in out.getvalue().splitlines()]

    @property
    def runs(self) -> str:
        """Which bundle runs."""
        return self.named(self.agent.opened.bundle.sha256)

    def named(self, digest: str) -> str:
        """A bundle by the begin of its digest."""
        digests = {name: sha256((self.bundles[name] / "manifest.json").read_bytes()).hexdigest() for name in NAMES}
        return next(name for name, whole in digests.items() if whole.startswith(digest[:12]))

    @property
    def actual(self) -> Actual:
        return read_actual(self.inventory, "pi")

    def told(self) -> list[tuple[str, str]]:
        """Phases of deployments, and which bundle spoke."""
        events = [json.loads(line) for line in (self.folder / "t.jsonl").read_text().splitlines()]
        own = [event for event in events if event["event"]["action"] == "deployment"]
        assert {event["host"]["hostname"] for event in own} <= {"pi"}
        return [(event["strop"]["deployment"]["phase"], self.named(event["service"]["version"])) for event in own]


@pytest.fixture
def lab(bundles: dict[str, Path], tmp_path: Path) -> Lab:
    return Lab(tmp_path, bundles)


def test_a_signed_bundle_is_tested_tried_and_kept(lab: Lab) -> None:
    first = lab.work(5)
    lab.wish("two", 1)
    then = lab.work(10)
    assert lab.runs == "two" and lab.actual.phase == "started"
    assert [each["top"] for each in first] == [each["top"] for each in then[:5]]
    lab.work(30)
    assert (lab.actual.phase, lab.actual.number, lab.actual.sha256) == ("confirmed", 1, lab.wished.bundle)  # type: ignore[union-attr]
    assert lab.told() == [("started", "one"), ("verified", "one"), ("confirmed", "two")]
    lab.agent, lab.follower = lab.started(lab.bundles["one"])
    assert lab.runs == "two"


@pytest.mark.parametrize(
    ("changed", "code", "why"),
    [
        ({"signature": "00" * 64}, "E511", "not signed by the key"),
        ({"name": "00" * 32}, "E511", "not signed by the key"),
        ({"answer": 1}, "E512", "self-test: its outputs have the CRC-32"),
    ],
)
def test_what_is_not_right_is_never_run(lab: Lab, changed: dict[str, Any], code: str, why: str) -> None:
    lab.wish("two", 1, **changed)
    lab.work(60)
    assert lab.runs == "one"
    assert lab.actual.phase == "given_up" and lab.actual.reason.startswith(code) and why in lab.actual.reason
    assert lab.told() == [("started", "one"), ("refused", "one")]


def test_an_older_delivery_and_a_changed_file_are_refused(lab: Lab, tmp_path: Path) -> None:
    lab.wish("two", 5)
    lab.work(30)
    lab.wish("one", 5)
    lab.work(5)
    assert "delivery 5 is not newer than 5" in lab.actual.reason
    spoilt = tmp_path / "spoilt"
    shutil.copytree(lab.bundles["three"], spoilt)
    library = next(spoilt.rglob("*.so"))
    library.write_bytes(library.read_bytes()[:-1])
    lab.bundles = {**lab.bundles, "three": spoilt}
    lab.wish("three", 6)
    lab.work(5)
    assert lab.runs == "two" and "not those the manifest lists" in lab.actual.reason
    assert lab.actual.phase == "started" and lab.actual.tries == 1, "a copy that is not whole may still come"


def test_a_bundle_that_fails_on_trial_goes_back_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.work(5)
    lab.wish("two", 1)
    lab.work(3)

    def fails(_: object) -> list[Any]:
        raise LibraryError("it crashed")

    monkeypatch.setattr(lab.agent._network, "run_stored", fails)
    answers = lab.work(30)
    assert 1 <= sum("error" in answer for answer in answers) <= 3
    assert lab.runs == "one" and lab.actual.phase == "given_up" and "samples failed" in lab.actual.reason
    assert lab.told()[-1] == ("rolled_back", "two")
    assert len(lab.work(30)) == 30 and lab.runs == "one", "it is not tried again"
    lab.wish("three", 2)
    lab.work(40)
    assert (lab.runs, lab.actual.phase) == ("three", "confirmed")


def test_a_bundle_that_is_unsure_goes_back_after_its_trial(lab: Lab) -> None:
    lab.work(30)
    lab.wish("two", 1)
    lab.work(2)
    lab.follower._before.confidence.extend([1.0] * 500)
    lab.follower._bounds = Bounds(samples=20, confidence=0.0)
    lab.work(40)
    assert lab.runs == "one" and "mean confidence is" in lab.actual.reason


def test_a_trial_that_kills_the_process_is_over_after_its_starts(lab: Lab) -> None:
    lab.wish("two", 1)
    lab.work(2)
    for _ in range(STARTS - 1):
        lab.agent, lab.follower = lab.started(None)
        assert lab.runs == "two"
    lab.agent, lab.follower = lab.started(None)
    assert lab.runs == "one"
    lab.work(1)
    assert lab.told()[-1] == ("rolled_back", "one")
    assert lab.actual.phase == "given_up" and f"{STARTS} times" in lab.actual.reason


def test_without_anything_to_begin_with_it_takes_what_is_wished(lab: Lab) -> None:
    shutil.rmtree(lab.folder / "kept")
    with pytest.raises(RunError, match=r"E511 pi: the inventory has no signed bundle"):
        lab.started(None)
    lab.wish("two", 1)
    lab.agent, lab.follower = lab.started(None)
    assert lab.runs == "two" and lab.actual.phase == "confirmed"
    (lab.folder / "kept" / CURRENT).write_text("{")
    with pytest.raises(RunError, match="E504"):
        lab.started(None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["agent", "b", "--device", "pi"], "E901 strop agent: following an inventory takes"),
        (["gateway", "--telemetry", "t", "--feed", "f"], "E901 --feed: samples go to devices of an inventory"),
        (["gateway", "--telemetry", "t"], "E901 --port: no port is named"),
        (["gateway", "--telemetry", "t", "--port", "p", "--tries", "0"], "E901 --tries: it is 0"),
        (["gateway", "--telemetry", "t", "--inventory", "nowhere.json"], "E205 nowhere.json: it cannot be read"),
    ],
)
def test_wrong_options_are_told(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) in (12, 19)
    assert text in capsys.readouterr().err
