"""Units of work of the Helium (MVE) depthwise convolutions, and what they take by construction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.conv_mve_plan import is_signed

BLOCK = 4
WINDOW = 4
BAND_BYTES = 2048
BAND_SHARE = 8
COLUMN_BYTES = 16


@dataclass(frozen=True, slots=True)
class Windows:
    """How depthwise_windows_mve.h walks a layer. columns: of the input that windows use. pitch: columns of the scratch.

    band: output rows gathered at once.
    """

    columns: int
    pitch: int
    band: int


def plan_windows(node: Node) -> Windows:
    """The plan of a depthwise convolution; odd rows are paired, so that bands of them are even."""
    attrs: ConvAttrs = node.attrs
    x, w, (_, out_h, out_w, _) = node.inputs[0].type, node.inputs[1].type.shape, node.output.type.shape
    stride, left = attrs.stride[1], attrs.padding[2]
    columns = min(x.shape[2], (out_w - 1) * stride + w[2] - left)
    pitch = max((out_w - 1) * stride + WINDOW, left + max(columns, WINDOW))
    room = max(BAND_BYTES, (x.elements + node.output.type.elements) // BAND_SHARE)
    most = max(1, room // (COLUMN_BYTES * pitch))
    band = -(-out_h // -(-out_h // most))
    even = -(-band // 2) * 2
    return Windows(columns, pitch, even if out_w % 2 == 1 and even <= max(most, 2) and band < out_h else band)


WINDOWS_PRIOR: Mapping[str, float] = {
    "pair": 45,
    "away": 4,
    "bounded": 3,
    "run": 25,
    "run_row": 14,
    "stored": 6,
    "loaded": 5,
    "unaligned": 6,
    "turn": 20,
    "block": 45,
    "cleared": 4,
    "call": 40,
}
"""pair: two pixels of four channels; away, bounded: those rounded away from zero and those clamped. run_row: a row of pairs.
stored, loaded: rows of four window columns and of the input's four. turn: four columns. block: four channels of a band."""


def _pairs(rows: int, width: int) -> tuple[int, int, int]:
    """Pairs, rows of pairs and runs of `rows` rows of outputs."""
    below = rows // 2 if width % 2 else 0
    left = rows - 2 * below
    pairs, lines, runs = below * width, below, int(below > 0)
    if left > 0 and width > 1:
        pairs, lines, runs = pairs + left * (width // 2), lines + left, runs + 1
    odd = int(left > 0 and width % 2 == 1)
    return pairs + odd, lines + odd, runs + odd


def _windows_units(_graph: Graph, node: Node) -> Work:
    attrs: ConvAttrs = node.attrs
    (images, in_h, _, channels), (_, k_h, _, _) = node.inputs[0].type.shape, node.inputs[1].type.shape
    _, out_h, out_w, _ = node.output.type.shape
    plan, stride = plan_windows(node), attrs.stride[0]
    blocks, turns, before = images * -(-channels // BLOCK), -(-plan.columns // WINDOW), max(k_h - stride, 0)
    pairs = lines = runs = loaded = inside = bands = 0
    for oy in range(0, out_h, plan.band):
        rows = min(plan.band, out_h - oy)
        more = _pairs(rows, out_w)
        pairs, lines, runs, bands = pairs + more[0], lines + more[1], runs + more[2], bands + 1
        first = oy * stride - attrs.padding[0] + k_h - stride - before
        count = before + rows * stride
        loaded += count
        inside += max(0, min(first + count, in_h) - max(first, 0))
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    bounded = is_signed(node) or (low, high) != node.output.type.dtype.limits
    return {
        "pair": blocks * pairs,
        "away": blocks * pairs if is_signed(node) else 0,
        "bounded": blocks * pairs if bounded else 0,
        "run": blocks * runs,
        "run_row": blocks * lines,
        "stored": blocks * turns * out_h,
        "loaded": blocks * turns * loaded,
        "unaligned": blocks * turns * inside if channels % BLOCK else 0,
        "turn": blocks * turns * bands,
        "block": blocks * bands,
        "cleared": plan.band * plan.pitch + blocks * out_h * max(0, WINDOW - plan.columns),
        "call": 1,
    }


TAPS_PRIOR: Mapping[str, float] = {"tap": 9, "row": 11.5, "block": 42, "pixel": 21, "call": 45}
"""tap: of four channels, inside the input; row: of taps; block: four outputs."""


def _inside(taps: int, stride: int, dilation: int, before: int, size: int, outputs: int) -> int:
    """Taps of all outputs along one dimension that lie inside the input."""
    starts = [output * stride - before for output in range(outputs)]
    return sum(0 <= start + tap * dilation < size for start in starts for tap in range(taps))


def _taps_units(_graph: Graph, node: Node) -> Work:
    attrs: ConvAttrs = node.attrs
    x, w, y = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type.shape
    tall = _inside(w[1], attrs.stride[0], attrs.dilation[0], attrs.padding[0], x[1], y[1])
    wide = _inside(w[2], attrs.stride[1], attrs.dilation[1], attrs.padding[2], x[2], y[2])
    blocks, pixels = -(-x[3] // BLOCK), x[0] * y[1] * y[2]
    taps, rows = x[0] * blocks * tall * wide, x[0] * blocks * tall * y[2]
    return {"tap": taps, "row": rows, "block": blocks * pixels, "pixel": pixels, "call": 1}


WINDOWS_COST = Cost(_windows_units, WINDOWS_PRIOR)
TAPS_COST = Cost(_taps_units, TAPS_PRIOR)
