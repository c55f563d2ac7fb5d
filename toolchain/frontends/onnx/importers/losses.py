"""Losses that a training graph ends with."""

from __future__ import annotations

import math

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.ir.attrs import Attrs, OneHotAttrs, ReduceAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import DType


def negative_log_likelihood(b: Builder, node: OnnxNode) -> Value:
    """NegativeLogLikelihoodLoss of log probabilities (n, classes, …) and labels (n, …)."""
    return _loss(b, node, node.operand(0))


def softmax_cross_entropy(b: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """SoftmaxCrossEntropyLoss: the loss and the log probabilities."""
    scores = node.operand(0)
    rank = scores.type.rank
    if rank < 2:
        raise node.malformed(f"scores of shape {scores.type.shape} have no classes")
    last = (0, *range(2, rank), 1)
    back = (0, rank - 1, *range(1, rank - 1))
    logs = b.transpose(b.emit("log_softmax", (b.transpose(scores, last),), Attrs()), back)
    return _loss(b, node, logs), logs


def _loss(b: Builder, node: OnnxNode, logs: Value) -> Value:
    """The weighted mean, sum or list of −log p(label); labels equal to ignore_index count nothing."""
    labels, weights = node.operand(1), node.optional(2)
    if logs.type.rank < 2:
        raise node.malformed(f"scores of shape {logs.type.shape} have no classes")
    classes = logs.type.shape[1]
    yes, no = (b.constant([truth], "truth") for truth in (True, False))
    hit = b.emit("one_hot", (labels, yes, no), OneHotAttrs(1, classes))
    if node.has("ignore_index"):
        counts = b.emit("not_equal", (labels, b.like(node.integer("ignore_index", 0), labels)))
        hit = b.emit("logical_and", (hit, b.reshape(counts, (labels.type.shape[0], 1, *labels.type.shape[1:]))))
    per_class = (classes, *[1] * (logs.type.rank - 2))
    factor = b.like(1, logs) if weights is None else b.reshape(weights, per_class)
    axis = ReduceAttrs((1,), False)
    picked = b.emit("where", (hit, b.mul(logs, factor), b.like(0, logs)))
    loss = b.unary("neg", b.emit("reduce_sum", (picked,), axis))
    kind = node.text("reduction", "mean")
    every = ReduceAttrs(tuple(range(loss.type.rank)), False)
    if kind == "none":
        return loss
    total = b.emit("reduce_sum", (loss,), every)
    if kind == "sum":
        return total
    if kind != "mean":
        raise node.malformed(f"reduction is {kind!r}")
    if weights is None and not node.has("ignore_index"):
        return b.div(total, b.like(math.prod(loss.type.shape), total))
    shares = b.emit("where", (hit, factor, b.like(0, logs))) if weights is not None else b.cast(hit, DType.F32)
    return b.div(total, b.emit("reduce_sum", (shares,), ReduceAttrs(tuple(range(logs.type.rank)), False)))


IMPORTERS: dict[str, Importer] = {
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
}
