"""Programs for size use few kinds of kernels, within the work that the objective grants."""

from __future__ import annotations

import numpy as np

from targets.costs import CodeCost, CostTable
from toolchain.ir.graph import Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, TensorType, per_tensor
from toolchain.lowering.program import Choice, Constant, KernelCall, Operand, ShapeField
from toolchain.lowering.shrink import shrink

TABLE = CostTable("c", code={"a": CodeCost(1000, 100), "b": CodeCost(400, 100)})


def node(name: str) -> Node:
    x = Value(f"{name}_x", TensorType((4,), DType.I8, per_tensor(0.1, 0)))
    return make_node("relu", (x,), (name,))


def choice(at: Node, variant: str, instructions: int, constants: int) -> Choice:
    data = Operand("int8_t", constant=Constant("int8_t", np.zeros(constants, np.int8)))
    shape = (ShapeField("n", len(at.name)),)
    return Choice(at, (KernelCall(at, variant, "h", variant, "s", shape, (data,), instructions, None),), None)


def options(slow: int) -> list[list[Choice]]:
    """Two nodes that a takes with fewer constants, b with less code; `slow` is what b needs."""
    return [[choice(at, "a", 100, 50), choice(at, "b", slow, 80)] for at in (node("n"), node("nn"))]


def test_the_smaller_kernel_takes_all_layers() -> None:
    chosen = shrink(options(150), TABLE)
    assert [each.variant for each in chosen] == ["b", "b"]
    assert [each.runner_up for each in chosen] == [("a", 100), ("a", 100)]


def test_not_at_more_work_than_is_granted() -> None:
    assert [each.variant for each in shrink(options(170), TABLE)] == ["a", "a"]


def test_without_code_sizes_constants_decide() -> None:
    assert [each.variant for each in shrink(options(150), CostTable("c"))] == ["a", "a"]
