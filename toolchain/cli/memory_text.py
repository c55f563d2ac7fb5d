"""The arena over the layers of one inference in block characters, and what fills it where most is alive."""

from __future__ import annotations

from toolchain.api.memory_map import KINDS, MemoryMap
from toolchain.bundle.manifest import Buffer
from toolchain.cli.answer import table

ROWS, MARGIN, COLUMNS, LAYER_COLUMNS = 16, 10, 98, 8
LABEL_EVERY = 4
LARGEST, NAME_WIDTH = 6, 44
EMPTY = "·"
GLYPHS = {"input": "▒▒", "activation": "█▓", "rows": "▞▚", "scratch": "░░", "output": "▣▣", "constant": "▤▥"}
"""Two of each kind, so that neighbours differ."""


def memory_text(found: MemoryMap) -> str:
    """A picture of at most 100 columns, addresses up and layers to the right; then the largest buffers at the peak."""
    scale = min((COLUMNS - MARGIN) / found.width, LAYER_COLUMNS)
    grid = _grid(found, scale)
    lines = [_line(found, row, cells) for row, cells in enumerate(grid)]
    own = {buffer.kind for buffer in found.buffers}
    key = "  ".join(f"{GLYPHS[kind]} {kind}" for kind in KINDS if kind in own)
    banks = [f"From the bottom: {', '.join(f'{name} {first:,} to {end:,}' for name, first, end in found.banks)}"]
    foot = [*(banks if found.banks else ()), "", _largest(found)]
    return "\n".join([f"Memory over time: {key}", _peak_line(found, scale), *lines, _axis(found, scale), *foot])


def _grid(found: MemoryMap, scale: float) -> list[list[str]]:
    """The cells, the highest addresses first: who needs the middle of each, and the number of its layer where there is room."""
    columns, high = int(found.width * scale), found.arena_bytes / ROWS
    cells: list[list[str]] = [[EMPTY] * columns for _ in range(ROWS)]
    for index, buffer in found.ordered():
        touched: list[tuple[int, int]] = []
        for block in found.blocks(buffer):
            rows = range(_middle(block.first_byte / high), _middle(block.end_byte / high))
            touched += [(r, c) for r in rows for c in range(_middle(block.x * scale), _middle(block.x_end * scale))]
        for row, column in touched:
            cells[ROWS - 1 - row][column] = GLYPHS[buffer.kind][index % 2]
        _number(cells, touched, _number_of(found, buffer))
    return cells


def _middle(at: float) -> int:
    """The first cell whose middle is not before a place."""
    return int(at + 0.5)


def _number_of(found: MemoryMap, buffer: Buffer) -> str:
    number = found.label(buffer).partition(" ")[0]
    return number if number.isdigit() else ""


def _number(cells: list[list[str]], touched: list[tuple[int, int]], number: str) -> None:
    """Write a number into the top left cells of a buffer, where all of its digits fit."""
    if not touched:
        return
    top = max(row for row, _ in touched)
    left = min(column for row, column in touched if row == top)
    if all((top, left + place) in touched for place in range(len(number) + 1)):
        cells[ROWS - 1 - top][left : left + len(number)] = list(number)


def _line(found: MemoryMap, row: int, cells: list[str]) -> str:
    address = round(found.arena_bytes * (ROWS - row) / ROWS)
    label = f"{address:>{MARGIN - 2},} " if row % LABEL_EVERY == 0 else " " * (MARGIN - 1)
    return f"{label}│{''.join(cells)}"


def _peak_line(found: MemoryMap, scale: float) -> str:
    """The mark above the column of the peak."""
    column = MARGIN + int(found.peak_x() * scale)
    text = f"peak {max(found.alive):,} B"
    return f"{' ' * column}▼ {text}" if column + len(text) + 2 <= COLUMNS else f"{' ' * (column - len(text) - 1)}{text} ▼"


def _axis(found: MemoryMap, scale: float) -> str:
    """The numbers of the layers under the picture, those of a segment that runs row by row as a span."""
    line = [" "] * (int(found.width * scale) + 1)
    for stage in found.stages:
        left, room = int(stage.x * scale), int((stage.x + stage.width) * scale) - int(stage.x * scale)
        numbers = "–".join(dict.fromkeys((str(stage.layers[0]), str(stage.layers[-1])))) if stage.layers else ""
        if len(numbers) < max(room, 2) and (left == 0 or line[left - 1] == " "):
            line[left : left + len(numbers)] = list(numbers)
    return f"{'layer':>{MARGIN - 1}} {''.join(line)}".rstrip()


def _largest(found: MemoryMap) -> str:
    """The largest buffers at the peak."""
    step = found.peak_step
    rows = [
        (size, buffer.kind, found.label(buffer), f"{buffer.offset:,}", buffer.name.partition(";")[0][:NAME_WIDTH])
        for buffer, size in found.largest(step)[:LARGEST]
    ]
    return f"At the peak, in {found.where(step)}:\n{table(('bytes', 'kind', 'of layer', 'at', 'buffer'), rows)}"
