"""Pictures of a report as inline SVG. Colours are classes of `style.css`, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from toolchain.bundle.manifest import Buffer, Manifest

WIDTH, HEIGHT = 760, 260
LEFT, BOTTOM, TOP = 70, 30, 10
COLOURS = 8
MIN_LABEL_WIDTH, MIN_LABEL_HEIGHT = 46, 14
LABEL_PIXELS_PER_LETTER = 6.2
GRID_LINES = 4


def memory_picture(manifest: Manifest) -> str:
    """Arena offsets (up) over the steps of one inference (right): one box per buffer, and a line of the bytes that live."""
    if not manifest.buffers or manifest.ram is None or manifest.ram.arena_bytes == 0:
        return ""
    steps = max(buffer.last for buffer in manifest.buffers) + 1
    arena = manifest.ram.arena_bytes
    step_width = (WIDTH - LEFT - 10) / steps
    scale = (HEIGHT - BOTTOM - TOP) / arena
    labels = {layer.name: f"{index} {layer.op}" for index, layer in enumerate(manifest.layers, 1)}
    boxes = (_box(b, labels.get(b.name, b.name), i, step_width, scale) for i, b in enumerate(manifest.buffers))
    parts = [_grid(arena, scale), *boxes]
    parts.append(_live_line(manifest.buffers, steps, step_width, scale))
    parts.append(_step_axis(steps, step_width))
    title = f"Arena of {manifest.name}: {arena:,} bytes over {steps} steps"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def bar(share: float, text: str) -> str:
    """A horizontal bar of 0 to 1 with a text after it, for a table cell."""
    return f'<span class="bar"><span style="width:{max(0.0, min(1.0, share)) * 100:.1f}%"></span></span>{escape(text)}'


def _y(offset: float, scale: float) -> float:
    return HEIGHT - BOTTOM - offset * scale


def _grid(arena: int, scale: float) -> str:
    lines: list[str] = []
    for index in range(GRID_LINES + 1):
        offset = arena * index / GRID_LINES
        y = _y(offset, scale)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text class="axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{round(offset):,}</text>')
    return "".join(lines)


def _box(buffer: Buffer, label: str, index: int, step_width: float, scale: float) -> str:
    x, width = LEFT + buffer.first * step_width, (buffer.last - buffer.first + 1) * step_width
    y, height = _y(buffer.offset + buffer.bytes, scale), buffer.bytes * scale
    note = f"{buffer.name}: {buffer.bytes:,} B at {buffer.offset:,}, steps {buffer.first} to {buffer.last}"
    shape = f'<rect class="c{index % COLOURS}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 1):.1f}"/>'
    text = ""
    if width >= MIN_LABEL_WIDTH and height >= MIN_LABEL_HEIGHT:
        fitted = escape(_fit(label, int((width - 6) / LABEL_PIXELS_PER_LETTER)))
        place = f'x="{x + width / 2:.1f}" y="{y + height / 2 + 4:.1f}"'
        text = f'<text class="label" {place} text-anchor="middle">{fitted}</text>'
    return f"<g><title>{escape(note)}</title>{shape}{text}</g>"


def _live_line(buffers: Sequence[Buffer], steps: int, step_width: float, scale: float) -> str:
    points: list[str] = []
    for step in range(steps):
        y = _y(sum(b.bytes for b in buffers if b.first <= step <= b.last), scale)
        points += [f"{LEFT + step * step_width:.1f},{y:.1f}", f"{LEFT + (step + 1) * step_width:.1f},{y:.1f}"]
    return f'<polyline class="live" points="{" ".join(points)}"/>'


def _step_axis(steps: int, step_width: float) -> str:
    every = max(1, -(-steps // 24))
    names = ("in" if s == 0 else "out" if s == steps - 1 else str(s) for s in range(steps))
    return "".join(
        f'<text class="axis" x="{LEFT + (step + 0.5) * step_width:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{name}</text>'
        for step, name in enumerate(names)
        if step % every == 0 or step == steps - 1
    )


def _fit(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
