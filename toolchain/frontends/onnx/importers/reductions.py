"""Reductions, arg-reductions, running sums and the k largest."""

from __future__ import annotations

import math
from collections.abc import Callable

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode, normal_axes, normal_axis
from toolchain.ir.attrs import ArgAttrs, CumsumAttrs, ReduceAttrs, TopKAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import DType

Reduction = Callable[[Builder, Value, ReduceAttrs], Value]
AXES_AS_OPERAND = {"ReduceSum": 13}


def reduction(function: Reduction) -> Importer:
    """The importer of a reduction; axes are an attribute or, from opset 18 (ReduceSum 13), an operand."""

    def importer(b: Builder, node: OnnxNode) -> Value:
        x = node.operand(0)
        axes = node.integers("axes")
        if node.opset >= AXES_AS_OPERAND.get(node.op, 18) and node.optional(1) is not None:
            axes = tuple(int(axis) for axis in b.need(node, 1, "the axes").reshape(-1))
        if not axes and node.integer("noop_with_empty_axes", 0):
            return function(b, x, ReduceAttrs((), True)) if node.op not in PLAIN else x
        chosen = normal_axes(axes, x.type.rank, node.place) if axes else tuple(range(x.type.rank))
        return function(b, x, ReduceAttrs(chosen, bool(node.integer("keepdims", 1))))

    return importer


def plain(op: str) -> Reduction:
    """A reduction that is a table op."""

    def function(b: Builder, x: Value, attrs: ReduceAttrs) -> Value:
        if x.type.dtype is DType.BOOL and op in ("reduce_max", "reduce_min"):
            return b.emit("reduce_any" if op == "reduce_max" else "reduce_all", (x,), attrs)
        empty = math.prod(x.type.shape[axis] for axis in attrs.axes) == 0
        if empty and op in ("reduce_max", "reduce_min") and x.type.dtype is not DType.BOOL:
            return _empty_extreme(b, x, attrs, op == "reduce_max")
        return b.emit(op, (x,), attrs)

    return function


def _empty_extreme(b: Builder, x: Value, attrs: ReduceAttrs, largest: bool) -> Value:
    """The maximum or minimum of nothing: the end of the element type's range."""
    total = b.emit("reduce_sum", (x,), attrs)
    if x.type.dtype.is_float:
        return b.add(total, b.like(-math.inf if largest else math.inf, x))
    return b.add(total, b.like(x.type.dtype.limits[0 if largest else 1], x))


def _l1(b: Builder, x: Value, attrs: ReduceAttrs) -> Value:
    return b.emit("reduce_sum", (b.unary("abs", x),), attrs)


def _sum_square(b: Builder, x: Value, attrs: ReduceAttrs) -> Value:
    return b.emit("reduce_sum", (b.unary("square", x),), attrs)


def _l2(b: Builder, x: Value, attrs: ReduceAttrs) -> Value:
    return b.unary("sqrt", _sum_square(b, x, attrs))


def _log_sum(b: Builder, x: Value, attrs: ReduceAttrs) -> Value:
    return b.unary("log", b.emit("reduce_sum", (x,), attrs))


def _log_sum_exp(b: Builder, x: Value, attrs: ReduceAttrs) -> Value:
    """max + log(sum(exp(x − max))), which cannot overflow."""
    if math.prod(x.type.shape[axis] for axis in attrs.axes) == 0:
        return _log_sum(b, x, attrs)
    top = b.emit("reduce_max", (x,), ReduceAttrs(attrs.axes, True))
    total = b.emit("reduce_sum", (b.unary("exp", b.sub(x, top)),), attrs)
    logs = b.unary("log", total)
    return b.add(logs, b.reshape(top, logs.type.shape))


def arg(op: str) -> Importer:
    """ArgMax or ArgMin; the result is int64."""

    def importer(b: Builder, node: OnnxNode) -> Value:
        x = node.operand(0)
        last = bool(node.integer("select_last_index", 0))
        return b.emit(op, (x,), ArgAttrs(node.axis(x.type.rank, 0), bool(node.integer("keepdims", 1)), last, DType.I64))

    return importer


def cumsum(b: Builder, node: OnnxNode) -> Value:
    """CumSum along a constant axis."""
    x = node.operand(0)
    axis = normal_axis(int(b.need(node, 1, "the axis").reshape(-1)[0]), x.type.rank, node.place)
    return b.emit("cumsum", (x,), CumsumAttrs(axis, bool(node.integer("exclusive", 0)), bool(node.integer("reverse", 0))))


def top_k(b: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """TopK with a constant k; always sorted."""
    x = node.operand(0)
    count = int(b.need(node, 1, "k").reshape(-1)[0]) if node.opset >= 10 else node.integer("k", 1)
    attrs = TopKAttrs(node.axis(x.type.rank, -1), count, bool(node.integer("largest", 1)), DType.I64)
    return b.emit_all("top_k", (x,), attrs, outputs=2)


PLAIN = frozenset({"ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceSum"})
IMPORTERS: dict[str, Importer] = {
    "ReduceMax": reduction(plain("reduce_max")),
    "ReduceMin": reduction(plain("reduce_min")),
    "ReduceMean": reduction(plain("reduce_mean")),
    "ReduceProd": reduction(plain("reduce_prod")),
    "ReduceSum": reduction(plain("reduce_sum")),
    "ReduceL1": reduction(_l1),
    "ReduceL2": reduction(_l2),
    "ReduceLogSum": reduction(_log_sum),
    "ReduceLogSumExp": reduction(_log_sum_exp),
    "ReduceSumSquare": reduction(_sum_square),
    "ArgMax": arg("argmax"),
    "ArgMin": arg("argmin"),
    "CumSum": cumsum,
    "TopK": top_k,
}
