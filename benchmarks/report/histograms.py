"""Pictures of what quantization does to layers, as inline SVG: shares of the loss, and histograms in float and as stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from calibration.debugger.findings import LayerFinding

BAR_WIDTH, BAR_HEIGHT = 1080, 30
LETTER_WIDTH = 6.1
WIDTH, HEIGHT = 348, 150
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 36, 20
NAME_LETTERS = 34
LEAST_SHARE = 0.005
TINTS = 6


def shares_bar(layers: Sequence[LayerFinding]) -> str:
    """One bar of the whole loss, divided among the layers, most costly first; empty without any loss."""
    shown = [layer for layer in layers if layer.share >= LEAST_SHARE]
    rest = 1.0 - sum(layer.share for layer in shown)
    if not shown:
        return ""
    parts: list[str] = []
    x = 0.0
    pieces = [(f"{_short(layer.name)} {layer.share:.0%}", layer.share, f"s{i % TINTS}") for i, layer in enumerate(shown)]
    for text, share, kind in [*pieces, *([(f"others {rest:.0%}", rest, "rest")] if rest > LEAST_SHARE else [])]:
        width = share * BAR_WIDTH
        label = next((each for each in (text, text.rpartition(" ")[2]) if len(each) * LETTER_WIDTH + 8 < width), "")
        written = f'<text class="label" x="{x + 5:.1f}" y="{BAR_HEIGHT / 2 + 4:.1f}">{escape(label)}</text>' if label else ""
        box = f'<rect class="{kind}" x="{x:.1f}" y="0" width="{width:.1f}" height="{BAR_HEIGHT}"/>'
        parts.append(f"<g><title>{escape(text)}</title>{box}{written}</g>")
        x += width
    shape = f'class="shares" viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" role="img" aria-label="Shares of the loss by layer"'
    return f"<svg {shape}>{''.join(parts)}</svg>"


def histogram(layer: LayerFinding) -> str:
    """One layer's output: float as an area, stored as a line, the ends of what can be stored dashed; counts logarithmic."""
    bars = layer.histogram
    count = len(bars.real)
    across, floor = (WIDTH - LEFT - RIGHT) / count, HEIGHT - BOTTOM
    top = math.log1p(max(*bars.real, *bars.quantized, 1))
    up = (floor - TOP) / top
    tops = [[floor - math.log1p(taken) * up for taken in counts] for counts in (bars.real, bars.quantized)]
    area = f"M{LEFT} {floor}" + "".join(f"V{y:.1f}H{LEFT + (i + 1) * across:.1f}" for i, y in enumerate(tops[0])) + f"V{floor}z"
    line = f"M{LEFT} {tops[1][0]:.1f}" + "".join(f"V{y:.1f}H{LEFT + (i + 1) * across:.1f}" for i, y in enumerate(tops[1]))
    ends = [
        f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 2}" y2="{floor}"/>'
        for x in (LEFT + (end - bars.low) / bars.width * across for end in (bars.range_low, bars.range_high))
    ]
    own = "" if layer.own_sqnr_db is None else f", own SQNR {layer.own_sqnr_db:.1f} dB"
    clipped = layer.clipped_low + layer.clipped_high
    facts = f"{layer.share:.1%} of the loss{own}, clipped {clipped:.2%}"
    title = f"{_short(layer.name)} · {layer.op}"
    parts = [
        f'<path class="real" d="{area}"/><path class="stored" d="{line}"/>',
        *ends,
        _text("note", LEFT, 14, title, "start"),
        _text("axis", LEFT, 27, facts, "start"),
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>',
        *_axis(bars.low, bars.low + count * bars.width, bars.width, across),
    ]
    shape = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: {escape(facts)}"'
    return f"<svg {shape}><title>{escape(layer.name)}</title>{''.join(parts)}</svg>"


def _axis(low: float, high: float, width: float, across: float) -> list[str]:
    """Ends of the picture, and zero where it is not near one of them."""
    y, zero = HEIGHT - BOTTOM + 14, LEFT - low / width * across
    marks = [_text("axis", LEFT, y, f"{low:.3g}", "start"), _text("axis", WIDTH - RIGHT, y, f"{high:.3g}", "end")]
    if LEFT + 50 < zero < WIDTH - RIGHT - 50:
        marks.append(_text("axis", zero, y, "0", "middle"))
        marks.append(f'<line class="grid" x1="{zero:.1f}" x2="{zero:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 4}"/>')
    return marks


def _short(name: str) -> str:
    first = name.partition(";")[0]
    return first if len(first) <= NAME_LETTERS else f"…{first[1 - NAME_LETTERS :]}"


def _text(kind: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
