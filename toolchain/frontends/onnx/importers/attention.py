"""Attention and its companions, decomposed into matrix products and softmax."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.frontends.onnx.tensors import element_type
from toolchain.ir.attrs import AxisAttrs, ConvAttrs, GatherAttrs, MatmulAttrs, PadAttrs, ReduceAttrs, SliceAttrs, SplitAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import Array, DType

MAX_MASK_ELEMENTS = 2**24


def split_heads(b: Builder, node: OnnxNode, x: Value, heads: int) -> Value:
    """(batch, time, heads * size) as (batch, heads, time, size); four dimensions stay."""
    if x.type.rank == 4:
        return x
    batch, time, width = x.type.shape
    if heads < 1 or width % heads:
        raise node.malformed(f"width {width} does not divide into {heads} heads")
    return b.transpose(b.reshape(x, (batch, time, heads, width // heads)), (0, 2, 1, 3))


def join_heads(b: Builder, x: Value) -> Value:
    """(batch, heads, time, size) as (batch, time, heads * size)."""
    batch, heads, time, size = x.type.shape
    return b.reshape(b.transpose(x, (0, 2, 1, 3)), (batch, time, heads * size))


@dataclass(frozen=True, slots=True)
class Mask:
    """What keeps queries from keys. bias: added to scores, None for none. rows: may a query be kept from all keys."""

    bias: Value | None
    rows: bool


def attention(b: Builder, node: OnnxNode) -> tuple[Value | None, ...]:
    """Attention (opset 23): scores, soft cap, mask, softmax, product; grouped queries share keys by a reshape."""
    heads, shared = node.integer("q_num_heads", 0), node.integer("kv_num_heads", 0)
    query = split_heads(b, node, node.operand(0), heads)
    key = split_heads(b, node, node.operand(1), shared)
    value = split_heads(b, node, node.operand(2), shared)
    past = node.optional(4)
    before = 0
    if past is not None:
        before = past.type.shape[2]
        key = b.emit("concat", (past, key), AxisAttrs(2))
        value = b.emit("concat", (node.operand(5), value), AxisAttrs(2))
    batch, count, steps, size = query.type.shape
    groups = key.type.shape[1]
    if groups < 1 or count % groups:
        raise node.malformed(f"{count} query heads do not divide into {groups} groups")
    scale = node.real("scale", 0.0) if node.has("scale") else 1 / math.sqrt(max(size, 1))
    folded = (batch, groups, count // groups * steps)
    rows = b.reshape(b.mul(query, b.like(scale, query)), (*folded, size))
    scores = b.emit("batch_matmul", (rows, key), MatmulAttrs(transpose_b=True))
    scores = b.reshape(scores, (batch, count, steps, key.type.shape[2]))
    stages = _softmax_stages(b, node, scores, before)
    weights = b.reshape(stages[3], (*folded, key.type.shape[2]))
    y = b.reshape(b.emit("batch_matmul", (weights, value)), (batch, count, steps, value.type.shape[3]))
    y = y if node.operand(0).type.rank == 4 else join_heads(b, y)
    mode = node.integer("qk_matmul_output_mode", 0)
    if not 0 <= mode <= 3:
        raise node.malformed(f"qk_matmul_output_mode is {mode}")
    return y, key, value, stages[mode]


def _softmax_stages(b: Builder, node: OnnxNode, scores: Value, before: int) -> tuple[Value, Value, Value, Value]:
    """Scores as they are, after the soft cap, after the mask and after softmax."""
    cap = node.real("softcap", 0.0)
    capped = scores
    if cap > 0:
        capped = b.mul(b.unary("tanh", b.div(scores, b.like(cap, scores))), b.like(cap, scores))
    mask = _mask(b, node, scores, before)
    masked = capped if mask.bias is None else b.add(capped, mask.bias)
    precision = node.integer("softmax_precision", 0)
    wide = b.cast(masked, element_type(precision, node.place)) if precision else masked
    weights = b.cast(b.unary("softmax", wide), scores.type.dtype)
    if mask.rows:
        top = b.emit("reduce_max", (masked,), ReduceAttrs((3,), True))
        none = b.emit("equal", (top, b.like(-math.inf, top)))
        weights = b.emit("where", (none, b.like(0, weights), weights))
    return scores, capped, masked, weights


def _mask(b: Builder, node: OnnxNode, scores: Value, before: int) -> Mask:
    """The sum of the given mask, the causal frontier, the window and the padding of keys."""
    given = _given_mask(b, node, scores)
    keys = node.optional(6)
    queries, columns = scores.type.shape[2:]
    causal, left, right = _window(node)
    if queries * columns > MAX_MASK_ELEMENTS:
        raise node.unsupported(f"{queries:,} queries of {columns:,} keys", "Use a shorter sequence")
    distance = np.arange(queries).reshape(-1, 1) - np.arange(columns)
    bounds = causal or left >= 0 or right >= 0
    allowed: list[Value] = []
    if keys is None and bounds:
        away = distance + before
        keep = (away >= 0) | (not causal)
        keep &= (away <= left) | (left < 0)
        keep &= (-away <= right) | (right < 0)
        allowed.append(b.constant(keep, "allowed"))
    elif keys is not None:
        lengths = b.reshape(b.cast(keys, DType.I64), (keys.type.elements, 1, 1, 1))
        places = b.constant(np.arange(columns, dtype=np.int64), "places")
        allowed.append(b.emit("less", (places, lengths)))
        if bounds:
            allowed.extend(_offset_bounds(b, lengths, distance, queries, (causal, left, right)))
    bias = given
    for each in allowed:
        part = b.emit("where", (each, b.like(0, scores), b.like(-math.inf, scores)))
        bias = part if bias is None else b.add(bias, part)
    certain = [data for each in allowed if (data := b.data(each)) is not None and data.any(axis=-1).all()]
    return Mask(bias, given is not None or len(certain) < len(allowed))


def _window(node: OnnxNode) -> tuple[bool, int, int]:
    left, right = node.integer("left_window_size", -1), node.integer("right_window_size", -1)
    if min(left, right) < -1:
        raise node.malformed(f"window sizes {left} and {right} are below −1")
    return bool(node.integer("is_causal", 0)), left, right


def _offset_bounds(b: Builder, lengths: Value, distance: Array, queries: int, bounds: tuple[bool, int, int]) -> list[Value]:
    """Which keys a query may see when the offset, the count of keys less that of queries, is only known at run time."""
    causal, left, right = bounds
    offset = b.sub(lengths, b.like(queries, lengths))
    away = b.add(b.constant(distance.astype(np.int64), "distance"), offset)
    found: list[Value] = []
    if causal:
        found.append(b.emit("greater_equal", (away, b.like(0, away))))
    if left >= 0:
        found.append(b.emit("less_equal", (away, b.like(left, away))))
    if right >= 0:
        found.append(b.emit("greater_equal", (away, b.like(-right, away))))
    return found


def _given_mask(b: Builder, node: OnnxNode, scores: Value) -> Value | None:
    """The mask operand as numbers to add; keys beyond it are shut out."""
    mask = node.optional(3)
    if mask is None:
        return None
    if mask.type.dtype is DType.BOOL:
        mask = b.emit("where", (mask, b.like(0, scores), b.like(-math.inf, scores)))
    missing = scores.type.shape[3] - mask.type.shape[-1]
    if missing > 0 and mask.type.shape[-1] != 1:
        rank = mask.type.rank
        attrs = PadAttrs((0,) * rank, (*(0,) * (rank - 1), missing), value=-math.inf)
        mask = b.emit("pad", (mask,), attrs)
    return mask


def rotary_embedding(b: Builder, node: OnnxNode) -> Value:
    """RotaryEmbedding: pairs of features are turned by the angles of their position."""
    x, cosines, sines = (node.operand(i) for i in range(3))
    places = node.optional(3)
    heads = split_heads(b, node, x, node.integer("num_heads", 0))
    batch, count, steps, size = heads.type.shape
    turned = node.integer("rotary_embedding_dim", 0) or size
    half = turned // 2
    if places is not None:
        cosines, sines = (b.emit("gather", (each, places), GatherAttrs(0)) for each in (cosines, sines))
    cosines, sines = (b.reshape(each, (*each.type.shape[:-2], 1, *each.type.shape[-2:])) for each in (cosines, sines))
    parts = b.emit_all("split", (heads,), SplitAttrs(3, (turned, size - turned)), outputs=2) if turned < size else (heads,)
    shape = (batch, count, steps, half, 2)
    if node.integer("interleaved", 0):
        pair = b.emit_all("split", (b.reshape(parts[0], shape),), SplitAttrs(4, (1, 1)), outputs=2)
        one, two = (b.reshape(each, shape[:4]) for each in pair)
    else:
        one, two = b.emit_all("split", (parts[0],), SplitAttrs(3, (half, half)), outputs=2)
    real = b.sub(b.mul(cosines, one), b.mul(sines, two))
    imaginary = b.add(b.mul(sines, one), b.mul(cosines, two))
    if node.integer("interleaved", 0):
        ends = [b.reshape(each, (*shape[:4], 1)) for each in (real, imaginary)]
        whole = b.reshape(b.emit("concat", ends, AxisAttrs(4)), (*shape[:3], turned))
    else:
        whole = b.emit("concat", (real, imaginary), AxisAttrs(3))
    y = whole if len(parts) == 1 else b.emit("concat", (whole, parts[1]), AxisAttrs(3))
    return y if x.type.rank == 4 else join_heads(b, y)


def linear_attention(b: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """LinearAttention, unrolled over time: a state of keys by values that decays and learns."""
    heads, groups = node.integer("q_num_heads", 0), node.integer("kv_num_heads", 0)
    rule = node.text("update_rule", "gated_delta")
    if rule not in ("linear", "gated", "delta", "gated_delta"):
        raise node.malformed(f"update_rule is {rule!r}")
    query = split_heads(b, node, node.operand(0), heads)
    key, value = (split_heads(b, node, node.operand(i), groups) for i in (1, 2))
    batch, _, steps, depth = query.type.shape
    width = value.type.shape[3]
    scale = node.real("scale", 0.0) or 1 / math.sqrt(max(depth, 1))
    decay = b.unary("exp", split_heads(b, node, node.operand(4), groups)) if rule.startswith("gated") else None
    rate = _rates(b, node.operand(5), groups) if rule.endswith("delta") else None
    state = node.optional(3) or b.constant(np.zeros((batch, groups, depth, width), query.type.dtype.numpy), "state")
    query = b.reshape(b.mul(query, b.like(scale, query)), (batch, groups, heads // groups, steps, depth))
    results: list[Value] = []
    for t in range(steps):
        k, v = b.reshape(_step(b, key, t), (batch, groups, depth, 1)), _step(b, value, t)
        if decay is not None:
            now = _step(b, decay, t)
            state = b.mul(state, b.reshape(now, (batch, groups, now.type.shape[3], 1)))
        if rate is not None:
            v = b.mul(b.sub(v, b.emit("batch_matmul", (k, state), MatmulAttrs(transpose_a=True))), _step(b, rate, t))
        state = b.add(state, b.mul(k, v))
        asked = b.reshape(_step(b, query, t), (batch, groups, heads // groups, depth))
        results.append(b.reshape(b.emit("batch_matmul", (asked, state)), (batch, 1, heads * width)))
    return (results[0] if steps == 1 else b.emit("concat", results, AxisAttrs(1))), state


def _rates(b: Builder, rate: Value, groups: int) -> Value:
    """Update rates (batch, time, heads or 1) as (batch, heads, time, 1)."""
    batch, steps, count = rate.type.shape
    wide = b.expand(rate, (batch, steps, groups)) if count == 1 else rate
    return b.reshape(b.transpose(wide, (0, 2, 1)), (batch, groups, steps, 1))


def _step(b: Builder, x: Value, t: int) -> Value:
    """One step of the dimension before the last, which stays as 1."""
    rank = x.type.rank
    begin, end = [0] * rank, list(x.type.shape)
    begin[-2], end[-2] = t, t + 1
    return b.emit("slice", (x,), SliceAttrs(tuple(begin), tuple(end), (1,) * rank))


def causal_conv(b: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """CausalConvWithState: a depthwise convolution of the past and the present."""
    x, w, bias, past = node.operand(0), node.operand(1), node.optional(2), node.optional(3)
    batch, channels, _ = x.type.shape
    reach = w.type.shape[2] - 1
    if past is None:
        past = b.constant(np.zeros((batch, channels, reach), x.type.dtype.numpy), "past")
    whole = b.emit("concat", (past, x), AxisAttrs(2))
    length = whole.type.shape[2]
    image = b.reshape(b.transpose(whole, (0, 2, 1)), (batch, 1, length, channels))
    kernel = b.reshape(b.transpose(w, (1, 2, 0)), (1, 1, reach + 1, channels))
    operands = (image, kernel) if bias is None else (image, kernel, bias)
    y = b.emit("depthwise_conv_2d", operands, ConvAttrs())
    y = b.transpose(b.reshape(y, (batch, x.type.shape[2], channels)), (0, 2, 1))
    if node.text("activation", "none") in ("silu", "swish"):
        y = b.unary("swish", y)
    begin, end = (0, 0, length - reach), (batch, channels, length)
    return y, b.emit("slice", (whole,), SliceAttrs(begin, end, (1, 1, 1)))


def swiglu(b: Builder, node: OnnxNode) -> Value:
    """SwiGLU: swish of the gate times the value."""
    gate, value, alpha = node.operand(0), node.operand(1), node.real("alpha", 1.0)
    if alpha == 1.0:
        return b.mul(b.unary("swish", gate), value)
    return b.mul(b.mul(gate, b.unary("sigmoid", b.mul(gate, b.like(alpha, gate)))), value)


IMPORTERS: dict[str, Importer] = {
    "Attention": attention,
    "RotaryEmbedding": rotary_embedding,
    "LinearAttention": linear_attention,
    "CausalConvWithState": causal_conv,
    "SwiGLU": swiglu,
}
