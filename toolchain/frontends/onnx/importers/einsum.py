"""Einsum of one or more operands, by batched matrix products."""

from __future__ import annotations

import math

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.ir.attrs import ReduceAttrs
from toolchain.ir.graph import Value

Labelled = tuple[Value, str]


def einsum(b: Builder, node: OnnxNode) -> Value:
    """Einsum; operands are joined from left to right. A label may not come twice in one operand."""
    equation = node.text("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    operands = node.operands()
    if len(terms) != len(operands):
        raise node.malformed(f"{equation!r} has {len(terms)} terms for {len(operands)} operands")
    dots = max(value.type.rank - len(term.replace("...", "")) for term, value in zip(terms, operands, strict=True))
    extra = "".join(chr(ord("0") + i) for i in range(max(dots, 0)))
    spread = [
        term.replace("...", extra[len(extra) - (v.type.rank - len(term) + 3) :]) for term, v in zip(terms, operands, strict=True)
    ]
    if any(len(term) != value.type.rank for term, value in zip(spread, operands, strict=True)):
        raise node.malformed(f"{equation!r} does not fit ranks {[value.type.rank for value in operands]}")
    if any(len(set(term)) != len(term) for term in spread):
        raise node.unsupported(f"a label twice in one term of {equation!r}", "Take the diagonal with Gather")
    joined = "".join(spread)
    out = right.replace("...", extra) if arrow else extra + "".join(c for c in sorted(set(joined)) if joined.count(c) == 1)
    if not arrow:
        out = extra + "".join(c for c in out[len(extra) :] if c not in extra)
    if set(out) - set(joined) or len(set(out)) != len(out):
        raise node.malformed(f"{equation!r} makes labels its operands have not got")
    result: Labelled = (operands[0], spread[0])
    for i in range(1, len(operands)):
        later = set(out).union(*spread[i + 1 :])
        result = _joined(b, node, result, (operands[i], spread[i]), later)
    value, labels = _summed(b, *result, set(out))
    return b.transpose(value, [labels.index(label) for label in out])


def _summed(b: Builder, value: Value, labels: str, keep: set[str]) -> Labelled:
    """Labels that nothing needs any more are summed."""
    axes = tuple(i for i, label in enumerate(labels) if label not in keep)
    if not axes:
        return value, labels
    return b.emit("reduce_sum", (value,), ReduceAttrs(axes, False)), "".join(c for c in labels if c in keep)


def _joined(b: Builder, node: OnnxNode, x: Labelled, y: Labelled, later: set[str]) -> Labelled:
    """The product of two operands, summed over labels that are needed no more."""
    x_value, x_labels = _summed(b, *x, later | set(y[1]))
    y_value, y_labels = _summed(b, *y, later | set(x_labels))
    sizes: dict[str, int] = {}
    for value, labels in ((x_value, x_labels), (y_value, y_labels)):
        for label, size in zip(labels, value.type.shape, strict=True):
            known = sizes.setdefault(label, size)
            if known != size and 1 not in (known, size):
                raise node.malformed(f"label {label!r} has sizes {known} and {size}")
            sizes[label] = max(known, size)
    shared = [label for label in x_labels if label in y_labels]
    batch = [label for label in shared if label in later]
    inner = [label for label in shared if label not in later]
    rows = [label for label in x_labels if label not in y_labels]
    columns = [label for label in y_labels if label not in x_labels]

    def arranged(value: Value, labels: str, order: list[list[str]]) -> Value:
        wide = b.expand(value, [sizes[label] for label in labels])
        moved = b.transpose(wide, [labels.index(label) for group in order for label in group])
        return b.reshape(moved, [math.prod(sizes[label] for label in group) for group in order])

    left = arranged(x_value, x_labels, [batch, rows, inner])
    right = arranged(y_value, y_labels, [batch, inner, columns])
    product = b.emit("batch_matmul", (left, right))
    names = [*batch, *rows, *columns]
    return b.reshape(product, [sizes[label] for label in names]), "".join(names)


IMPORTERS: dict[str, Importer] = {"Einsum": einsum}
