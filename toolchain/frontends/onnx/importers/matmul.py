"""Matrix products."""

from __future__ import annotations

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.importers.convolution import centred
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.ir.attrs import MatmulAttrs
from toolchain.ir.graph import Value


def matmul(b: Builder, node: OnnxNode) -> Value:
    """MatMul with NumPy's broadcasting."""
    return multiply(b, node, node.operand(0), node.operand(1))


def multiply(b: Builder, node: OnnxNode, x: Value, y: Value) -> Value:
    """x @ y as NumPy has it; a constant matrix on the right makes a fully connected layer."""
    if min(x.type.rank, y.type.rank) < 1:
        raise node.malformed(f"operands {x.type.shape} and {y.type.shape} must have dimensions")
    if y.type.rank == 2 and b.is_weight(y):
        return b.emit("fully_connected", (x, b.transpose(y, (1, 0))))
    left = b.reshape(x, (1, *x.type.shape)) if x.type.rank == 1 else x
    right = b.reshape(y, (*y.type.shape, 1)) if y.type.rank == 1 else y
    result = b.emit("batch_matmul", (left, right), MatmulAttrs())
    shape = list(result.type.shape)
    if x.type.rank == 1:
        del shape[-2]
    if y.type.rank == 1:
        del shape[-1]
    return b.reshape(result, shape)


def gemm(b: Builder, node: OnnxNode) -> Value:
    """Gemm: alpha * A' B' + beta * C."""
    return general_product(b, node, node.operand(0), node.operand(1), node.optional(2))


def general_product(b: Builder, node: OnnxNode, x: Value, y: Value, bias: Value | None) -> Value:
    """alpha * x' y' + beta * bias by the attributes of the node; constant weights make a fully connected layer."""
    if x.type.rank != 2 or y.type.rank != 2:
        raise node.malformed(f"operands {x.type.shape} and {y.type.shape} must be matrices")
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    left, right = bool(node.integer("transA", 0)), bool(node.integer("transB", 0))
    if bias is not None and beta != 1.0:
        bias = b.mul(bias, b.like(beta, bias))
    if not b.is_weight(y):
        product = b.emit("batch_matmul", (x, y), MatmulAttrs(left, right))
        product = product if alpha == 1.0 else b.mul(product, b.like(alpha, product))
        return product if bias is None else b.add(product, bias)
    rows = b.transpose(x, (1, 0)) if left else x
    weights = y if right else b.transpose(y, (1, 0))
    weights = weights if alpha == 1.0 else b.mul(weights, b.like(alpha, weights))
    out = weights.type.shape[0]
    vector = bias is not None and b.is_weight(bias) and bias.type.elements == out and bias.type.shape[-1:] == (out,)
    if bias is None:
        return b.emit("fully_connected", (rows, weights))
    if vector:
        return b.emit("fully_connected", (rows, weights, b.reshape(bias, (out,))))
    return b.add(b.emit("fully_connected", (rows, weights)), bias)


def matmul_integer(b: Builder, node: OnnxNode) -> Value:
    """MatMulInteger: int8 or uint8 with zero points, exact in int32."""
    x, y = node.operand(0), node.operand(1)
    zero = node.optional(2)
    if zero is not None and zero.type.rank == 1 and zero.type.elements > 1:
        zero = b.reshape(zero, (*zero.type.shape, 1))
    return multiply(b, node, centred(b, x, zero), centred(b, y, node.optional(3)))


IMPORTERS: dict[str, Importer] = {"MatMul": matmul, "Gemm": gemm, "MatMulInteger": matmul_integer}
