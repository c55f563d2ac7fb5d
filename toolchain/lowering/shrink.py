"""Fewer kinds of kernels: a program for size gives up a kernel where the others can take its layers in less flash."""

from __future__ import annotations

from collections.abc import Sequence

from targets.costs import CostTable
from toolchain.lowering.program import Choice, code_bytes
from toolchain.lowering.variants import SLACK, allowed, with_runner_up


def shrink(options: Sequence[Sequence[Choice]], table: CostTable) -> list[Choice]:
    """One choice of every list of options, so that kernels and constants together take few bytes.

    From the smallest constants on, one variant after the other is forbidden wherever there is another, while that helps
    and the whole program does no more work than the objective grants.
    """
    most = SLACK["size"] * sum(min(choice.instructions for choice in choices) for choices in options)
    best = [min(allowed(choices, "size"), key=lambda c: (c.constant_bytes, c.instructions)) for choices in options]
    least = _flash_bytes(best, table)
    improved = True
    while improved:
        improved = False
        for variant in sorted({choice.variant for choice in best}):
            tried = [_without(variant, now, choices, best, table) for now, choices in zip(best, options, strict=True)]
            taken = _flash_bytes(tried, table)
            if taken < least and sum(choice.instructions for choice in tried) <= most:
                best, least, improved = tried, taken, True
    return [with_runner_up(choice, choices) for choice, choices in zip(best, options, strict=True)]


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


def _flash_bytes(choices: Sequence[Choice], table: CostTable) -> float:
    """Constants and known code."""
    known = [choice for choice in choices if choice.variant in table.code]
    return sum(choice.constant_bytes for choice in choices) + (code_bytes(known, table) or 0.0)
