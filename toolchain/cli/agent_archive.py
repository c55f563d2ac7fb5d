"""Writes the agent as one file that a board's Python runs by itself."""

from __future__ import annotations

import importlib.resources
import io
import zipfile
from importlib.resources.abc import Traversable
from pathlib import Path

from toolchain.errors import RunError

# Folders whose modules the agent is made of, and what lies above them.
FOLDERS = ("toolchain/agent", "runtimes/onboard", "benchmarks/fleet", "benchmarks/telemetry", "benchmarks/telemetry/elastic")
ENDINGS = (".py", ".json")
MODULES = (
    "toolchain/__init__.py",
    "toolchain/errors.py",
    "runtimes/__init__.py",
    "benchmarks/__init__.py",
    "firmware/__init__.py",
    "firmware/update/__init__.py",
    "firmware/update/keys.py",
    "firmware/update/known.py",
)
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = '''"""The agent of Strop {version}."""

import sys

from toolchain.agent.alone import main

sys.exit(main("{version}"))
'''


def archive(version: str) -> bytes:
    """A zip of the agent's modules that Python runs as a program; equal modules give equal bytes."""
    parts = (f"{folder}/{entry.name}" for folder in FOLDERS for entry in _file(folder).iterdir() if entry.name.endswith(ENDINGS))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in sorted({*MODULES, *parts}):
            zipped.writestr(zipfile.ZipInfo(name), _file(name).read_bytes(), zipfile.ZIP_DEFLATED)
        zipped.writestr(zipfile.ZipInfo("__main__.py"), MAIN.format(version=version), zipfile.ZIP_DEFLATED)
    return SHEBANG + stream.getvalue()


def write_archive(path: Path, version: str) -> None:
    """Write the archive as a program. Raises RunError(505)."""
    try:
        path.write_bytes(archive(version))
        path.chmod(0o755)
    except OSError as fault:
        raise RunError(505, str(path), f"it cannot be written: {fault.strerror}", "Name another file with --export") from fault


def _file(name: str) -> Traversable:
    package, *parts = name.split("/")
    return importlib.resources.files(package).joinpath(*parts)
