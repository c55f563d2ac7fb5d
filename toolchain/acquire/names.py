"""Names of files from elsewhere that may become paths here."""

from __future__ import annotations

import re

MAX_NAME = 1024
MAX_PART = 255
_DRIVE = re.compile(r"[A-Za-z]:")
# What Windows takes for devices, whatever ending they have.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def fault_of(name: str) -> str:
    """Why a name cannot become a path below a folder, empty where it can. Parts are divided by `/`."""
    if not name or len(name) > MAX_NAME:
        return f"has {len(name):,} letters"
    if any(ord(letter) < 32 or letter in '\\\x7f:*?"<>|' for letter in name):
        return "has a letter that paths do not have everywhere"
    if name.startswith("/") or _DRIVE.match(name):
        return "is absolute"
    for part in name.split("/"):
        if part in ("", ".", "..") or part != part.rstrip(" .") or _DEVICES.fullmatch(part):
            return f"has the part '{part}'"
        if len(part.encode("utf-8", "surrogatepass")) > MAX_PART:
            return "has a part that is too long"
        if any(0xD800 <= ord(letter) <= 0xDFFF for letter in part):
            return "is no Unicode"
    return ""
