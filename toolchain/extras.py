"""Packages of extras, imported when they are needed, and kept from chatting."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from toolchain.errors import EnvironmentFault


def need(name: str, extra: str, place: str) -> Any:
    """A module of an extra. place: what needs it. Raises EnvironmentFault E404 where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as fault:
        package = name.partition(".")[0]
        hint = f"pip install 'strop[{extra}]'"
        raise EnvironmentFault(404, place, f"the package '{package}' is not installed", hint) from fault


@contextmanager
def quiet_stderr(log: list[str]) -> Generator[None]:
    """Collect what C code writes to standard error into `log` instead of showing it."""
    with tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        try:
            os.dup2(sink.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            log.append(sink.read().decode("utf-8", errors="replace"))
