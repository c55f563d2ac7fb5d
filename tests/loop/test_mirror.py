"""Events and samples of object stores: what is new comes into the loop's folder, once, whatever is killed or changed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.loop.test_lake import held, lines
from tests.support.object_store import Bucket, bucket
from tests.support.web_files import served
from toolchain.errors import DataError, StropError
from toolchain.loop import mirror as mirrors
from toolchain.loop.lake import ingest, take_samples
from toolchain.loop.mirror import Mirrored, file_name, mirror
from toolchain.loop.settings import LoopSettings, load_loop
from toolchain.loop.store import Store

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")
ROOT = Path(__file__).parents[2]
LOOP = ROOT / "examples" / "loop" / "loop.toml"


def made(folder: Path, events: str, samples: str = "samples", more: str = "") -> Path:
    """The example's loop without its simulation, with these places."""
    text = LOOP.read_text().partition("[simulation]")[0].replace("../../build/loop/fleet/events", events)
    text = text.replace("../../build/loop/fleet/samples", samples).replace("../../build/loop", str(folder / "loop"))
    (folder / "loop.toml").write_text(text.replace("[validate]", f"{more}\n[validate]", 1))
    return folder / "loop.toml"


class Loop:
    """A loop that reads a store."""

    def __init__(self, path: Path) -> None:
        self.settings: LoopSettings = load_loop(path)
        self.store = Store(self.settings.folder)

    def ingest(self) -> tuple[Mirrored, int, int]:
        """What was mirrored, events that were new, and those known already."""
        found = mirror(self.settings, self.store)
        taken = ingest(self.settings.fleet.events, self.store, self.settings.ingest)
        return found, taken.events, taken.doubled


class Local:
    """A folder as a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, content: bytes) -> None:
        place = self.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_name("aside")
        aside.write_bytes(content)
        os.replace(aside, place)


@pytest.fixture
def local(tmp_path: Path) -> tuple[Local, Loop]:
    there = Local(tmp_path / "there")
    return there, Loop(made(tmp_path, (tmp_path / "there").as_uri(), (tmp_path / "there").as_uri()))


def ids(made: list[bytes]) -> list[str]:
    return sorted(json.loads(line)["event"]["id"] for line in made)


def test_new_and_grown_objects_of_s3_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket(monkeypatch) as there:
        grows(there, Loop(made(tmp_path, "s3://fleet/pre/events", "s3://fleet/pre/samples", there.options)))


def test_new_and_grown_files_of_a_folder_are_read_once(tmp_path: Path) -> None:
    there = Local(tmp_path / "there")
    grows(there, Loop(made(tmp_path, f"file://{tmp_path}/there/pre/events", f"file://{tmp_path}/there/pre/samples")))


def grows(there: Bucket | Local, loop: Loop) -> None:
    told = lines(60)
    assert loop.ingest() == (Mirrored(), 0, 0)
    there.put("pre/events/a.jsonl", b"".join(told[:20]) + told[20][:50])
    there.put("pre/events/2026/11/b.jsonl", b"".join(told[30:40]))
    there.put("pre/events/readme.txt", b"none")
    there.put("pre/events-not/c.jsonl", b"".join(told[40:]))
    there.put("pre/samples/one.npz", archive(1))
    found, new, known = loop.ingest()
    assert (found.objects, new, known) == (3, 30, 0)
    assert take_samples(loop.settings.fleet.samples, loop.store) == 1
    assert loop.ingest() == (Mirrored(), 0, 0)
    there.put("pre/events/a.jsonl", b"".join(told[:30]))
    there.put("pre/samples/two.npz", archive(2))
    found, new, known = loop.ingest()
    assert (found.objects, new, known) == (2, 10, 0)
    assert found.bytes == sum(map(len, told[20:30])) - 50 + len(archive(2))
    assert held(loop.store) == ids(told[:40])


def archive(seed: int) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.full((2, 3), float(seed)))
    return stream.getvalue()


def test_a_file_that_stepped_aside_is_another_one_under_its_name(local: tuple[Local, Loop]) -> None:
    there, loop = local
    told = lines(40)
    there.put("a.jsonl", b"".join(told[:20]))
    assert loop.ingest()[1] == 20
    there.put("a.jsonl.1", b"".join(told[:25]))
    there.put("a.jsonl", b"".join(told[25:30]))
    found, new, known = loop.ingest()
    assert (found.objects, new, known, found.aside) == (2, 10, 20, ())
    there.put("a.jsonl", b"".join(told[25:40]))
    assert loop.ingest()[1:] == (10, 0)
    assert held(loop.store) == ids(told)


@pytest.mark.parametrize(
    "change",
    [
        lambda told: b"".join(told[:10]),
        lambda told: b"",
        lambda told: b"".join([told[0], *reversed(told[1:20])]),
        lambda told: b"".join(told[:19]) + told[30],
    ],
)
def test_an_object_that_shrank_or_changed_is_set_aside(local: tuple[Local, Loop], change: Callable[[list[bytes]], bytes]) -> None:
    there, loop = local
    told = lines(40)
    there.put("a.jsonl", b"".join(told[:20]))
    assert loop.ingest()[1] == 20
    there.put("a.jsonl", change(told))
    there.put("b.jsonl", b"".join(told[20:25]))
    found, new, _ = loop.ingest()
    assert (found.aside, new) == (("a.jsonl",), 5)
    (kept,) = (loop.settings.folder / "mirror" / "aside" / "events").iterdir()
    assert kept.read_bytes() == change(told)
    assert loop.ingest() == (Mirrored(), 0, 0)
    # What was mended goes on.
    there.put("a.jsonl", b"".join([*told[:20], *told[25:]]))
    assert loop.ingest()[1:] == (15, 0)
    assert held(loop.store) == ids(told)


def test_samples_that_changed_are_set_aside_and_half_ones_wait(local: tuple[Local, Loop]) -> None:
    there, loop = local
    there.put("one.npz", archive(1)[:-30])
    assert mirror(loop.settings, loop.store) == Mirrored()
    there.put("one.npz", archive(1))
    assert mirror(loop.settings, loop.store) == Mirrored(1, len(archive(1)))
    there.put("one.npz", archive(3))
    assert mirror(loop.settings, loop.store).aside == ("one.npz",)
    assert (loop.settings.fleet.samples / "one.npz").read_bytes() == archive(1)
    there.put("one.npz", archive(1))
    assert mirror(loop.settings, loop.store).aside == ()


def test_cut_at_any_write_it_comes_to_the_same(local: tuple[Local, Loop], monkeypatch: pytest.MonkeyPatch) -> None:
    there, loop = local
    monkeypatch.setattr(mirrors, "COMMIT_BYTES", 3000)
    monkeypatch.setattr(mirrors, "CHUNK_BYTES", 1000)
    told, real, stop, syncs, count = lines(200), mirrors._sync, 0, 0, 0

    safe: dict[int, int] = {}

    def sync(file: Any) -> None:
        nonlocal syncs
        syncs += 1
        if syncs == stop:
            # What was written since the last time is not on the disk.
            file.flush()
            known = os.fstat(file.fileno())
            lost = min(137, known.st_size - safe.get(known.st_ino, 0))
            os.pwrite(file.fileno(), bytes(lost), known.st_size - lost)
            raise KeyboardInterrupt
        real(file)
        safe[os.fstat(file.fileno()).st_ino] = os.fstat(file.fileno()).st_size

    monkeypatch.setattr(mirrors, "_sync", sync)
    for number in range(1, 8):
        stop, syncs = number, 0
        with pytest.raises(KeyboardInterrupt):
            while True:
                count += 4
                there.put("a.jsonl", b"".join(told[:count]))
                there.put(f"{count}.npz", archive(count))
                mirror(loop.settings, loop.store)
        assert loop.ingest()[2] == 0
        assert held(loop.store) == ids(told[:count])
        assert all((loop.settings.fleet.samples / f"{n}.npz").read_bytes() == archive(n) for n in range(4, count + 1, 4))


def test_killed_at_random_every_event_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`strop loop ingest` on S3, killed (-9) again and again while objects grow."""
    told, rng = lines(3000), np.random.default_rng(4)
    with bucket(monkeypatch) as there:
        path = made(tmp_path, "s3://fleet/events", "samples", f"{there.options}\n[ingest]\nbatch = 200")
        Loop(path).store.open_round()
        command = [sys.executable, "-m", "toolchain.cli", "loop", "ingest", str(path), "--json"]
        for attempt in range(1, 6):
            for name in range(4):
                there.put(f"events/{name}.jsonl", b"".join(told[name::4][: 150 * attempt]))
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if attempt < 5:
                time.sleep(float(rng.uniform(1.0, 3.0)))
                process.send_signal(signal.SIGKILL)
            out, _ = process.communicate(timeout=120)
            loop = Loop(path)
            with loop.store.change() as base:
                base.execute("DELETE FROM steps")
        assert process.returncode == 0, out
        assert held(loop.store) == ids(told)
        assert loop.ingest() == (Mirrored(), 0, 0)


