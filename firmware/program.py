"""The C program of a bundle, as the builder needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Interface = Literal["arena", "caller", "rows"]


@dataclass(frozen=True, slots=True)
class CProgram:
    """Generated C with its entry points `<name>_init`, `_input_<i>`, `_run`, `_output_<i>`.

    root: the bundle's folder; header, sources and include_dirs are relative to it. cflags: optimisation flags only.
    arena_bytes, arena_align: the RAM the caller gives. input_bytes, output_bytes: size of every input and output buffer.
    io: `caller` programs have no `_input_<i>` and `_output_<i>`; `_run` takes pointers to all of them behind the arena.
    further: memory and bytes of each arena that `_init` takes behind the first one.
    `rows` programs have `_push_row` instead of `_run`, and `_input_0` is the place of the next of input_rows rows.
    """

    name: str
    root: Path
    header: str
    sources: tuple[str, ...]
    include_dirs: tuple[str, ...]
    cflags: tuple[str, ...]
    arena_bytes: int
    arena_align: int
    input_bytes: tuple[int, ...]
    output_bytes: tuple[int, ...]
    io: Interface = "arena"
    input_rows: int = 0
    further: tuple[tuple[str, int], ...] = ()

    @property
    def ram_bytes(self) -> int:
        """Bytes of all arenas."""
        return self.arena_bytes + sum(size for _, size in self.further)

    @property
    def outside_bytes(self) -> int:
        """Bytes of inputs and outputs that lie outside the arena, each filled up to 16."""
        owned = {"arena": (), "caller": (*self.input_bytes, *self.output_bytes), "rows": self.input_bytes}[self.io]
        return sum(max(-(-size // 16), 1) * 16 for size in owned)
