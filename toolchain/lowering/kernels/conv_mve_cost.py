"""Units of work of the Helium (MVE) convolutions and fully connected layers, and what they take by construction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.conv_mve_plan import LANES, SMALL_COLUMN, Plan, is_signed, plan_conv, plan_rows, rows_of

BLOCK = 4
DENSE_BLOCK = 8
HELD_STEPS = 2

CONV_PRIOR: Mapping[str, float] = {
    "step": 14.5,
    "block": 29,
    "held_step": 12,
    "held_block": 23.5,
    "away": 4,
    "pair": 20,
    "tail": 8,
    "run": 35,
    "moved": 5.5,
    "word": 2,
    "filled": 8,
    "filter_row": 20,
    "word_one": 5,
    "quad": 5,
    "apart_word": 6,
    "apart_row": 40,
    "plain_word": 2,
    "plain_one": 4,
    "plain_row": 8,
    "fill_column": 5,
    "word_row": 25,
    "odd_run": 40,
    "in_place_run": 50,
    "blank_row": 20,
    "rest_row": 20,
    "rest_moved": 8,
    "call": 160,
}
"""step: sixteen taps of two pixels and four channels. block: eight outputs. held_*: where taps stay in registers. away: blocks
whose halves are rounded away from zero. tail: pairs with a cut block. run: a row of pairs, in_place_run: without gathering;
odd_run: its last pixel alone. moved: gathered columns of sixteen bytes. word: of up to three; quad: of four; word_one: the last
one to four of a row. filled: sixteen bytes of padding, fill_column: of a column. filter_row, word_row: a row of the filter
gathered under a strip; plain_*: the same of layers without padding; apart_*: more rows where every pixel has columns of its own.
blank_row: one of padding. rest_row: pixels copied at the end, rest_moved: their bytes."""

ROW_PRIOR: Mapping[str, float] = {"step": 17.5, "block": 28, "away": 4, "moved": 6.5, "copied": 30, "call": 130}


def _is_held(node: Node, plan: Plan) -> bool:
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    return plan.steps == 1 or (plan.steps == HELD_STEPS and (low, high) == node.output.type.dtype.limits)


def _moved(depth: int) -> float:
    """A gathered column in columns of sixteen bytes: 32 take 7 instructions, 16 take 5, a rest 6."""
    return 1.4 * (depth // 32) + (depth % 32 >= LANES) + 1.2 * (depth % LANES > 0)


def _blocks(node: Node, plan: Plan, pairs: int, runs: int, odd_runs: int = 0) -> Counter[str]:
    """Units of `pairs` pairs of pixels of one group in `runs` runs of pairs and `odd_runs` pixels alone."""
    channels = node.output.type.shape[-1] // plan.groups
    blocks = pairs * -(-channels // BLOCK)
    held = "held_" if _is_held(node, plan) else ""
    work = Counter[str](
        {f"{held}step": blocks * plan.steps, f"{held}block": blocks, "pair": pairs, "run": runs, "odd_run": odd_runs}
    )
    work["tail"] = pairs if channels > BLOCK and channels % BLOCK else 0
    work["away"] = blocks if is_signed(node) else 0
    return work


def _row(pixels: int) -> tuple[int, int, int]:
    """Pairs, runs of pairs and pixels alone of a row of pixels."""
    return -(-pixels // 2), int(pixels > 1), pixels % 2


def _times(work: Counter[str], count: int) -> Counter[str]:
    return Counter({unit: amount * count for unit, amount in work.items()})


def _in_place(node: Node, plan: Plan, rows: int, pixels: int, room: int, pixel: int) -> Counter[str]:
    """Units of 1x1 filters on `rows` rows. room: bytes from a row to the input's end. pixel: bytes from one to the next."""
    filled = LANES * plan.steps
    safe = pixels if plan.depth % LANES == 0 else min(max((room - filled) // pixel + 1, 0), pixels) // 2 * 2
    pairs, runs, odd_runs = _row(safe)
    rest = pixels - safe
    more_pairs, more_runs = -(-rest // 2), -(-rest // 2)
    work = _blocks(node, plan, pairs + more_pairs, runs + more_runs, odd_runs)
    work["rest_moved"] = _moved(plan.depth) * rest  # type: ignore[assignment]
    work["rest_row"] = more_runs
    work["in_place_run"] = work.pop("run")
    return _times(work, rows)


def _conv_in_place(node: Node, plan: Plan) -> Counter[str]:
    attrs: ConvAttrs = node.attrs
    (images, in_h, in_w, in_c), (_, out_h, out_w, _) = node.inputs[0].type.shape, node.output.type.shape
    pixel = attrs.stride[1] * in_c
    if attrs.stride == (1, 1) and (in_h, in_w) == (out_h, out_w):
        pixels = images * out_h * out_w
        return _in_place(node, plan, 1, pixels, pixels * in_c, pixel)
    last = (in_h - (out_h - 1) * attrs.stride[0]) * in_w * in_c
    return _in_place(node, plan, images * out_h - 1, out_w, images * in_h * in_w * in_c, pixel) + _in_place(
        node, plan, 1, out_w, last, pixel
    )


def _gathered(node: Node, plan: Plan) -> Counter[str]:
    """Units of gathering all columns of one image and group."""
    attrs: ConvAttrs = node.attrs
    (_, in_h, in_w, _), (_, out_h, out_w, _) = node.inputs[0].type.shape, node.output.type.shape
    (k_h, k_w), (stride_h, stride_w), (dilation_h, dilation_w) = plan.kernel, attrs.stride, attrs.dilation
    tops = [oy * stride_h - attrs.padding[0] + ky * dilation_h for oy in range(out_h) for ky in range(k_h)]
    inside = sum(0 <= y < in_h for y in tops)
    copied = single = filled = width = calls = 0
    for ox in range(0, out_w, plan.strip):
        n = min(plan.strip, out_w - ox)
        x = ox * stride_w - attrs.padding[2]
        step = stride_w if plan.apart else 1
        count = n if plan.apart else (n - 1) * stride_w + k_w
        for first in [x + kx * dilation_w for kx in range(k_w)] if plan.apart else [x]:
            begin = min(max(-(first // step), 0) if first < 0 else 0, count)
            end = min(max(-(-(in_w - first) // step), begin), count)
            copied, width, calls = copied + end - begin, width + count, calls + 1
            single += (end - begin - 1) % 4 + 1 if end > begin else 0
            filled += count - (end - begin) if plan.strip < out_w else 0
    across, down = (out_w - 1) * stride_w + (k_w - 1) * dilation_w, (out_h - 1) * stride_h + (k_h - 1) * dilation_h
    padded = max(attrs.padding[0], attrs.padding[2]) > 0 or across >= in_w or down >= in_h
    small, strips = plan.depth <= SMALL_COLUMN, -(-out_w // plan.strip)
    row = "filter_row" if not small else "word_row" if padded else "plain_row"
    work = Counter[str]({row: inside * strips, "apart_row": inside * (calls - strips)})
    work["blank_row"] = (len(tops) - inside) * calls
    if small:
        pieces = 1.5 if plan.depth == SMALL_COLUMN - 1 and plan.column == k_h * plan.depth else 1
        wide = "apart_word" if calls > strips else "quad" if plan.depth == SMALL_COLUMN else "word"
        work[wide if padded else "plain_word"] = inside * (copied - single) * pieces  # type: ignore[assignment]
        work["word_one" if padded else "plain_one"] = inside * single * pieces  # type: ignore[assignment]
    else:
        work["moved"] = inside * copied * _moved(plan.depth)  # type: ignore[assignment]
    work["fill_column"] = inside * filled + (len(tops) - inside) * width
    work["filled"] = work["fill_column"] * -(-plan.depth // LANES)
    return work


def _conv_units(_graph: Graph, node: Node) -> Work:
    if node.op == "fully_connected":
        plan, rows = plan_rows(node.inputs[1].type.shape[1]), rows_of(node)
        work = _in_place(node, plan, 1, rows, rows * plan.depth, plan.depth)
        return {unit: work[unit] for unit in CONV_PRIOR} | {"call": 1}
    plan = plan_conv(node)
    if plan.in_place:
        work = _times(_conv_in_place(node, plan), plan.groups)
    else:
        images, out_h, out_w, _ = node.output.type.shape
        work = _gathered(node, plan)
        if plan.rows > 1:
            work += _blocks(node, plan, out_h // 2 * out_w, out_h // 2)
            rows = out_h % 2
        else:
            rows = out_h
        for ox in range(0, out_w, plan.strip):
            work += _times(_blocks(node, plan, *_row(min(plan.strip, out_w - ox))), rows)
        work = _times(work, images * plan.groups)
        work["filled"] += plan.scratch_bytes // LANES
    return {unit: work[unit] for unit in CONV_PRIOR} | {"call": 1}


def _row_units(_graph: Graph, node: Node) -> Work:
    channels, depth = node.inputs[1].type.shape
    blocks, steps = -(-channels // DENSE_BLOCK), -(-depth // LANES)
    moved = steps if depth % LANES else 0
    away, copied = (blocks if is_signed(node) else 0), (1 if moved else 0)
    return {"step": blocks * steps, "block": blocks, "away": away, "moved": moved, "copied": copied, "call": 1}


CONV_COST = Cost(_conv_units, CONV_PRIOR)
ROW_COST = Cost(_row_units, ROW_PRIOR)
