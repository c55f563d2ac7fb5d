"""Pictures of a report as inline SVG. Colours are classes of `style.css`, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from toolchain.api.memory_map import KINDS, MemoryMap, Stage, memory_map
from toolchain.bundle.manifest import Buffer, Manifest

WIDTH, LEFT, RIGHT = 1080, 66, 14
STRIP_TOP, STRIP_HEIGHT = 26, 44
ARENA_TOP, ARENA_HEIGHT = 84, 320
AXIS_HEIGHT, ROWS_HEIGHT = 24, 20
TINTS = 3
MIN_LABEL_WIDTH, MIN_LABEL_HEIGHT = 30, 13
LETTER_WIDTH = 6.1
MEMORY_SHOWN = 1.6
"""The memory's size, or a limit, is drawn where it is at most so many times the arena."""
GAP_CLOSED = 1.5
"""Pixels between two blocks of the same bytes that are drawn as one."""
WORDS = {
    "input": "inputs",
    "activation": "activations",
    "rows": "rows of tensors never whole",
    "scratch": "scratch",
    "output": "outputs",
    "constant": "copied weights",
}


def memory_picture(manifest: Manifest) -> str:
    """Who lives where in the arena over the layers of one inference, and the bytes alive; empty without a memory plan."""
    found = memory_map(manifest)
    return "" if found is None else _Picture(found).svg()


def memory_legend(manifest: Manifest) -> str:
    """What the colours mean, as HTML: the kinds of buffers that the bundle has."""
    own = {buffer.kind for buffer in manifest.buffers}
    items = (f'<span><i class="{kind} t0"></i>{WORDS[kind]}</span>' for kind in KINDS if kind in own)
    return f'<p class="legend">{"".join(items)}</p>'


def bar(share: float, text: str) -> str:
    """A horizontal bar of 0 to 1 with a text after it, for a table cell."""
    return f'<span class="bar"><span style="width:{max(0.0, min(1.0, share)) * 100:.1f}%"></span></span>{escape(text)}'


