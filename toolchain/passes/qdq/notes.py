"""What was done where a parameter of an already quantized model could not be kept as it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """place: name of the tensor or node. found: what the integer specification does not allow. done: what was done instead."""

    place: str
    found: str
    done: str


class Notes:
    """Notes in the order they were made, each once."""

    def __init__(self) -> None:
        self._made: dict[Note, None] = {}

    def add(self, place: str, found: str, done: str) -> None:
        """Note what was found at a place and what was done."""
        self._made[Note(place, found, done)] = None

    @property
    def made(self) -> tuple[Note, ...]:
        """All notes."""
        return tuple(self._made)
