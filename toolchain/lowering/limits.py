"""Limits of RAM, flash and latency: the cheapest plan that keeps them all, or an error that says what can be had."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from targets.model import Target
from toolchain.errors import TargetError, UsageError
from toolchain.lowering.banks import Rooms
from toolchain.lowering.plans import Plan, Plans
from toolchain.lowering.program import Choice, Program
from toolchain.lowering.timeline import call_at, peak
from toolchain.lowering.variants import SLACK, Objective

Resource = Literal["ram", "flash", "latency"]
CODES: dict[Resource, int] = {"ram": 301, "flash": 302, "latency": 307}
NEVER_TOGETHER = 307
WORDS: dict[Resource, str] = {"ram": "RAM", "flash": "flash", "latency": "latency"}


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a program may take: arena and flash in bytes, one inference in milliseconds. None: what the target has.

    features_ram_bytes, features_flash_bytes: of that, what an extractor of features takes beside the network.
    Raises UsageError(901) for what is no positive number.
    """

    ram_bytes: int | None = None
    flash_bytes: int | None = None
    latency_ms: float | None = None
    features_ram_bytes: int = 0
    features_flash_bytes: int = 0

    @property
    def asked(self) -> tuple[str, ...]:
        """The options of those that are given."""
        given = (("--max-ram", self.ram_bytes), ("--max-flash", self.flash_bytes), ("--max-latency", self.latency_ms))
        return tuple(option for option, value in given if value is not None)

    def __post_init__(self) -> None:
        _check("--max-ram", self.ram_bytes, int)
        _check("--max-flash", self.flash_bytes, int)
        _check("--max-latency", self.latency_ms, float)


