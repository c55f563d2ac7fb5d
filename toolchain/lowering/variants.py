"""The kernel table: every variant there is, and the choice among them.

To add a kernel, write it in `firmware/kernels/<folder>/`, bind it in `toolchain/lowering/kernels/`, and it is listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
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
    conv_s16_dsp,
    conv_s16_mve,
    conv_scalar,
    conv_simd,
    dense_unstaged_dsp,
    depthwise_block_dsp,
    depthwise_dsp,
    depthwise_mve,
    depthwise_scalar,
    depthwise_simd,
    dynamic_layers,
    elements_simd,
    float_elementwise,
    float_layers,
    index,
    integer_binary,
    integer_reduce,
    lut,
    matmul,
    move,
    move_columns,
    plain_elementwise,
    plain_reduce,
    pool,
    pool_dsp,
    pool_mve,
    quantize,
    quantize_axis,
    recurrent,
    rescale,
    resize,
    softmax,
    stored_layers,
    transpose_conv,
    winograd_dsp,
)
from toolchain.lowering.kernels.common import Variant
from toolchain.lowering.program import Choice
from toolchain.lowering.views import views_of

NOTHING: frozenset[str] = frozenset()
Objective = Literal["speed", "ram", "size", "balanced"]
# The most instructions, over the least that any kernel takes, that fewer cycles, less RAM or fewer weights may cost.
SLACK: dict[Objective, float] = {"speed": 1.1, "balanced": 1.05, "size": 1.6, "ram": 1.12}

VARIANTS: tuple[Variant, ...] = (
    *conv.VARIANTS,
    *conv_dsp.VARIANTS,
    *dense_unstaged_dsp.VARIANTS,
    *depthwise_dsp.VARIANTS,
    *depthwise_block_dsp.VARIANTS,
    *conv_s16_dsp.VARIANTS,
    *winograd_dsp.VARIANTS,
    *add_dsp.VARIANTS,
    *add_mve.VARIANTS,
    *conv_mve.VARIANTS,
    *depthwise_mve.VARIANTS,
    *conv_plain.VARIANTS,
    *conv_s16.VARIANTS,
    *conv_s16_mve.VARIANTS,
    *conv_scalar.VARIANTS,
    *conv_simd.VARIANTS,
    *depthwise_scalar.VARIANTS,
    *depthwise_simd.VARIANTS,
    *elements_simd.VARIANTS,
    *transpose_conv.VARIANTS,
    *pool.VARIANTS,
    *pool_dsp.VARIANTS,
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
    *stored_layers.VARIANTS,
    *dynamic_layers.VARIANTS,
    *float_elementwise.VARIANTS,
    *plain_elementwise.VARIANTS,
    *plain_reduce.VARIANTS,
    *recurrent.VARIANTS,
    *move.VARIANTS,
    *move_columns.VARIANTS,
    *index.VARIANTS,
)


def candidates(graph: Graph, node: Node, target: Target, kept: frozenset[str] = NOTHING) -> tuple[Variant, ...]:
    """Variants that can run a node on a target. kept: roots of values that no kernel may destroy."""
    folders = target.core.kernels
    able = tuple(v for v in VARIANTS if v.op == node.op and v.folder in folders and v.accepts(graph, node))
    if any(v.spoils for v in able) and not is_last_reader(graph, node, kept):
        return tuple(v for v in able if not v.spoils)
    return able


def is_last_reader(graph: Graph, node: Node, kept: frozenset[str] = NOTHING) -> bool:
    """True when nobody else needs the bytes of the node's first operand. kept: roots of values that others need."""
    views = views_of(graph)
    root = views.roots
    name = root[node.inputs[0].name]
    needed = kept.union(root[value.name] for value in graph.outputs)
    readers = (n for n in graph.nodes if n.name not in views.free and any(root[value.name] == name for value in n.inputs))
    return name not in needed and all(reader.name == node.name for reader in readers)


def choose(
    graph: Graph,
    node: Node,
    target: Target,
    objective: Objective = "balanced",
    fixed: str | None = None,
    kept: frozenset[str] = NOTHING,
) -> Choice:
    """The best calls for a node by the objective, or those of the variant named `fixed`. kept: see `candidates`.

    Speed is cycles, at no more than a tenth more instructions, where the core's table has them for every candidate; else
    instructions.
    Raises TargetError(305) when no variant takes it.
    """
    choices = every_choice(graph, node, target, fixed, kept)
    preference = _cycles if objective == "speed" and _with_cycles(choices) else _PREFERENCE[objective]
    best = min(allowed(choices, objective), key=preference)
    return with_runner_up(best, choices)


def every_choice(
    graph: Graph, node: Node, target: Target, fixed: str | None = None, kept: frozenset[str] = NOTHING
) -> list[Choice]:
    """What each variant makes of a node; of the one named `fixed` alone. Raises TargetError(305) when there is none."""
    taking = [variant for variant in candidates(graph, node, target, kept) if fixed is None or variant.name == fixed]
    if not taking:
        kinds = ", ".join(f"{value.type.dtype}{'q' if value.type.quant else ''}" for value in (*node.inputs, *node.outputs))
        what = f"no kernel {fixed + ' ' if fixed else ''}runs {node.op} on ({kinds})"
        raise TargetError(305, f"{target.name} {node.name}", what, "Use another precision, or rewrite the layer")
    return [Choice(node, variant.calls(graph, node, target), None) for variant in taking]


def allowed(choices: Sequence[Choice], objective: Objective) -> list[Choice]:
    """The choices that do no more work than the objective grants."""
    if objective not in SLACK:
        return list(choices)
    least = min(choice.instructions for choice in choices)
    return [choice for choice in choices if choice.instructions <= SLACK[objective] * least]


def with_runner_up(best: Choice, choices: Sequence[Choice]) -> Choice:
    """The best with the fastest of the others beside it."""
    others = [(choice.variant, choice.instructions) for choice in choices if choice.variant != best.variant]
    return replace(best, runner_up=min(others, key=lambda other: other[1], default=None))


def _with_cycles(choices: Sequence[Choice]) -> bool:
    return all(choice.cycles is not None for choice in choices)


def _cycles(choice: Choice) -> tuple[int, int]:
    return (choice.cycles or 0, choice.scratch_bytes)


_PREFERENCE: dict[Objective, Callable[[Choice], tuple[int, int]]] = {
    "speed": lambda choice: (choice.instructions, choice.scratch_bytes),
    "ram": lambda choice: (choice.scratch_bytes, choice.instructions),
    "size": lambda choice: (choice.constant_bytes, choice.instructions),
    "balanced": lambda choice: (choice.scratch_bytes, choice.instructions),
}
