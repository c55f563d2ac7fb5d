"""Drives that are mounted, and what a UF2 loader says of itself on its own."""

from __future__ import annotations

import re
import string
import sys
from pathlib import Path

INFO_NAME = "INFO_UF2.TXT"
MOST_INFO_BYTES = 4096
_BOARD = re.compile(rb"^Board-ID:[ \t]*(\S[^\r\n]*?)[ \t]*\r?$", re.MULTILINE)
_MOUNTS = Path("/proc/self/mounts")
_KINDS = ("vfat", "msdos", "fuseblk")


def drives() -> list[tuple[Path, str | None]]:
    """Folders where small drives are mounted, each with its device where the system tells it."""
    if sys.platform == "win32":
        return [(Path(f"{letter}:\\"), None) for letter in string.ascii_uppercase if Path(f"{letter}:\\").exists()]
    if sys.platform == "darwin":
        return [(path, None) for path in sorted(Path("/Volumes").glob("*"))]
    try:
        rows = [line.split() for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return []
    return [(Path(_plain(row[1])), _plain(row[0])) for row in rows if len(row) > 2 and row[2] in _KINDS]


def board_id(drive: Path) -> str | None:
    """What the loader calls its board; None where the drive is no loader's."""
    try:
        with (drive / INFO_NAME).open("rb") as file:
            found = _BOARD.search(file.read(MOST_INFO_BYTES))
    except OSError:
        return None
    return found[1].decode("ascii", "replace")[:80] if found else None


def _plain(word: str) -> str:
    r"""A word of the table of mounts, in which a blank is \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)