def test_a_web_server_is_read_and_stores_that_do_not_answer_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(**{"events/": b"<a href='/events/a.jsonl'>a</a>", "events/a.jsonl": b"".join(lines(5))}) as files:
        loop = Loop(made(tmp_path, f"{files.url}/events/"))
        assert loop.ingest()[1] == 5
        assert loop.ingest()[1:] == (0, 0)
    with pytest.raises(StropError, match=r"E212 fleet: .* does not come: .*, 5 times"):
        loop.ingest()
    with bucket(monkeypatch) as there:
        loop = Loop(made(tmp_path, "s3://fleet/events", more=there.options))
        assert loop.ingest() == (Mirrored(), 0, 0)
        loop = Loop(made(tmp_path, "s3://other/events", more=there.options))
        assert loop.ingest() == (Mirrored(), 0, 0)
    with pytest.raises(StropError, match=r"E212 fleet: "):
        loop.ingest()


def test_names_of_objects_are_names_of_files() -> None:
    names = [
        "a.jsonl",
        "../a.jsonl",
        "x/../../a.jsonl",
        "a~1.jsonl",
        "ä b.jsonl",
        "x" * 900 + ".jsonl",
        "c:\\a.jsonl",
        "a.jsonl.3",
    ]
    found = [file_name(name, number) for name in names for number in (0, 1, 12)]
    assert len(set(found)) == len(found) and all("/" not in one and len(one) < 250 and ".jsonl" in one for one in found)
    assert found[:3] == ["a.jsonl", "a~1.jsonl", "a~12.jsonl"] and found[-1] == "a~12.jsonl.3"


@pytest.mark.parametrize(
    ("events", "more", "fault"),
    [
        ("s3://u:p@fleet/events", "", "E210 loop.toml: key 'fleet.events' holds credentials"),
        ("s3://fleet/events", 'options = {secret = "s"}', "E210 loop.toml: key 'fleet.options.secret' is a secret"),
        ("s3://fleet/events", "[simulation]", "E210 loop.toml: key 'fleet.events' is a URL, and a simulated fleet"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, events: str, more: str, fault: str) -> None:
    with pytest.raises(DataError) as caught:
        load_loop(made(tmp_path, events, more=more))
    assert str(caught.value).startswith(fault)
