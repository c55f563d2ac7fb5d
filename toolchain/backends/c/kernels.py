"""Reads kernel sources: the ISA folders overlay the portable one under the same file names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

_INCLUDE = re.compile(r'^#include "([a-z0-9_]+\.h)"$', re.MULTILINE)


def kernel_sources(headers: Iterable[str], folders: tuple[str, ...]) -> dict[str, str]:
    """Texts of the headers and of all they include, by file name, each from the first folder that has it."""
    found: dict[str, str] = {}
    waiting = list(headers)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _read(name, folders)
            waiting += _INCLUDE.findall(found[name])
    return dict(sorted(found.items()))


def _read(name: str, folders: tuple[str, ...]) -> str:
    root = files("firmware").joinpath("kernels")
    for folder in folders:
        source = root.joinpath(folder, name)
        if source.is_file():
            return source.read_text("utf-8")
    raise FileNotFoundError(f"no kernel folder of {folders} has {name}")
