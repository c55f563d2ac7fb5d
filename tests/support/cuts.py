"""Test support: a process that ends at one of its renames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest


@contextmanager
def cut_at_rename(number: int) -> Iterator[list[bool]]:
    """What the block does ends at its rename of that number, quietly. Gives a list that holds True once it has."""
    real, numbers, cut = os.replace, count(1), list[bool]()

    def replace(source: Any, target: Any) -> None:
        if next(numbers) == number:
            cut.append(True)
            raise KeyboardInterrupt
        real(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        try:
            yield cut
        except KeyboardInterrupt:
            assert cut
