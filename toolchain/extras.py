"""Packages of extras, imported when they are needed."""

from __future__ import annotations

import importlib
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
