"""Acquire: every source of a file into a folder of its own, whole, checked, told in a lock file; what is there stays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from toolchain.acquire.download import digest_of, download, forget, unwritable
from toolchain.acquire.sources import NORMAL_MAX_BYTES, Item, Source, SourceList
from toolchain.acquire.stores import Store, open_store
from toolchain.acquire.unpack import unpack
from toolchain.api.progress import Progress, silent
from toolchain.errors import DataError

LOCK = "sources.lock.json"
FORMAT = 1
WORK = ".parts"


@dataclass(frozen=True, slots=True)
class Acquired:
    """One source that is there. path: its file or folder. files, bytes: what it holds. fresh: it was brought now.

    time: when it came, ISO 8601.
    """

    name: str
    path: Path
    url: str
    sha256: str
    licence: str
    files: int
    bytes: int
    time: str
    fresh: bool

    def as_json(self) -> dict[str, object]:
        """The source as one object."""
        return {**asdict(self), "path": str(self.path)}


def acquire(listed: SourceList, folder: Path | None = None, progress: Progress = silent) -> tuple[Acquired, ...]:
    """Bring what is not there yet, or is not what it should be, into `folder/NAME`; by default into the list's own folder.

    A source takes its place when all of it is there and has its digests; what was cut off goes on where it was. Processes that
    acquire into one folder wait for each other. Raises DataError E205, E211 to E214, EnvironmentFault E404, RunError E505.
    """
    place = listed.folder if folder is None else folder
    with _alone(place):
        lock, found = _read_lock(place), list[Acquired]()
        for source in listed.sources:
            known = lock.get(source.name)
            fresh = not _whole(source, known, place / source.name, progress)
            if fresh:
                known = _bring(source, known, place, lock, progress)
            elif known is not None and (known["licence"], known["url"]) != (source.licence, source.url):
                known |= {"licence": source.licence, "url": source.url}
                _write_lock(place, lock)
            assert known is not None
            shutil.rmtree(place / WORK / source.name, ignore_errors=True)
            sizes = [int(file["bytes"]) for file in known["files"].values()]
            path = place / source.place
            entry = Acquired(
                source.name, path, source.url, source.sha256, source.licence, len(sizes), sum(sizes), known["time"], fresh
            )
            found.append(entry)
    return tuple(found)


def _whole(source: Source, known: Mapping[str, Any] | None, folder: Path, progress: Progress) -> bool:
    """Whether a source's folder holds all that it should. Raises DataError E213 for a file that is of no source."""
    files: Mapping[str, Mapping[str, Any]] = {} if known is None else known["files"]
    before: Sequence[str] = () if known is None else known.get("before", ())
    wanted = files if source.unpack else {item.name: {"sha256": item.sha256} for item in source.items}
    try:
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
        if strange := sorted(there - set(wanted) - set(files) - set(before)):
            what = f"{folder} holds '{strange[0]}', which is not of this source"
            raise DataError(213, source.name, what, "Move it elsewhere: the folder is the source's own")
        if known is None or known["sha256"] != source.sha256 or known["unpack"] != source.unpack or there != set(wanted):
            return False
        for number, (name, file) in enumerate(wanted.items()):
            progress(f"checking {source.name}", number, len(wanted))
            if digest_of(folder / name) != file["sha256"]:
                return False
    except OSError as fault:
        raise DataError(205, str(folder), f"it cannot be read: {fault.strerror}", "Mend its rights, or remove it") from fault
    return True


