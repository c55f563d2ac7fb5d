"""The network as inline SVG: layers from left to right, line by line like a text, with what each takes of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from toolchain.ir.graph import Graph, Node, Value

WIDTH, MARGIN = 1080, 22
PER_LINE = 7
BOX_WIDTH, BOX_HEIGHT = 112, 46
LANE, THIN_LANE = 58, 16
LINE_GAP = 34
LETTERS = 17
FAMILIES = {
    "conv_2d": "conv",
    "depthwise_conv_2d": "depthwise",
    "fully_connected": "dense",
    "matmul": "dense",
    "add": "join",
    "concat": "join",
    "mul": "join",
}


@dataclass(slots=True)
class _Spot:
    """A place in a column: of a node, or of a value that only passes by. x, y: its left edge and middle."""

    node: int | None
    x: float = 0.0
    y: float = 0.0


def graph_picture(graph: Graph, shares: Mapping[str, float]) -> str:
    """The picture. shares: of the latency, 0 to 1, by the name of a node's first output."""
    layout = _Layout(graph)
    edges = [layout.edge(source, user, value) for source, user, value in layout.links]
    boxes = [layout.box(index, node, shares.get(node.outputs[0].name)) for index, node in enumerate(graph.nodes)]
    title = f"Graph of {len(graph.nodes)} operations"
    shape = f'class="graph" viewBox="0 0 {WIDTH} {layout.height:.0f}" role="group" aria-label="{title}"'
    return f"<svg {shape}>{''.join(edges)}{''.join(boxes)}</svg>"


class _Layout:
    """Columns by the longest way from an input; a value that skips columns has a lane of its own in each of them."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        made = {value.name: index for index, node in enumerate(graph.nodes) for value in node.outputs}
        self.links = [
            (made[value.name], index, value)
            for index, node in enumerate(graph.nodes)
            for value in node.inputs
            if value.name in made
        ]
        self.ranks = self._ranks()
        self.passing: dict[tuple[int, int], list[_Spot]] = {}
        self.columns = self._columns()
        self.height = self._place()

    def _ranks(self) -> list[int]:
        ranks = [0] * len(self.nodes)
        for source, user, _ in self.links:
            ranks[user] = max(ranks[user], ranks[source] + 1)
        return ranks

    def _columns(self) -> list[list[_Spot]]:
        """Nodes of every rank, then the lanes of values that pass it; a value has one lane, however many read it."""
        columns: list[list[_Spot]] = [[] for _ in range(max(self.ranks, default=0) + 1)]
        self.spots = [_Spot(index) for index in range(len(self.nodes))]
        for spot, rank in zip(self.spots, self.ranks, strict=True):
            columns[rank].append(spot)
        lanes: dict[tuple[str, int], _Spot] = {}
        for source, user, value in self.links:
            way: list[_Spot] = []
            for rank in range(self.ranks[source] + 1, self.ranks[user]):
                if (value.name, rank) not in lanes:
                    lanes[value.name, rank] = _Spot(None)
                    columns[rank].append(lanes[value.name, rank])
                way.append(lanes[value.name, rank])
            self.passing[source, user] = way
        return columns

    def _place(self) -> float:
        """Give every spot its place; returns the height."""
        pitch = (WIDTH - 2 * MARGIN - BOX_WIDTH) / (PER_LINE - 1)
        top = float(MARGIN)
        for first in range(0, len(self.columns), PER_LINE):
            line = self.columns[first : first + PER_LINE]
            for index, column in enumerate(line):
                y = top
                for spot in column:
                    high = THIN_LANE if spot.node is None else LANE
                    spot.x, spot.y = MARGIN + index * pitch, y + high / 2
                    y += high
            top += max(sum(THIN_LANE if spot.node is None else LANE for spot in column) for column in line) + LINE_GAP
        return top - LINE_GAP + MARGIN

    def edge(self, source: int, user: int, value: Value) -> str:
        """The way of a value from the node that makes it to one that reads it."""
        spots = [self.spots[source], *self.passing[source, user], self.spots[user]]
        path = f"M{spots[0].x + BOX_WIDTH:.1f} {spots[0].y:.1f}"
        for one, other in pairwise(spots):
            path += self._step(one, other)
        note = f"{value.name.partition(';')[0]}: {_shape(value)}, {value.type.bytes:,} B"
        return f'<path class="wire" d="{path}"><title>{escape(note)}</title></path>'

    def _step(self, one: _Spot, other: _Spot) -> str:
        """From the right of a spot to the left of the next one, and through a lane to its other end."""
        x, end = one.x + BOX_WIDTH, other.x
        onward = f"H{other.x + BOX_WIDTH:.1f}" if other.node is None else ""
        if end > x:
            middle = (x + end) / 2
            return f"C{middle:.1f} {one.y:.1f} {middle:.1f} {other.y:.1f} {end:.1f} {other.y:.1f}{onward}"
        right, left = WIDTH - MARGIN / 2, MARGIN / 2
        between = min(spot.y for spot in self.columns[self._rank_of(other)]) - LANE / 2 - LINE_GAP / 2
        down = f"H{right:.1f}V{between:.1f}H{left:.1f}V{other.y:.1f}"
        return f"{down}H{end:.1f}{onward}"

    def _rank_of(self, spot: _Spot) -> int:
        return next(rank for rank, column in enumerate(self.columns) if any(each is spot for each in column))

    def box(self, index: int, node: Node, share: float | None) -> str:
        """A node: its operation, the shape of its output, and a bar of its share."""
        spot, output = self.spots[index], node.outputs[0]
        x, y = spot.x, spot.y - BOX_HEIGHT / 2
        told = "" if share is None else f", {share:.1%} of the time"
        note = f"{output.name.partition(';')[0]}: {node.op}, {_shape(output)} {output.type.dtype}{told}"
        bar = (
            ""
            if share is None
            else f'<rect class="share" x="{x}" y="{y + BOX_HEIGHT - 5:.1f}" width="{BOX_WIDTH * share:.1f}" height="5"/>'
        )
        percent = "" if share is None else f" · {share:.0%}"
        lines = (
            f'<text class="op" x="{x + 7:.1f}" y="{y + 17:.1f}">{escape(_cut(node.op.removesuffix("_2d")))}</text>'
            f'<text x="{x + 7:.1f}" y="{y + 33:.1f}">{escape(_cut(_shape(output) + percent))}</text>'
        )
        family = FAMILIES.get(node.op, "other")
        frame = f'<rect class="node {family}" x="{x:.1f}" y="{y:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5"/>'
        return f'<g class="box" data-layer="{escape(output.name)}"><title>{escape(note)}</title>{frame}{bar}{lines}</g>'


def _shape(value: Value) -> str:
    shape: Sequence[int] = value.type.shape
    return "×".join(map(str, shape[1:] if len(shape) > 1 and shape[0] == 1 else shape)) or "scalar"


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
