"""Packages of the extras `loop` and `explain`, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from toolchain.errors import EnvironmentFault


def need(name: str, extra: str) -> Any:
    """A module of an extra. Raises EnvironmentFault E404 where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as fault:
        package = name.partition(".")[0]
        raise EnvironmentFault(
            404, "strop loop", f"the package '{package}' is not installed", f"pip install 'strop[{extra}]'"
        ) from fault
