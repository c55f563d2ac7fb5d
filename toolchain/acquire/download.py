"""Downloads that go on where they were cut off: a part, and beside it what the object was when its first byte came."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from toolchain.acquire.stores import Interrupted, Store, Stream, refused
from toolchain.errors import DataError, RunError

TRIES = 5
"""Without a new byte, before it is given up."""
MAX_PAUSE_S = 10.0
_CHUNK = 1 << 20

Told = Callable[[int, int], None]
"""Is told how many bytes are there, and how many there are in all, 0 where nobody knows."""


def unwritable(place: Path, fault: OSError) -> RunError:
    """The E505 of a folder of data."""
    return RunError(505, str(place), f"it cannot be written: {fault.strerror}", "Make room, or choose another folder with -o")


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(store: Store, name: str, url: str, part: Path, most: int, told: Told) -> bool:
    """Make `part` the whole object, on from what it holds where the store can; whether it went on from a cut.

    most: bytes beyond which it ends. Raises DataError E212, E213, RunError E505.
    """
    tries, resumed, best = 0, False, 0
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        while True:
            offset, version, size = _known(part, url)
            if offset and offset == size:
                return True
            best = max(best, offset)
            try:
                with store.stream(url, offset, version) as stream:
                    # Without a version the size alone tells whether it is the same.
                    if stream.start and (stream.version, stream.size) != (version, size):
                        _forget(part)
                        continue
                    resumed = resumed or stream.start > 0
                    if _pump(stream, name, url, part, most, told):
                        return resumed
                    why = "the connection was cut"
            except Interrupted as fault:
                why = str(fault)
            tries = 0 if _size(part) > best else tries + 1
            if tries >= TRIES:
                raise refused(name, url, f"does not come: {why}, {TRIES} times", "Try again later; it goes on where it was")
            time.sleep(min(0.1 * 2**tries, MAX_PAUSE_S))
    except OSError as fault:
        raise unwritable(part, fault) from fault


def _pump(stream: Stream, name: str, url: str, part: Path, most: int, told: Told) -> bool:
    """Write what comes; whether that was all."""
    if stream.size is not None and stream.size > most:
        _forget(part)
        raise _too_much(name, url, stream.size, most)
    if not stream.start:
        _forget(part)
        aside = _facts(part).with_suffix(".new")
        aside.write_text(json.dumps({"url": url, "version": stream.version, "size": stream.size}))
        os.replace(aside, _facts(part))
    done = stream.start
    with part.open("ab") as file:
        for chunk in stream.chunks:
            done += len(chunk)
            if done > most:
                _forget(part)
                raise _too_much(name, url, done, most)
            file.write(chunk)
            told(done, stream.size or 0)
        file.flush()
        os.fsync(file.fileno())
    if stream.size is not None and done > stream.size:
        _forget(part)
        raise DataError(213, name, f"{url} sends {done:,} B, of {stream.size:,} that it tells", "Ask who serves it")
    return stream.size is None or done == stream.size


def _too_much(name: str, url: str, size: int, most: int) -> DataError:
    return DataError(213, name, f"{url} has {size:,} B or more, {most:,} are left of its limit", "Set max_bytes if that is right")


def _facts(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _known(part: Path, url: str) -> tuple[int, str, int | None]:
    """Bytes that are there, version and size of their object; nothing where they are of another."""
    try:
        facts = json.loads(_facts(part).read_text())
        if facts["url"] == url:
            return _size(part), str(facts["version"]), facts["size"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    _forget(part)
    return 0, "", None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _facts(part).unlink(missing_ok=True)


def forget(part: Path) -> None:
    """Remove a part. Raises RunError E505."""
    try:
        _forget(part)
    except OSError as fault:
        raise unwritable(part, fault) from fault
