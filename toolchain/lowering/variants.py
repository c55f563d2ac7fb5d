"""The kernel table: every variant there is, and the choice among them.

To add a kernel, write it in `firmware/kernels/<folder>/`, bind it in `toolchain/lowering/kernels/`, and it is listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from targets.model import Target
from toolchain.errors import TargetError
from toolchain.ir.graph import Graph, Node
from toolchain.lowering.kernels import (
    add_dsp,
    add_mve,
    conv,
    conv_dsp,
    conv_mve,
    conv_plain,
    conv_s16,
    depthwise_mve,
    float_elementwise,
    float_layers,
    index,
    integer_binary,
    integer_reduce,
    lut,
    matmul,
    move,
    plain_elementwise,
    plain_reduce,
    pool,
    pool_mve,
    quantize,
    quantize_axis,
    recurrent,
    rescale,
    resize,
    softmax,
    transpose_conv,
)
from toolchain.lowering.kernels.common import Variant
from toolchain.lowering.program import KernelCall

Objective = Literal["speed", "ram", "size", "balanced"]
BALANCED_SLACK = 1.05

VARIANTS: tuple[Variant, ...] = (
    *conv.VARIANTS,
    *conv_dsp.VARIANTS,
    *add_dsp.VARIANTS,
    *add_mve.VARIANTS,
    *conv_mve.VARIANTS,
    *depthwise_mve.VARIANTS,
    *conv_plain.VARIANTS,
    *conv_s16.VARIANTS,
    *transpose_conv.VARIANTS,
    *pool.VARIANTS,
    *pool_mve.VARIANTS,
    *integer_binary.VARIANTS,
    *lut.VARIANTS,
    *rescale.VARIANTS,
    *integer_reduce.VARIANTS,
    *matmul.VARIANTS,
    *quantize.VARIANTS,
    *quantize_axis.VARIANTS,
    *resize.VARIANTS,
    *softmax.VARIANTS,
    *float_layers.VARIANTS,
    *float_elementwise.VARIANTS,
    *plain_elementwise.VARIANTS,
    *plain_reduce.VARIANTS,
    *recurrent.VARIANTS,
    *move.VARIANTS,
    *index.VARIANTS,
)


def candidates(graph: Graph, node: Node, target: Target) -> tuple[Variant, ...]:
    """Variants that can run a node on a target."""
    folders = target.core.kernels
    return tuple(v for v in VARIANTS if v.op == node.op and v.folder in folders and v.accepts(graph, node))


def choose(graph: Graph, node: Node, target: Target, objective: Objective = "balanced") -> tuple[KernelCall, ...]:
    """The best calls for a node by the objective. Raises TargetError(305) when no variant takes it."""
    choices = [variant.calls(graph, node, target) for variant in candidates(graph, node, target)]
    if not choices:
        kinds = ", ".join(f"{value.type.dtype}{'q' if value.type.quant else ''}" for value in (*node.inputs, *node.outputs))
        what = f"no kernel runs {node.op} on ({kinds})"
        raise TargetError(305, f"{target.name} {node.name}", what, "Use another precision, or rewrite the layer")
    if objective == "balanced":
        least = min(map(_instructions, choices))
        choices = [calls for calls in choices if _instructions(calls) <= BALANCED_SLACK * least]
    return min(choices, key=_PREFERENCE[objective])


def _instructions(calls: tuple[KernelCall, ...]) -> int:
    return sum(call.instructions for call in calls)


def _scratch_bytes(calls: tuple[KernelCall, ...]) -> int:
    return max(sum(operand.scratch_bytes for operand in call.operands) for call in calls)


def _constant_bytes(calls: tuple[KernelCall, ...]) -> int:
    return sum(operand.constant.bytes for call in calls for operand in call.operands if operand.constant is not None)


_PREFERENCE: dict[Objective, Callable[[tuple[KernelCall, ...]], tuple[int, int]]] = {
    "speed": lambda calls: (_instructions(calls), _scratch_bytes(calls)),
    "ram": lambda calls: (_scratch_bytes(calls), _instructions(calls)),
    "size": lambda calls: (_constant_bytes(calls), _instructions(calls)),
    "balanced": lambda calls: (_scratch_bytes(calls), _instructions(calls)),
}
