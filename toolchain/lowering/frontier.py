"""What there is to choose from: the plans of a graph that no other beats, and the options that give each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from toolchain.errors import TargetError
from toolchain.lowering.limits import Limits, bounds_of, choose_plan
from toolchain.lowering.plans import OBJECTIVES, Plan, Plans, unbeaten
from toolchain.lowering.variants import Objective


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan. options: what makes `strop compile` choose it, None where it does not fit the target."""

    plan: Plan
    options: str | None
    chosen: bool


def offers(plans: Plans, chosen: Plan) -> tuple[Offer, ...]:
    """All plans that no other beats, and the chosen one, the least work first."""
    found = unbeaten((*plans.every(), *plans.tiled()))
    if chosen.figures not in {plan.figures for plan in found}:
        found = (*found, chosen)
    ordered = sorted(found, key=lambda plan: (plan.figures.cycles or 0, plan.figures.instructions))
    return tuple(Offer(plan, _options(plans, plan), plan.figures == chosen.figures) for plan in ordered)


def _options(plans: Plans, wanted: Plan) -> str | None:
    """The fewest options that choose a plan, None where it does not fit the target."""
    if not all(bound.kept(wanted) for bound in bounds_of(plans.target, Limits(), plans.rooms)):
        return None
    for objective, limits in _ways(wanted):
        try:
            found = choose_plan(plans, limits, objective)
        except TargetError:
            continue
        if found.figures == wanted.figures:
            sizes = (("--max-ram", limits.ram_bytes), ("--max-flash", limits.flash_bytes))
            return " ".join((f"--optimize {objective}", *(f"{name} {size}" for name, size in sizes if size is not None)))
    return None


def _ways(wanted: Plan) -> Iterator[tuple[Objective, Limits]]:
    ram, flash = wanted.figures.arena_bytes, wanted.figures.flash_bytes
    for limits in (Limits(), Limits(ram_bytes=ram), Limits(flash_bytes=flash), Limits(ram, flash)):
        for objective in OBJECTIVES:
            yield objective, limits
