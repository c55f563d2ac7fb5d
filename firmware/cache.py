"""Built firmware is kept by content hash, written aside and moved into place, so that a half-built one is never seen."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from toolchain.errors import RunError

BUILDS_MOST = 512
ABANDONED_S = 86_400


def cache_root() -> Path:
    """$STROP_CACHE, else `~/.cache/strop`."""
    chosen = os.environ.get("STROP_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "strop"


def cached_folder(key: str, make: Callable[[Path], None]) -> Path:
    """The folder of this key; when there is none, make fills one aside and it is renamed into place.

    Raises RunError E505 when the cache cannot be written, and whatever make raises.
    """
    builds = cache_root() / "builds"
    folder = builds / key
    if folder.is_dir():
        _touch(folder)
        return folder
    try:
        builds.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{key[:12]}-", dir=builds))
    except OSError as fault:
        raise RunError(
            505, str(builds), f"it cannot be written: {fault.strerror}", "Set STROP_CACHE to another folder"
        ) from fault
    try:
        make(aside)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process built the same bytes first
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _prune(builds)
    return folder


def _touch(folder: Path) -> None:
    with contextlib.suppress(OSError):  # a cache that can only be read still serves
        os.utime(folder)


def _prune(builds: Path) -> None:
    """Remove the builds not used for longest, and what a killed build left."""
    ages = sorted(_last_use(entry) for entry in builds.iterdir())
    finished = [path for _, path in ages if not path.name.startswith(".")]
    abandoned = [path for used, path in ages if path.name.startswith(".") and time.time() - used > ABANDONED_S]
    for path in (*finished[: max(0, len(finished) - BUILDS_MOST)], *abandoned):
        shutil.rmtree(path, ignore_errors=True)


def _last_use(path: Path) -> tuple[float, Path]:
    try:
        return path.stat().st_mtime, path
    except OSError:  # another process pruned it
        return 0.0, path
