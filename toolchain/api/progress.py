"""How long work tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """`progress(stage, done, total)`; a total of 0 means that nobody knows how much is left."""

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Take the news; a new stage ends the one before."""
        ...


def silent(stage: str, done: int = 0, total: int = 0) -> None:
    """Progress that is not shown."""