def _check(option: str, value: object, kind: type[int] | type[float]) -> None:
    numbers = (int, float) if kind is float else (int,)
    if value is None:
        return
    if not isinstance(value, numbers) or isinstance(value, bool) or not 0 < value < math.inf:
        what = "milliseconds" if kind is float else "whole bytes"
        raise UsageError(901, option, f"{value!r:.40} is no limit", f"Give a positive number of {what}")


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit in force. told: who sets it, as in `--max-ram allows`. asked: the option, None for the target's own memory.

    features: bytes that an extractor takes of it.
    """

    resource: Resource
    most: float
    told: str
    asked: str | None
    features: int = 0

    @property
    def name(self) -> str:
        """The option, or the memory."""
        return self.asked or self.told.removesuffix(" has")

    def value(self, plan: Plan) -> float:
        """What a plan takes of it, with its features: bytes, or milliseconds."""
        if self.resource == "latency":
            return math.inf if plan.latency_ms is None else plan.latency_ms
        if self.resource == "flash":
            return plan.figures.flash_bytes + self.features
        return (plan.program.plan.first_bytes if self.asked is None else plan.figures.arena_bytes) + self.features

    def kept(self, plan: Plan) -> bool:
        """True when a plan takes no more."""
        return self.value(plan) <= self.most

    def text(self, amount: float) -> str:
        """An amount of it as printed."""
        return f"{amount:.4g} ms" if self.resource == "latency" else f"{round(amount):,} B"


def choose_plan(plans: Plans, limits: Limits, objective: Objective) -> Plan:
    """The cheapest plan by the objective among those that keep all limits and fit the target's memories.

    The objective's own plan is taken as it is where it keeps them; only else are others made.
    Raises TargetError 301 (RAM), 302 (flash) or 307 (latency) when no plan keeps that limit, 307 when none keeps all at once,
    308 for a latency on a target without a clock.
    """
    bounds = bounds_of(plans.target, limits, plans.rooms)
    # With a bound on time of its own, the objective `ram` need not hold back on work.
    if not (objective == "ram" and limits.latency_ms is not None):
        first = plans.preferred(objective)
        if all(bound.kept(first) for bound in bounds):
            return first
    flash = next(bound.most - bound.features for bound in bounds if bound.resource == "flash")
    every = plans.every(flash)
    keeping = _keeping(every, bounds)
    beyond: set[Resource] = {bound.resource for bound in bounds if not bound.kept(_best(every, bound))}
    for more in _of_less_ram(plans, flash, beyond) if not keeping else ():
        every, keeping = (*every, *more), _keeping(more, bounds)
        if keeping:
            break
    if not keeping:
        raise _misfit(every, bounds, plans.rooms)
    return _cheapest(keeping, objective)


def _of_less_ram(plans: Plans, flash_bytes: float, beyond: Collection[Resource]) -> Iterator[tuple[Plan, ...]]:
    """More plans, which take long to find. beyond: of what even the plan that takes least takes too much.

    Rows and strips only take flash and time, so they are worth a search where RAM is what is missing.
    """
    if not set(beyond) - {"ram"}:
        yield from plans.small_by_rows(flash_bytes)
    if not beyond or "ram" in beyond:
        yield plans.tiled()


def _keeping(plans: Iterable[Plan], bounds: Iterable[Bound]) -> list[Plan]:
    return [plan for plan in plans if all(bound.kept(plan) for bound in bounds)]


def bounds_of(target: Target, limits: Limits, rooms: Rooms) -> tuple[Bound, ...]:
    """The limits in force: what was asked for, or a memory of the target where that is smaller.

    rooms: memories that programs use. With several, the first bank must fit the first one.
    """
    first, *others = rooms.rooms
    beside = f" beside {' and '.join(room.memory for room in others)}" if others else ""
    largest = max((memory for memory in target.memories if memory.role == "flash"), key=lambda memory: memory.bytes)
    found: list[Bound] = []
    sizes: tuple[tuple[Resource, int | None, str, int, int], ...] = (
        ("ram", limits.ram_bytes, f"{first.memory}{beside}", first.bytes, limits.features_ram_bytes),
        ("flash", limits.flash_bytes, largest.name, largest.bytes, limits.features_flash_bytes),
    )
    for resource, asked, memory, size, features in sizes:
        option = f"--max-{resource}"
        own = Bound(resource, size, f"{memory} has", None, features)
        given = None if asked is None else Bound(resource, asked, f"{option} allows", option, features)
        if resource == "ram" and others:
            found += [own] if given is None else [own, given]
        else:
            found.append(own if given is None or size < given.most else given)
    if limits.latency_ms is not None:
        if target.clock_hz is None:
            what = "it has no clock of its own, so a latency cannot be predicted"
            raise TargetError(308, target.name, what, "Choose a board, or leave out --max-latency")
        found.append(Bound("latency", limits.latency_ms, "--max-latency allows", "--max-latency"))
    return tuple(found)


def _cheapest(plans: Sequence[Plan], objective: Objective) -> Plan:
    cycles = all(plan.figures.cycles is not None for plan in plans)

    def work(plan: Plan) -> int:
        return (plan.figures.cycles or 0) if cycles else plan.figures.instructions

    if objective == "balanced":
        most = SLACK["balanced"] * min(map(work, plans))
        near = [plan for plan in plans if work(plan) <= most]
        return min(near, key=lambda plan: (plan.figures.arena_bytes, work(plan), plan.figures.flash_bytes))
    if objective == "ram":
        return min(plans, key=lambda plan: (plan.figures.arena_bytes, work(plan), plan.figures.flash_bytes))
    if objective == "size":
        return min(plans, key=lambda plan: (plan.figures.flash_bytes, work(plan), plan.figures.arena_bytes))
    return min(plans, key=lambda plan: (work(plan), plan.figures.arena_bytes, plan.figures.flash_bytes))


def _misfit(plans: Sequence[Plan], bounds: Sequence[Bound], rooms: Rooms) -> TargetError:
    """Why no plan keeps all limits, and what would."""
    name = plans[0].program.target.name
    beyond = [(bound, _best(plans, bound)) for bound in bounds if not bound.kept(_best(plans, bound))]
    if not beyond:
        return TargetError(NEVER_TOGETHER, name, _together(plans, bounds), _what_would_fit(plans, bounds))
    what = "; also, ".join(_fault(bound, plan) for bound, plan in beyond)
    return TargetError(CODES[beyond[0][0].resource], name, what, _remedy([bound for bound, _ in beyond], plans, rooms))


def _best(plans: Sequence[Plan], bound: Bound) -> Plan:
    """The plan that takes least of a limited resource."""
    return min(plans, key=lambda plan: (bound.value(plan), plan.figures.instructions))


def _fault(bound: Bound, plan: Plan) -> str:
    """What no plan can do. plan: the one that takes least."""
    program, least = plan.program, bound.value(plan)
    over = f"{bound.told} {bound.text(bound.most)}, {bound.text(least - bound.most)} too little"
    also = f" and {bound.features:,} B of features" if bound.features else ""
    if bound.resource == "ram":
        return f"activations{also} need {bound.text(least)} at the least, {over}; the peak is at {peak_text(program)}"
    if bound.resource == "flash":
        known = "weights and code" if program.code_bytes is not None else "weights, without code,"
        largest = f"the largest constants are of {_largest_constants(program)}"
        return f"{known}{also} need {bound.text(least)} at the least, {over}; {largest}"
    return f"the fastest plan takes {bound.text(least)} ({_counted(plan)}), {over}; the slowest layers are {_slowest(plan)}"


def _together(plans: Sequence[Plan], bounds: Sequence[Bound]) -> str:
    """Each limit can be kept alone, and with what they can be had then."""
    tight = [bound for bound in bounds if not all(bound.kept(plan) for plan in plans)]
    said = " and ".join(f"{bound.name} {bound.text(bound.most)}" for bound in tight)
    alone = ", ".join(f"{bound.text(bound.value(_best(plans, bound)))} of {WORDS[bound.resource]}" for bound in tight)
    return f"no plan keeps {said} at once; each alone could be {alone}"


def _what_would_fit(plans: Sequence[Plan], bounds: Sequence[Bound]) -> str:
    """For each limit the least of it with the others kept, as options that then work, and the plan that misses by least."""
    found: list[str] = []
    for bound in bounds:
        keeping = _keeping(plans, [other for other in bounds if other is not bound])
        if keeping and not bound.kept(_best(keeping, bound)):
            found.append(_option(bound, bound.value(_best(keeping, bound))))
    near = min(plans, key=lambda plan: max(bound.value(plan) / bound.most for bound in bounds))
    takes = ", ".join(f"{bound.text(bound.value(near))} of {WORDS[bound.resource]}" for bound in bounds)
    one = f"With the other limits as they are, {' or '.join(found)} would do. " if found else ""
    return f"{one}The nearest plan takes {takes}"


def _remedy(beyond: Sequence[Bound], plans: Sequence[Plan], rooms: Rooms) -> str:
    options = [_option(bound, bound.value(_best(plans, bound))) for bound in beyond if bound.asked]
    least = f"The least found is {' and '.join(options)}. " if options else ""
    if any(bound.resource == "ram" and bound.asked is None for bound in beyond):
        least += _more_memory(plans[0].program.target, rooms)
    parts = {
        "ram": ("a smaller input or model", "a target with more RAM"),
        "flash": ("a smaller model or fewer bits", "a target with more flash"),
        "latency": ("a smaller model", "a faster target"),
    }
    ways = dict.fromkeys(part for index in (0, 1) for bound in beyond for part in [parts[bound.resource][index]])
    listed = list(ways)
    return f"{least}Use {', '.join(listed[:-1])}, or {listed[-1]}"


def _more_memory(target: Target, rooms: Rooms) -> str:
    """The RAM that the target has besides, as options."""
    used = {room.memory for room in rooms.rooms}
    others = [memory for memory in target.memories if memory.role == "ram" and memory.name not in used]
    said = " and ".join(f"--memory {memory.name} ({memory.bytes:,} B)" for memory in others)
    return f"The target has more RAM: add {said}. " if others else ""


def _option(bound: Bound, amount: float) -> str:
    """The option that allows an amount, rounded up so that it does."""
    if bound.resource != "latency":
        return f"{bound.name} {round(amount):,}"
    digits = max(3 - math.floor(math.log10(amount)), 0) if amount else 0
    return f"{bound.asked} {math.ceil(amount * 10**digits) / 10**digits:.{digits}f}"


def peak_text(program: Program) -> str:
    """The layer at which most is alive, with its largest buffers, for a message."""
    found = peak(program)
    call = call_at(program, found.step)
    layer = first_name(call.node.name) if call is not None else "the inputs" if found.step == 0 else "the outputs"
    largest = " and ".join(f"{first_name(name)} of {size:,} B" for name, size in found.buffers[:2])
    return f"{layer}, with {largest}"


def _largest_constants(program: Program) -> str:
    sizes = [(first_name(choice.node.name), _constant_bytes(choice)) for choice in program.choices]
    largest = sorted((each for each in sizes if each[1]), key=lambda each: -each[1])[:2]
    return " and ".join(f"{name} ({size:,} B)" for name, size in largest)


def _constant_bytes(choice: Choice) -> int:
    found = {o.constant.key: o.constant.bytes for call in choice.calls for o in call.operands if o.constant is not None}
    return sum(found.values())


def _slowest(plan: Plan) -> str:
    program, total = plan.program, plan.figures.cycles or plan.figures.instructions
    taken = [(choice, choice.instructions if plan.figures.cycles is None else choice.cycles or 0) for choice in program.choices]
    slowest = sorted(taken, key=lambda each: -each[1])[:3]
    each_ms = (plan.latency_ms or 0.0) / max(total, 1)
    return ", ".join(f"{first_name(choice.node.name)} ({work * each_ms:.4g} ms)" for choice, work in slowest)


def _counted(plan: Plan) -> str:
    megahertz = f"{(plan.program.target.clock_hz or 0) / 1e6:g} MHz"
    if plan.figures.cycles is not None:
        return f"{plan.figures.cycles:,} cycles at {megahertz}"
    return f"{plan.figures.instructions:,} instructions at {megahertz}, one cycle each: cycles of this core are not modelled"


def first_name(name: str) -> str:
    """The first of the names that a converter joined into one."""
    return name.partition(";")[0]
