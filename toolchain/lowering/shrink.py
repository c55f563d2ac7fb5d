"""Fewer kinds of kernels: a program for size gives up a kernel where the others can take its layers in less flash."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from targets.costs import CostTable
from toolchain.lowering.program import Choice, code_bytes
from toolchain.lowering.variants import SLACK, allowed, with_runner_up

Work = Callable[[Choice], int]
"""What a choice takes: instructions, or cycles."""


def shrink(options: Sequence[Sequence[Choice]], table: CostTable) -> list[Choice]:
    """One choice of every list of options, so that kernels and constants together take few bytes.

    It starts from the smallest constants; the whole program does no more work than the objective `size` grants.
    """
    most = SLACK["size"] * sum(min(choice.instructions for choice in choices) for choices in options)
    start = [min(allowed(choices, "size"), key=lambda c: (c.constant_bytes, c.instructions)) for choices in options]
    best = with_fewer_kinds(start, options, table, lambda choice: choice.instructions, most)
    return [with_runner_up(choice, choices) for choice, choices in zip(best, options, strict=True)]


def with_fewer_kinds(
    start: Sequence[Choice], options: Sequence[Sequence[Choice]], table: CostTable, work: Work, most: float
) -> list[Choice]:
    """From choices on, one variant after the other is forbidden wherever there is another, while that saves flash.

    most: the most work of the whole program.
    """
    best = list(start)
    least = flash_bytes(best, table)
    improved = True
    while improved:
        improved = False
        for variant in sorted({choice.variant for choice in best}):
            tried = [_without(variant, now, choices, best, table) for now, choices in zip(best, options, strict=True)]
            taken = flash_bytes(tried, table)
            if taken < least and sum(map(work, tried)) <= most:
                best, least, improved = tried, taken, True
    return best


def flash_bytes(choices: Sequence[Choice], table: CostTable) -> float:
    """Constants and known code."""
    known = [choice for choice in choices if choice.variant in table.code]
    return sum(choice.constant_bytes for choice in choices) + (code_bytes(known, table) or 0.0)


def _without(variant: str, now: Choice, choices: Sequence[Choice], used: Sequence[Choice], table: CostTable) -> Choice:
    """The best other choice of a node that now uses a variant; kernels in use elsewhere cost only their shape."""
    others = [choice for choice in choices if choice.variant != variant]
    if now.variant != variant or not others:
        return now
    known = {choice.variant for choice in used}
    return min(others, key=lambda choice: (_added_bytes(choice, known, table), choice.instructions))


def _added_bytes(choice: Choice, known: set[str], table: CostTable) -> float:
    code = table.code.get(choice.variant)
    added = 0.0 if code is None else code.shape_bytes + (0.0 if choice.variant in known else code.shared_bytes)
    return choice.constant_bytes + added
