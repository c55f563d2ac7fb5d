from __future__ import annotations
from dataclasses import dataclass
@dataclass(frozen=True, slots=True)
class Item:
    name: str
    bytes: int
    first: int
    last: int
    lowest: int = 0
    highest: int | None = None
