"""Mirror: new and grown objects of a fleet's stores into folders of the loop, which the steps then read like any other.

Events grow: an object's new bytes are added to its file, so that the file's lines are read once, whenever this is cut off. What
tells of a grown object is that its beginning and the end of what is here are the same. With another first line it is another file
under an old name, as when full files step aside, and gets a file of its own. Else it was damaged: it is set aside and the file
stays as it is. Samples do not grow: one that changed is set aside, and the first one stays.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import zipfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from toolchain.acquire.download import TRIES, digest_of, unwritable
from toolchain.acquire.stores import BLOCK_BYTES, CHUNK_BYTES, FileStore, Interrupted, described, refused
from toolchain.loop.settings import MIRROR, LoopSettings
from toolchain.loop.store import Store

EVENTS, SAMPLES = "events", "samples"
ASIDE, PARTS = "aside", "parts"
COMMIT_BYTES = 64 << 20
TIMEOUT_S = 60.0
_LOOKED_AT = 1 << 16
_MAX_NAME = 200
_NAMES: Mapping[str, re.Pattern[str]] = {EVENTS: re.compile(r".*\.jsonl(\.\d+)?"), SAMPLES: re.compile(r".*\.npz")}


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What was new. objects: that were new or grown. bytes: of them. aside: names of objects that changed, and were set aside."""

    objects: int = 0
    bytes: int = 0
    aside: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The figures as one object."""
        return {"objects": self.objects, "bytes": self.bytes, "aside": list(self.aside)}

    def __add__(self, other: Mirrored) -> Mirrored:
        """Both together."""
        return Mirrored(self.objects + other.objects, self.bytes + other.bytes, self.aside + other.aside)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is here of an object. version: as the store told it, empty before all of it is here. size: bytes on the disk."""

    version: str
    size: int
    file: str


def mirror(settings: LoopSettings, store: Store) -> Mirrored:
    """Bring what is new of the fleet's events and samples where they are URLs.

    Raises DataError E212, EnvironmentFault E404, RunError E505.
    """
    found, fleet = Mirrored(), settings.fleet
    for kind, url, folder in ((EVENTS, fleet.events_url, fleet.events), (SAMPLES, fleet.samples_url, fleet.samples)):
        if url and not (kind == EVENTS and settings.ingest.kafka is not None):
            try:
                found += _Mirror(kind, url, folder, store, fleet.options).run()
            except OSError as fault:
                raise unwritable(folder, fault) from fault
    return found


