"""Packages of the extras `loop` and `explain`, imported when they are needed."""

from __future__ import annotations

from typing import Any

from toolchain import extras


def need(name: str, extra: str) -> Any:
    """A module of an extra. Raises EnvironmentFault E404 where it is not installed."""
    return extras.need(name, extra, "strop loop")