def _bring(
    source: Source, known: Mapping[str, Any] | None, place: Path, lock: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Download into a folder aside, check, unpack, and let it take the source's place; the lock's entry.

    The lock tells of it before it is there, beside what was there before, so that a cut between finds only files it knows.
    """
    work, target = place / WORK / source.name, place / source.name
    stage = work / "stage"
    try:
        stage.mkdir(parents=True, exist_ok=True)
        if source.unpack:
            _unpacked(source, work, stage, progress)
            names = sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file())
            digests = {name: digest_of(stage / name) for name in names}
        else:
            _loose(source, work, stage, target, progress)
            digests = {item.name: item.sha256 for item in source.items}
        files: dict[str, dict[str, Any]] = {
            name: {"sha256": sha256, "bytes": (stage / name).stat().st_size} for name, sha256 in digests.items()
        }
        entry: dict[str, Any] = {
            "url": source.url,
            "sha256": source.sha256,
            "licence": source.licence,
            "unpack": source.unpack,
            "bytes": sum(file["bytes"] for file in files.values()),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": files,
        }
        before = [] if known is None else [*known["files"], *known.get("before", ())]
        _write_lock(place, {**lock, source.name: {**entry, "before": before}})
        _replace(stage, target, work / "old")
    except OSError as fault:
        raise unwritable(place, fault) from fault
    lock[source.name] = entry
    _write_lock(place, lock)
    return entry


def _replace(stage: Path, target: Path, old: Path) -> None:
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    os.replace(stage, target)
    shutil.rmtree(old, ignore_errors=True)


def _loose(source: Source, work: Path, stage: Path, target: Path, progress: Progress) -> None:
    """All files of a source into the stage; those that lie there or in its place already are taken from there."""
    store: Store | None = None
    left = source.max_bytes or NORMAL_MAX_BYTES
    wanted = {item.name for item in source.items}
    for path in [path for path in stage.rglob("*") if not path.is_dir()]:
        if path.relative_to(stage).as_posix() not in wanted:
            path.unlink()
    for number, item in enumerate(source.items):
        staged = stage / item.name
        staged.parent.mkdir(parents=True, exist_ok=True)
        if not _has(staged, item):
            if _has(target / item.name, item):
                shutil.copyfile(target / item.name, staged)
            else:
                store = store or open_store(source.name, source.url, source.options, source.timeout_s)
                os.replace(_checked(source, store, item, work, left, number, progress), staged)
        left -= staged.stat().st_size


def _has(path: Path, item: Item) -> bool:
    return path.is_file() and digest_of(path) == item.sha256


def _checked(source: Source, store: Store, item: Item, work: Path, left: int, number: int, progress: Progress) -> Path:
    """A downloaded file that has its digest. Raises DataError E212, E213; then nothing of it stays."""
    part = work / f"{item.sha256}.part"
    shown = source.name if source.single else f"{source.name} {number + 1} of {len(source.items)}"
    found, resumed, tries = "", True, 0
    # What was there before a cut may be of another object that nothing told from this one: then all of it comes once more.
    while resumed and tries < 2:
        resumed = download(store, source.name, item.url, part, left, lambda done, total: progress(f"{shown}, bytes", done, total))
        found, tries = digest_of(part), tries + 1
        if found == item.sha256:
            return part
        forget(part)
    what = f"{item.url} has the SHA-256 {found}, not {item.sha256}"
    raise DataError(213, source.name, what, "If the new content is right, write its digest into the file of sources")


def _unpacked(source: Source, work: Path, stage: Path, progress: Progress) -> None:
    item = source.items[0]
    archive = work / "archive"
    if not _has(archive, item):
        store = open_store(source.name, source.url, source.options, source.timeout_s)
        os.replace(_checked(source, store, item, work, source.max_bytes or NORMAL_MAX_BYTES, 0, progress), archive)
    progress(f"unpacking {source.name}")
    shutil.rmtree(stage)
    stage.mkdir()
    try:
        unpack(archive, source.unpack, stage, source.max_bytes, source.name)
    except DataError:
        shutil.rmtree(work)
        raise


def _read_lock(place: Path) -> dict[str, Any]:
    """What is there by name. Raises DataError E205."""
    path = place / LOCK
    try:
        document: Any = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r:.20}, not {FORMAT}")
        for entry in document["sources"].values():
            told = tuple(entry[key] for key in ("url", "sha256", "licence", "unpack", "time"))
            files = [(file["sha256"], int(file["bytes"])) for file in entry["files"].values()]
            texts = (*told, *(sha256 for sha256, _ in files), *entry.get("before", ()))
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("a text is none")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
        raise DataError(205, str(path), f"it cannot be read: {fault!s:.100}", "Remove it to acquire anew") from fault
    return cast("dict[str, Any]", document["sources"])


def _write_lock(place: Path, lock: Mapping[str, Any]) -> None:
    try:
        aside = place / f"{LOCK}.new"
        with aside.open("w", encoding="utf-8") as stream:
            json.dump({"format": FORMAT, "sources": lock}, stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, place / LOCK)
    except OSError as fault:
        raise unwritable(place, fault) from fault


@contextmanager
def _alone(place: Path) -> Generator[None]:
    """Only this process acquires into the folder, where the system can see to that."""
    try:
        (place / WORK).mkdir(parents=True, exist_ok=True)
        lock = (place / WORK / "lock").open("ab")
    except OSError as fault:
        raise unwritable(place, fault) from fault
    with lock:
        try:
            import fcntl
        except ImportError:
            pass
        else:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
