"""What .keras and .pt2 files have in common: zip archives from anywhere, which must not fill the memory."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable

from toolchain.errors import ModelError

ROOM_BYTES = 1 << 26
# Weights seldom shrink to less than half when they are packed; what claims to grow more is meant to fill the memory.
MAX_GROWTH = 20
# What zipfile raises on damaged archives.
ARCHIVE_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    RecursionError,
)


def allowed_bytes(packed: int) -> int:
    """What a file of `packed` bytes may unpack to."""
    return MAX_GROWTH * packed + ROOM_BYTES


def check_growth(members: Iterable[zipfile.ZipInfo], packed: int, place: str) -> None:
    """Raise ModelError(103) when the members of an archive of `packed` bytes would take too much memory."""
    total = sum(member.file_size for member in members)
    if total > allowed_bytes(packed):
        raise ModelError(103, place, f"its {packed:,} B unpack to {total:,} B", "Export or copy the model again")