class _Mirror:
    """One folder and the prefix that it mirrors."""

    def __init__(self, kind: str, url: str, folder: Path, store: Store, options: Mapping[str, object]) -> None:
        self._kind, self._url, self._folder, self._store = kind, url, folder, store
        self._remote = FileStore("fleet", url, options, TIMEOUT_S)
        self._known = {
            str(name): _Known(str(version), int(size), str(file))
            for name, version, size, file in store.rows("SELECT name, version, size, file FROM mirror WHERE kind = ?", (kind,))
        }

    def run(self) -> Mirrored:
        """All objects, by name."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = Mirrored()
        for name, path, info in self._listed():
            with self._remote.faults(path):
                size, version = described(info if info.get("size") is not None else self._remote.fs.info(path))
            if size is None:
                raise refused("fleet", path, "has no size", "Use a store that tells it")
            version = version or str(size)
            known = self._known.get(name)
            if known is None or known.version != version:
                found += self._patiently(name, path, size, version)
        return found

    def _listed(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        """Name below the prefix, path in the store, and what the store says of every object."""
        tries = 0
        while True:
            try:
                with self._remote.faults(self._url):
                    fs = self._remote.fs
                    fs.invalidate_cache()
                    root = str(fs._strip_protocol(self._url)).rstrip("/") + "/"
                    found = fs.find(root, detail=True) if _reached(fs, root) else {}
                named = [(str(path).removeprefix(root), str(path), info) for path, info in found.items()]
                return sorted((each for each in named if _NAMES[self._kind].fullmatch(each[0])), key=lambda each: each[0])
            except Interrupted as fault:
                tries = self._again(tries, self._url, fault)

    def _patiently(self, name: str, path: str, size: int, version: str) -> Mirrored:
        tries = 0
        while True:
            try:
                with self._opened(path) as remote:
                    take = self._grow if self._kind == EVENTS else self._take
                    return take(name, remote, size, version)
            except Interrupted as fault:
                tries = self._again(tries, path, fault)

    def _again(self, tries: int, path: str, fault: Interrupted) -> int:
        if tries + 1 >= TRIES:
            raise refused("fleet", path, f"does not come: {fault}, {TRIES} times", "Try again later") from fault
        time.sleep(0.1 * 2**tries)
        self._remote.fs.invalidate_cache()
        return tries + 1

    @contextmanager
    def _opened(self, path: str) -> Generator[_Remote]:
        with self._remote.faults(path):
            opened = self._remote.fs.open(path, "rb", block_size=BLOCK_BYTES, cache_type="readahead")
        try:
            yield _Remote(self._remote, path, opened)
        finally:
            opened.close()

    def _keep(self, name: str, version: str, size: int, file: str) -> None:
        self._known[name] = _Known(version, size, file)
        with self._store.change() as base:
            base.execute("INSERT OR REPLACE INTO mirror VALUES (?, ?, ?, ?, ?)", (self._kind, name, version, size, file))

    def _grow(self, name: str, remote: _Remote, size: int, version: str) -> Mirrored:
        """Add an object's new bytes to its file."""
        known = self._known.get(name) or _Known("", 0, file_name(name, 0))
        place = self._folder / known.file
        have = min(known.size, place.stat().st_size if place.exists() else 0)
        with place.open("r+b" if place.exists() else "w+b") as local:
            if have and not _continues(local, have, remote, size):
                if _same_line(local, have, remote, size):
                    return self._set_aside(name, remote, size, version)
                number = 1 + int(known.file.rpartition("~")[2].partition(".")[0]) if "~" in known.file else 1
                self._keep(name, "", 0, file_name(name, number))
                return self._grow(name, remote, size, version)
            # What is beyond was written by a process that was cut off, or is not on the disk for sure.
            local.truncate(have)
            local.seek(have)
            done, kept = have, have
            for chunk in remote.read(have, size):
                local.write(chunk)
                done += len(chunk)
                if done - kept >= COMMIT_BYTES:
                    _sync(local)
                    kept = done
                    self._keep(name, "", kept, known.file)
            _sync(local)
        self._keep(name, version, size, known.file)
        return Mirrored(1, size - have)

    def _take(self, name: str, remote: _Remote, size: int, version: str) -> Mirrored:
        """Bring an object that does not grow; one that is no archive yet is left for the next time."""
        file = file_name(name, 0)
        place, part = self._folder / file, self._store.folder / MIRROR / PARTS / file
        self._copy(remote, size, part)
        if not zipfile.is_zipfile(part):
            part.unlink()
            return Mirrored()
        if place.exists() and digest_of(place) != digest_of(part):
            return self._set_aside(name, remote, size, version)
        os.replace(part, place)
        self._keep(name, version, size, file)
        return Mirrored(1, size)

    def _set_aside(self, name: str, remote: _Remote, size: int, version: str) -> Mirrored:
        """Keep a changed object where no step reads it."""
        known = self._known.get(name) or _Known("", 0, file_name(name, 0))
        mark = hashlib.sha256(version.encode()).hexdigest()[:8]
        self._copy(remote, size, self._store.folder / MIRROR / ASIDE / self._kind / f"{mark}-{known.file}")
        self._keep(name, version, known.size, known.file)
        return Mirrored(aside=(name,))

    def _copy(self, remote: _Remote, size: int, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as local:
            for chunk in remote.read(0, size):
                local.write(chunk)
            _sync(local)


class _Remote:
    """An object that is open."""

    def __init__(self, store: FileStore, path: str, opened: Any) -> None:
        self._store, self._path, self._opened = store, path, opened

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes from start to before stop. Raises Interrupted, DataError E212."""
        with self._store.faults(self._path):
            self._opened.seek(start)
        while start < stop:
            with self._store.faults(self._path):
                chunk = self._opened.read(min(CHUNK_BYTES, stop - start))
            if not chunk:
                raise Interrupted(f"it ends after {start:,} of {stop:,} B")
            start += len(chunk)
            yield chunk

    def part(self, start: int, stop: int) -> bytes:
        """A short part."""
        return b"".join(self.read(start, stop))


def _reached(fs: Any, root: str) -> bool:
    """Whether there is anything. `find` takes a store that cannot be reached for an empty one."""
    try:
        fs.ls(root, detail=False)
    except FileNotFoundError:
        return False
    return True


def file_name(name: str, number: int) -> str:
    """The file of an object; number: of the files that had its name before."""
    flat = quote(name, safe="").replace("~", "%7E")
    if len(flat) > _MAX_NAME:
        flat = hashlib.sha256(name.encode()).hexdigest()[:32] + flat[-_MAX_NAME // 2 :]
    if not number:
        return flat
    base, dot, ending = flat.rpartition(".jsonl")
    return f"{base}~{number}{dot}{ending}"


def _continues(local: BinaryIO, have: int, remote: _Remote, size: int) -> bool:
    """Whether the object begins with what is here, as far as beginning and end of that tell."""
    if size < have:
        return False
    for start, stop in ((0, min(have, _LOOKED_AT)), (max(0, have - _LOOKED_AT), have)):
        local.seek(start)
        if local.read(stop - start) != remote.part(start, stop):
            return False
    return True


def _same_line(local: BinaryIO, have: int, remote: _Remote, size: int) -> bool:
    """Whether the object has the first line that is here."""
    local.seek(0)
    line = local.readline(min(have, _LOOKED_AT))
    return remote.part(0, min(len(line), size)) == line[:size]


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
