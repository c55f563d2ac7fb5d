"""Files of a real web server: whole or not there, on from where they were cut off, never of two objects at once."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.cuts import cut_at_rename
from tests.support.web_files import Files, served
from toolchain.acquire import download as downloads
from toolchain.acquire.acquire import LOCK, Acquired, acquire
from toolchain.acquire.sources import load_sources
from toolchain.cli.main import main
from toolchain.errors import DataError

ROOT = Path(__file__).parents[2]
BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MAX_PAUSE_S", 0.01)


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def listed(folder: Path, url: str, more: str = "", *, sha256: str = "") -> Path:
    path = folder / "sources.toml"
    digest = f'sha256 = "{sha256 or sha(BODY)}"' if "sha256_file" not in more else ""
    path.write_text(f'[[source]]\nname = "set"\nurl = "{url}"\nlicence = "CC0-1.0"\n{digest}\n{more}\n')
    return path


def brought(folder: Path, files: Files, more: str = "", *, sha256: str = "") -> Acquired:
    return acquire(load_sources(listed(folder, f"{files.url}/a.bin", more, sha256=sha256)))[0]


def nothing_but_parts(folder: Path) -> bool:
    return {path.name for path in (folder / "data").iterdir()} <= {".parts", LOCK}


def test_a_file_is_brought_once_and_told_in_the_lock(tmp_path: Path) -> None:
    with served(**{"a.bin": BODY}) as files:
        first, second = brought(tmp_path, files), brought(tmp_path, files)
    assert first.path == tmp_path / "data" / "set" / "a.bin" and first.path.read_bytes() == BODY
    assert (first.fresh, second.fresh, len(files.asked), first.bytes) == (True, False, 1, len(BODY))
    entry = json.loads((tmp_path / "data" / LOCK).read_text())["sources"]["set"]
    assert (entry["url"], entry["sha256"], entry["licence"]) == (f"{files.url}/a.bin", sha(BODY), "CC0-1.0")
    assert entry["bytes"] == len(BODY) and entry["time"].startswith("20")
    first.path.write_bytes(BODY[:-1])
    with served(**{"a.bin": BODY}) as files:
        assert brought(tmp_path, files).fresh and first.path.read_bytes() == BODY


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", ['"one"', ""])
def test_a_cut_connection_goes_on_by_range_where_the_server_can(tmp_path: Path, ranges: bool, etag: str) -> None:
    with served(**{"a.bin": BODY}) as files:
        files.ranges, files.cut, files.cuts, files.etags = ranges, 100_000, 2, {"/a.bin": etag}
        assert brought(tmp_path, files).path.read_bytes() == BODY
    wanted = [asked[1] for asked in files.asked]
    assert wanted[1] == "bytes=100000-" and files.asked[1][2] == etag
    assert files.sent == (300_000 if ranges else 500_000)


def test_an_object_that_changed_between_two_calls_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TRIES", 0)
    for etag, modified in (('"one"', ""), ("", "Mon, 01 Jan 2024 00:00:00 GMT"), ("", "")):
        folder = tmp_path / f"{bool(etag)}{bool(modified)}"
        folder.mkdir()
        with served(**{"a.bin": OTHER}) as files:
            files.cut, files.cuts, files.etags, files.modified = 120_000, 1, {"/a.bin": etag}, modified
            with pytest.raises(DataError, match=r"E212 set: .* does not come: the connection was cut"):
                brought(folder, files)
            assert nothing_but_parts(folder)
            files.content["/a.bin"] = BODY
            files.etags, files.modified = {"/a.bin": etag and '"two"'}, modified.replace("01 Jan", "02 Jan")
            assert brought(folder, files).path.read_bytes() == BODY


def test_a_wrong_digest_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    with served(**{"a.bin": OTHER}) as files:
        with pytest.raises(DataError, match=f"E213 set: .* has the SHA-256 {sha(OTHER)}, not {sha(BODY)}"):
            brought(tmp_path, files)
        assert nothing_but_parts(tmp_path) and not list((tmp_path / "data").rglob("*.part"))
        assert len(files.asked) == 1


def test_servers_that_cut_forever_are_given_up(tmp_path: Path) -> None:
    with served(**{"a.bin": OTHER}) as files:
        files.cut, files.cuts = 100_000, 1000
        with pytest.raises(DataError, match=r"E213 set: .* has the SHA-256"):
            brought(tmp_path, files)
        assert len(files.asked) == 6
        files.ranges, files.asked = False, []
        with pytest.raises(DataError, match=r"E212 set: .* does not come: the connection was cut, 5 times"):
            brought(tmp_path, files)
        assert len(files.asked) == 6


def test_a_new_digest_in_the_file_brings_the_new_content_and_only_that(tmp_path: Path) -> None:
    with served(**{"a.bin": BODY}) as files:
        kept = brought(tmp_path, files).path
        files.content["/a.bin"] = OTHER
        assert not brought(tmp_path, files).fresh
        with pytest.raises(DataError, match=r"E213"):
            brought(tmp_path, files, sha256="0" * 64)
        assert kept.read_bytes() == BODY
        assert brought(tmp_path, files, sha256=sha(OTHER)).fresh and kept.read_bytes() == OTHER


def test_what_is_too_large_ends_at_once_whatever_its_size_is_said_to_be(tmp_path: Path) -> None:
    for chunked in (False, True):
        with served(**{"a.bin": bytes(30_000_000)}) as files:
            files.chunked = chunked
            with pytest.raises(DataError, match=r"E213 set: .* B or more, 200,000 are left of its limit"):
                brought(tmp_path, files, "max_bytes = 200_000")
        assert files.sent < 15_000_000 and not list((tmp_path / "data").rglob("*.part"))


def test_a_server_that_is_busy_is_asked_again_and_one_that_stands_still_is_given_up(tmp_path: Path) -> None:
    with served(**{"a.bin": BODY}) as files:
        files.busy = 3
        assert brought(tmp_path, files).fresh and len(files.asked) == 4
    (tmp_path / "still").mkdir()
    # The system takes connections for a server that answers none.
    with socket.create_server(("127.0.0.1", 0)) as server:
        deaf = Files(url=f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DataError, match=r"E212 set: .* does not come: .*timed out, 5 times"):
            brought(tmp_path / "still", deaf, "timeout_s = 0.2")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.bin", "E212 set: .*none.bin answers with status 404"),
        ("loop", "E212 set: .* answers with status 302"),
        ("away", "E212 set: .* answers with status 302: it leads to ftp://"),
        ("file", "E212 set: .* answers with status 302: .*file:///etc/passwd' is not allowed"),
    ],
)
def test_what_is_not_there_is_said_at_once(tmp_path: Path, path: str, message: str) -> None:
    with served() as files:
        files.moved = {"/loop": f"{files.url}/loop", "/away": "ftp://127.0.0.1/a", "/file": "file:///etc/passwd"}
        with pytest.raises(DataError, match=message):
            acquire(load_sources(listed(tmp_path, f"{files.url}/{path}")))


def test_credentials_come_from_files_and_the_environment_and_do_not_leave_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    with served(**{"a.bin": BODY}) as files, served(**{"b.bin": BODY}) as others:
        files.password = "Bearer t0ken"
        with pytest.raises(DataError, match=r"E212 set: .* may not be read, status 401"):
            brought(tmp_path, files)
        assert brought(tmp_path, files, '[source.options]\ntoken_file = "token"').fresh
        files.password = "Basic dXNlcjpwYTU1"
        monkeypatch.setenv("STROP_SOURCE_SET_PASSWORD", "pa55")
        assert acquire(
            load_sources(listed(tmp_path, f"{files.url}/a.bin", '[source.options]\nusername = "user"')), tmp_path / "b"
        )
        files.moved = {"/a.bin": f"{others.url}/b.bin"}
        assert acquire(
            load_sources(listed(tmp_path, f"{files.url}/a.bin", '[source.options]\nusername = "user"')), tmp_path / "c"
        )
        assert files.asked[-1][3] == files.password and others.asked[-1][3] == ""


def test_many_files_by_a_file_of_digests(tmp_path: Path) -> None:
    content = {f"s/{n}/x{n}.bin": BODY[n : n + 5000] for n in range(4)}
    sums = "".join(f"{sha(body)}  {name.removeprefix('s/')}\n" for name, body in content.items())
    (tmp_path / "sums").write_text(sums)
    with served(**content) as files:
        files.cut, files.cuts = 100, 1
        source = load_sources(listed(tmp_path, f"{files.url}/s/", 'sha256_file = "sums"'))
        (found,) = acquire(source)
        assert found.files == 4 and all(
            (tmp_path / "data" / "set" / name.removeprefix("s/")).read_bytes() == body for name, body in content.items()
        )
        (tmp_path / "data" / "set" / "1" / "x1.bin").write_bytes(b"")
        asked = len(files.asked)
        assert acquire(source)[0].fresh and [one[0] for one in files.asked[asked:]] == ["/s/1/x1.bin"]
        assert not acquire(source)[0].fresh
        (tmp_path / "data" / "set" / "stray.png").write_bytes(b"")
        with pytest.raises(DataError, match=r"E213 set: .* holds 'stray.png', which is not of this source"):
            acquire(source)


def test_killed_at_any_byte_it_goes_on(tmp_path: Path) -> None:
    """Processes that are killed (-9) again and again bring every byte about once."""
    body = np.random.default_rng(2).bytes(6_000_000)
    rng = np.random.default_rng(3)
    with served(**{"a.bin": body}) as files:
        files.etags, files.chunk_s = {"/a.bin": '"one"'}, 0.002
        path = listed(tmp_path, f"{files.url}/a.bin", sha256=sha(body))
        kills = 0
        for attempt in range(40):
            process = started(path)
            if attempt < 5:
                limit = time.monotonic() + 20
                aim = files.sent + int(rng.integers(100_000, 900_000))
                while files.sent < aim and process.poll() is None and time.monotonic() < limit:
                    time.sleep(0.001)
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
                process.wait()
                assert nothing_but_parts(tmp_path) or attempt
                continue
            out, _ = process.communicate(timeout=60)
            break
    assert process.returncode == 0, out
    assert (tmp_path / "data" / "set" / "a.bin").read_bytes() == body
    offsets = [int(asked[1].removeprefix("bytes=").rstrip("-") or 0) for asked in files.asked]
    assert kills >= 4 and offsets == sorted(set(offsets)) and offsets[-1] > len(body) // 10


def started(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "toolchain.cli", "acquire", str(path), "--json"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_cut_between_taking_its_place_and_the_lock_it_goes_on(tmp_path: Path) -> None:
    """Whichever rename is the last that a process does, the next one comes to the same."""
    with served(**{"a.bin": BODY}) as files:
        brought(tmp_path, files)
        files.content["/a.bin"] = OTHER
        for stop in range(1, 9):
            with cut_at_rename(stop) as cut:
                brought(tmp_path, files, sha256=sha(files.content["/a.bin"]))
            assert bool(cut) == (stop < 7)
            found = brought(tmp_path, files, sha256=sha(files.content["/a.bin"]))
            assert found.path.read_bytes() == files.content["/a.bin"]
            files.content["/a.bin"] = BODY if files.content["/a.bin"] == OTHER else OTHER


def test_the_command_tells_what_it_brought(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(**{"a.bin": BODY}) as files:
        path = str(listed(tmp_path, f"{files.url}/a.bin"))
        assert main(["acquire", path, "-o", str(tmp_path / "there"), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["sources"][0]
        assert (told["fresh"], told["licence"], told["path"]) == (True, "CC0-1.0", str(tmp_path / "there" / "set" / "a.bin"))
        assert main(["acquire", path, "-o", str(tmp_path / "there")]) == 0
        assert "was there" in capsys.readouterr().out
        assert main(["acquire", str(tmp_path / "none.toml")]) == 12
    (tmp_path / "file").write_text("")
    assert main(["acquire", path, "-o", str(tmp_path / "file")]) == 15
