"""The arena over one inference as a picture needs it: time in layers, addresses in bytes, and where most is alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from toolchain.bundle.manifest import Buffer, Layer, Manifest, Ram, marks_of
from toolchain.lowering.moves import MOVE

END_WIDTH = MOVE_WIDTH = 0.5
"""Widths of the columns that fill the inputs and read the outputs, and of moves between segments; a layer has 1."""
KINDS = ("input", "activation", "rows", "scratch", "output", "constant")


@dataclass(frozen=True, slots=True)
class Stage:
    """A layer on whole tensors, or the layers of a segment that run row by row together, in time.

    layers: numbers from 1, of the manifest's layers; empty for the filling of the inputs and the reading of the outputs.
    first, last: its steps. x, width: where it is drawn, a layer having a width of 1. by_rows: in a segment.
    """

    layers: tuple[int, ...]
    first: int
    last: int
    x: float
    width: float
    by_rows: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes of the arena that a buffer needs from `x` to `x_end`."""

    x: float
    x_end: float
    first_byte: int
    end_byte: int


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Who lives where. alive: bytes alive at each step. peak_step: the first one at which most are.

    banks: where several memories hold the arena, the name of each and its first byte and end.
    """

    name: str
    arena_bytes: int
    stages: tuple[Stage, ...]
    layers: tuple[Layer, ...]
    buffers: tuple[Buffer, ...]
    alive: tuple[int, ...]
    lower_bound_bytes: int | None
    memory: str | None
    memory_bytes: int | None
    limit_bytes: int | None
    banks: tuple[tuple[str, int, int], ...] = ()

    @property
    def width(self) -> float:
        """The right end of the last stage."""
        return self.stages[-1].x + self.stages[-1].width

    @property
    def peak_step(self) -> int:
        """The first step at which most bytes are alive."""
        return self.alive.index(max(self.alive))

    def stage(self, step: int) -> Stage:
        """The stage of a step."""
        return next(stage for stage in self.stages if stage.first <= step <= stage.last)

    def blocks(self, buffer: Buffer) -> list[Block]:
        """When which of a buffer's bytes are needed."""
        edges = self.edges()
        blocks = buffer.blocks or ((0, buffer.bytes, buffer.first, buffer.last),)
        return [Block(edges[f], edges[t + 1], buffer.offset + a, buffer.offset + b) for a, b, f, t in blocks]

    def edges(self) -> list[float]:
        """Where each step begins, and where the last one ends."""
        found: list[float] = []
        for stage in self.stages:
            steps = stage.last - stage.first + 1
            found += (stage.x + stage.width * index / steps for index in range(steps))
        return [*found, self.width]

    def ordered(self) -> list[tuple[int, Buffer]]:
        """Buffers in the order of drawing, long lives first, each with its number among those of its kind."""
        counts: dict[str, int] = dict.fromkeys(KINDS, 0)
        numbered: list[tuple[int, Buffer]] = []
        for buffer in self.buffers:
            numbered.append((counts[buffer.kind], buffer))
            counts[buffer.kind] += 1
        return sorted(numbered, key=lambda each: each[1].first - each[1].last)

    def largest(self, step: int) -> list[tuple[Buffer, int]]:
        """The buffers alive at a step with their bytes alive then, the largest first."""
        taken = ((buffer, sum(b - a for a, b, f, t in _blocks(buffer) if f <= step <= t)) for buffer in self.buffers)
        return sorted((each for each in taken if each[1]), key=lambda each: -each[1])

    def peak_x(self) -> float:
        """The middle of the peak."""
        edges = self.edges()
        return (edges[self.peak_step] + edges[self.peak_step + 1]) / 2

    def where(self, step: int) -> str:
        """The layer of a step, or the layers that run row by row then, in words."""
        stage = self.stage(step)
        names = [f"{number} {self.layers[number - 1].op}" for number in dict.fromkeys(stage.layers[:1] + stage.layers[-1:])]
        if not names:
            return "the inputs" if step == 0 else "the outputs"
        return f"layer {names[0]}" if len(names) == 1 else f"layers {names[0]} to {names[1]}"

    def _numbers(self) -> dict[str, int]:
        """The number of the layer that makes each tensor, by the tensor's name."""
        return {layer.name: number for number, layer in reversed(list(enumerate(self.layers, 1)))}

    def label(self, buffer: Buffer) -> str:
        """`input`, or the number of the layer that a buffer belongs to with its operation; `3 scratch` for scratch."""
        numbers = self._numbers()
        base = buffer.name if buffer.name in numbers else buffer.name.rpartition("#")[0]
        if base not in numbers:
            return buffer.kind
        number = numbers[base]
        return f"{number} {'scratch' if buffer.kind == 'scratch' else self.layers[number - 1].op}"


def memory_map(manifest: Manifest) -> MemoryMap | None:
    """The map of a bundle's arena, None where the manifest has none."""
    ram, asked = manifest.ram, manifest.asked
    if ram is None or not manifest.buffers or not manifest.layers:
        return None
    stages = _stages(manifest.layers)
    return MemoryMap(
        name=manifest.name,
        arena_bytes=ram.arena_bytes,
        stages=stages,
        layers=manifest.layers,
        buffers=manifest.buffers,
        alive=_alive(manifest.buffers, stages[-1].last + 1),
        lower_bound_bytes=ram.lower_bound_bytes,
        memory=ram.memory,
        memory_bytes=ram.memory_bytes,
        limit_bytes=asked.max_ram_bytes if asked else None,
        banks=_banks(ram),
    )


def _banks(ram: Ram) -> tuple[tuple[str, int, int], ...]:
    if not ram.further:
        return ()
    sizes = [ram.first_bytes, *(arena.bytes for arena in ram.further)]
    names = [ram.memory or "first", *(arena.memory for arena in ram.further)]
    ends = list(accumulate(sizes))
    return tuple(zip(names, [0, *ends[:-1]], ends, strict=True))


def _stages(layers: Sequence[Layer]) -> tuple[Stage, ...]:
    marks = marks_of(layers)
    found = [Stage((), 0, 0, 0.0, END_WIDTH)]
    for mark in range(marks[-1] + 1):
        own = [number for number, other in enumerate(marks, 1) if other == mark]
        before, steps = found[-1], sum(layers[number - 1].steps for number in own)
        by_rows = layers[own[0] - 1].segment is not None
        at = before.x + before.width
        found.append(Stage(tuple(own), before.last + 1, before.last + steps, at, _width(layers, own), by_rows))
    end = found[-1]
    return (*found, Stage((), end.last + 1, end.last + 1, end.x + end.width, END_WIDTH))


def _width(layers: Sequence[Layer], numbers: Sequence[int]) -> float:
    return sum(MOVE_WIDTH if layers[number - 1].op == MOVE else 1.0 for number in numbers)


def _blocks(buffer: Buffer) -> Sequence[tuple[int, ...]]:
    return buffer.blocks or ((0, buffer.bytes, buffer.first, buffer.last),)


def _alive(buffers: Sequence[Buffer], steps: int) -> tuple[int, ...]:
    change = [0] * (steps + 1)
    for buffer in buffers:
        for first_byte, end_byte, first, last in _blocks(buffer):
            change[first] += end_byte - first_byte
            change[last + 1] -= end_byte - first_byte
    return tuple(accumulate(change[:-1]))