class _Picture:
    """The parts of the picture. Axes: layers to the right, addresses up; above them the bytes alive."""

    def __init__(self, found: MemoryMap) -> None:
        self.map = found
        self.across = (WIDTH - LEFT - RIGHT) / found.width
        lines = [size for size in (found.memory_bytes, found.limit_bytes) if size and size <= MEMORY_SHOWN * found.arena_bytes]
        self.top_bytes = max(found.arena_bytes, *lines) if lines else found.arena_bytes
        self.up = ARENA_HEIGHT / self.top_bytes

    def svg(self) -> str:
        """The whole picture."""
        found = self.map
        parts = [
            self._grid(),
            *map(self._bracket, found.stages),
            *(self._buffer(index, buffer) for index, buffer in found.ordered()),
            self._strip(),
            *self._lines(),
            self._peak(),
        ]
        title = f"Arena of {found.name}: {found.arena_bytes:,} bytes over {len(found.layers)} layers"
        streamed = any(stage.by_rows for stage in found.stages)
        height = ARENA_TOP + ARENA_HEIGHT + AXIS_HEIGHT + (ROWS_HEIGHT if streamed else 0)
        shape = f'class="memory" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"'
        return f"<svg {shape}>{''.join(parts)}</svg>"

    def _x(self, at: float) -> float:
        return LEFT + at * self.across

    def _y(self, offset: float) -> float:
        return ARENA_TOP + ARENA_HEIGHT - offset * self.up

    def _grid(self) -> str:
        """Addresses at round numbers, and the two headings."""
        parts: list[str] = []
        step = round_step(self.top_bytes)
        for offset in range(0, self.top_bytes + 1, step):
            y = self._y(offset)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="axis" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{offset:,}</text>')
        parts.append(
            f'<text class="axis" x="{LEFT - 7}" y="{STRIP_TOP + STRIP_HEIGHT / 2 + 4:.1f}" text-anchor="end">alive</text>'
        )
        return "".join(parts)

    def _bracket(self, stage: Stage) -> str:
        """A stage under the time axis: the number of its layer, or a bar for layers that run row by row together."""
        x, width = self._x(stage.x), stage.width * self.across
        y = ARENA_TOP + ARENA_HEIGHT
        if not stage.layers:
            return _text("axis", x + width / 2, y + 15, "in" if stage.first == 0 else "out")
        numbers = str(stage.layers[0]) if len(stage.layers) == 1 else f"{stage.layers[0]}–{stage.layers[-1]}"
        ops = ", ".join(f"{number} {self.map.layers[number - 1].op}" for number in stage.layers)
        long, streamed = f"layers {numbers} row by row, {stage.last - stage.first + 1} calls", stage.by_rows
        shown = next((text for text in ((long, numbers) if streamed else (numbers,)) if len(text) * LETTER_WIDTH < width + 1), "")
        label = _text("axis", x + width / 2, y + (33 if streamed else 15), shown) if shown else ""
        mark = (
            f'<rect class="streamed" x="{x + 1:.1f}" y="{y + 7}" width="{width - 2:.1f}" height="8" rx="3"/>' if streamed else ""
        )
        edge = f'<line class="stage" x1="{x:.1f}" x2="{x:.1f}" y1="{ARENA_TOP}" y2="{y}"/>'
        return f"<g><title>{escape(ops)}</title>{edge}{mark}{label}</g>"

    def _buffer(self, number: int, buffer: Buffer) -> str:
        """One path of all blocks of a buffer, with its label on the largest."""
        boxes = self._boxes(buffer)
        path = "".join(f"M{x:.4g} {y:.4g}h{w:.3g}v{h:.3g}h-{w:.3g}z" for x, y, w, h in boxes)
        name = buffer.name.partition(";")[0]
        note = f"{name}: {buffer.bytes:,} B of {buffer.kind} at {buffer.offset:,}, steps {buffer.first} to {buffer.last}"
        shape = f'<path class="{buffer.kind} t{number % TINTS}" d="{path}"/>'
        return f"<g><title>{escape(note)}</title>{shape}{self._label(buffer, boxes)}</g>"

    def _boxes(self, buffer: Buffer) -> list[tuple[float, float, float, float]]:
        """x, y, width and height of the blocks of a buffer; those of the same bytes are joined over small gaps."""
        spans: dict[tuple[int, int], list[list[float]]] = {}
        for block in self.map.blocks(buffer):
            rows = spans.setdefault((block.first_byte, block.end_byte), [])
            left, right = self._x(block.x), self._x(block.x_end)
            if rows and left - rows[-1][1] < GAP_CLOSED:
                rows[-1][1] = right
            else:
                rows.append([left, right])
        return [
            (left, self._y(end), right - left, (end - first) * self.up)
            for (first, end), rows in spans.items()
            for left, right in rows
        ]

    def _label(self, buffer: Buffer, boxes: Sequence[tuple[float, float, float, float]]) -> str:
        x, y, width, height = max(boxes, key=lambda box: min(box[2], 200) * min(box[3], 40))
        if width < MIN_LABEL_WIDTH or height < MIN_LABEL_HEIGHT:
            return ""
        text, peak = self.map.label(buffer), self._x(self.map.peak_x())
        for shown, left in ((text, x), (text, max(x, peak)), (text.partition(" ")[0], x)):
            right = left + 4 + len(shown) * LETTER_WIDTH
            if right < x + width and not left < peak < right:
                return _text("label", left + 4, y + min(height / 2 + 4, 14), shown, "start")
        return ""

    def _strip(self) -> str:
        """The bytes alive over time, as an area on its own scale; the most in every pixel."""
        edges = [self._x(edge) for edge in self.map.edges()]
        most: dict[int, int] = {}
        for left, right, taken in zip(edges, edges[1:], self.map.alive, strict=False):
            for pixel in range(int(left), max(int(right), int(left) + 1)):
                most[pixel] = max(most.get(pixel, 0), taken)
        bottom, scale = STRIP_TOP + STRIP_HEIGHT, STRIP_HEIGHT / max(self.map.alive)
        points, last = [f"M{LEFT} {bottom}"], -1
        for pixel, taken in most.items():
            if taken != last:
                points.append(f"H{pixel}V{bottom - taken * scale:.4g}")
            last = taken
        return f'<path class="alive" d="{"".join(points)}H{WIDTH - RIGHT}V{bottom}z"/>'

    def _lines(self) -> list[str]:
        """The lower bound, the memory and the limit, where they are in the picture."""
        found = self.map
        bound = found.lower_bound_bytes if found.lower_bound_bytes != found.arena_bytes else None
        rows = [
            ("bound", bound, "lower bound"),
            (
                "arena",
                found.arena_bytes,
                "arena, the least possible" if found.lower_bound_bytes == found.arena_bytes else "arena",
            ),
            ("limit", None if found.banks else found.memory_bytes, found.memory or "memory"),
            ("limit", found.limit_bytes, "--max-ram"),
        ]
        shown = [(kind, size, name) for kind, size, name in rows if size is not None and size <= self.top_bytes]
        parts = [self._bank(*bank) for bank in found.banks]
        for kind, size, name in shown:
            y = self._y(size)
            parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            below = kind == "bound"
            parts.append(_text("note", WIDTH - RIGHT - 4, y + (12 if below else -4), f"{name} {size:,} B", "end"))
        return parts

    def _bank(self, name: str, first: int, end: int) -> str:
        """Where a memory begins, with its name."""
        y = self._y(first)
        line = f'<line class="bank" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>' if first else ""
        return line + _text("note", LEFT + 4, y - 4, f"{name} {end - first:,} B", "start")

    def _peak(self) -> str:
        """A line through both parts at the step where most is alive."""
        found, x = self.map, self._x(self.map.peak_x())
        text = f"peak {max(found.alive):,} B in {found.where(found.peak_step)}"
        half = len(text) * LETTER_WIDTH / 2
        middle = min(max(x, LEFT + half), WIDTH - RIGHT - half)
        line = f'<line class="peak" x1="{x:.1f}" x2="{x:.1f}" y1="{STRIP_TOP - 6}" y2="{ARENA_TOP + ARENA_HEIGHT}"/>'
        return f"{line}{_text('peak', middle, STRIP_TOP - 11, text)}"


def round_step(most: int) -> int:
    """A power of two of bytes between lines of the grid, of which there are at most nine."""
    step = 1
    while most // step > 8:
        step *= 2
    return step


def _text(kind: str, x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
