"""Limits of RAM, flash and latency: the cheapest plan that keeps them, lazily, and errors whose advice can be followed."""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from targets.load import load_target
from tests.support.streamed_graphs import random_graph
from toolchain.errors import StropError, TargetError, UsageError
from toolchain.lowering import plans as plans_module
from toolchain.lowering.frontier import offers
from toolchain.lowering.limits import Limits, choose_plan
from toolchain.lowering.lower import InterfaceMode, lower, plans_of
from toolchain.lowering.mixes import mixes
from toolchain.lowering.plans import Figures, Plan, Plans, options_for, unbeaten
from toolchain.lowering.program import Choice
from toolchain.lowering.shrink import flash_bytes
from toolchain.lowering.variants import Objective

M4 = load_target("mps2_an386")
SEEDS = (26, 50, 51)
OBJECTIVES: tuple[Objective, ...] = ("speed", "balanced", "ram", "size")


def cycles(plan: Plan) -> int:
    assert plan.figures.cycles is not None
    return plan.figures.cycles


@pytest.fixture(scope="module", params=SEEDS)
def plans(request: pytest.FixtureRequest) -> Plans:
    """The plans of a small network for a core whose cycles are known."""
    return plans_of(random_graph(request.param), M4)


def options_of(text: str) -> Limits:
    """The limits in words such as `--max-ram 1,024 or --max-latency 0.7`, or of printed options."""
    found = {name: value.replace(",", "") for name, value in re.findall(r"--max-(ram|flash|latency) ([0-9.,]*[0-9])", text)}
    ram, flash, latency = (found.get(name) for name in ("ram", "flash", "latency"))
    return Limits(int(ram) if ram else None, int(flash) if flash else None, float(latency) if latency else None)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_fits_is_taken_as_it_is_and_nothing_else_is_made(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(51)
    free = lower(graph, M4, objective=objective)

    def never(*_: object) -> None:
        raise AssertionError("a search that nobody needs")

    monkeypatch.setattr(Plans, "every", never)
    if objective in ("speed", "size"):
        monkeypatch.setattr(plans_module, "Streaming", never)
    limits = Limits(free.plan.arena_bytes, free.weight_bytes + (free.code_bytes or 0))
    kept = lower(graph, M4, limits=limits, objective=objective)
    assert [call.variant for call in kept.calls] == [call.variant for call in free.calls]


def test_speed_within_ram_is_the_fastest_that_fits(plans: Plans) -> None:
    every = plans.every()
    for arena in sorted({plan.figures.arena_bytes for plan in every}):
        found = choose_plan(plans, Limits(ram_bytes=arena), "speed")
        assert found.figures.arena_bytes <= arena
        if found is not plans.preferred("speed"):
            assert plans.preferred("speed").figures.arena_bytes > arena
            assert cycles(found) == min(cycles(plan) for plan in every if plan.figures.arena_bytes <= arena)


def test_size_within_latency_is_the_smallest_that_is_fast_enough(plans: Plans) -> None:
    every = plans.every()
    fast = min(every, key=cycles)
    most = (fast.latency_ms or 0.0) * 1.001
    found = choose_plan(plans, Limits(latency_ms=most), "size")
    assert (found.latency_ms or math.inf) <= most
    assert found.figures.flash_bytes == min(plan.figures.flash_bytes for plan in every if (plan.latency_ms or math.inf) <= most)


def test_ram_within_latency_may_take_all_the_time_there_is(plans: Plans) -> None:
    every = plans.every()
    slow = max(plan.latency_ms or 0.0 for plan in every)
    found = choose_plan(plans, Limits(latency_ms=slow), "ram")
    assert found.figures.arena_bytes == min(plan.figures.arena_bytes for plan in every)


def test_balanced_does_little_more_work_than_the_fastest_that_fits(plans: Plans) -> None:
    every = plans.every()
    arena = plans.whole("balanced").figures.arena_bytes - 1
    fitting = [plan for plan in every if plan.figures.arena_bytes <= arena]
    if fitting:
        found = choose_plan(plans, Limits(ram_bytes=arena), "balanced")
        near = [plan for plan in fitting if cycles(plan) <= 1.05 * min(map(cycles, fitting))]
        assert found.figures.arena_bytes == min(plan.figures.arena_bytes for plan in near)


@pytest.mark.parametrize("limits", [Limits(ram_bytes=16), Limits(flash_bytes=64), Limits(latency_ms=1e-4)])
def test_what_cannot_be_kept_names_the_least_which_then_can(plans: Plans, limits: Limits) -> None:
    with pytest.raises(TargetError) as fault:
        choose_plan(plans, limits, "speed")
    assert fault.value.number == {"--max-ram": 301, "--max-flash": 302, "--max-latency": 307}[limits.asked[0]]
    least = options_of(fault.value.hint)
    assert least.asked == limits.asked
    choose_plan(plans, least, "speed")
    below = Limits(*((None if value is None else type(value)(0.999 * value)) for value in (least.ram_bytes, least.flash_bytes)))
    below = replace(below, latency_ms=None if least.latency_ms is None else 0.99 * least.latency_ms)
    with pytest.raises(TargetError, match="too little"):
        choose_plan(plans, below, "speed")


def test_messages_name_layers_with_numbers() -> None:
    plans = plans_of(random_graph(51), M4)
    names = "|".join(node.name for node in plans.graph.nodes)
    texts = {}
    for limits in (Limits(ram_bytes=16), Limits(flash_bytes=64), Limits(latency_ms=1e-4)):
        with pytest.raises(TargetError) as fault:
            choose_plan(plans, limits, "speed")
        texts[limits.asked[0]] = str(fault.value)
    short = r"[\d,]+ B too little; the"
    ram = rf"activations need [\d,]+ B at the least, --max-ram allows 16 B, {short} peak is at ({names}), with \S+ of [\d,]+ B"
    assert re.search(ram, texts["--max-ram"])
    flash = rf"weights and code need [\d,]+ B at the least, --max-flash allows 64 B, {short} largest .* ({names}) \([\d,]+ B\)"
    assert re.search(flash, texts["--max-flash"])
    latency = r"takes [\d.]+ ms \([\d,]+ cycles at 25 MHz\), --max-latency allows 0.0001 ms, [\d.]+ ms too little"
    assert re.search(rf"{latency}; the slowest layers are ({names}) \([\d.]+ ms\)", texts["--max-latency"])


def test_limits_that_cannot_be_kept_together_tell_what_one_must_give(plans: Plans) -> None:
    every = plans.every()
    fastest, least = min(every, key=cycles), min(every, key=lambda plan: plan.figures.arena_bytes)
    assert fastest.figures.arena_bytes > least.figures.arena_bytes
    limits = Limits(ram_bytes=least.figures.arena_bytes, latency_ms=(fastest.latency_ms or 0.0) * 1.0001)
    with pytest.raises(TargetError, match=r"E307 .* no plan keeps --max-ram .* and --max-latency .* at once") as fault:
        choose_plan(plans, limits, "speed")
    advice = options_of(fault.value.hint.partition(" would do")[0])
    assert advice.asked == ("--max-ram", "--max-latency")
    choose_plan(plans, replace(limits, ram_bytes=advice.ram_bytes), "speed")
    choose_plan(plans, replace(limits, latency_ms=advice.latency_ms), "speed")


def test_ram_and_flash_both_short_take_small_kernels_by_rows() -> None:
    plans = plans_of(random_graph(51), M4)
    rows, smallest = plans.by_rows(math.inf).figures, min(plan.figures.flash_bytes for plan in plans.every())
    limits = Limits(rows.arena_bytes, (rows.flash_bytes + smallest) // 2)
    assert not [
        plan
        for plan in plans.every(limits.flash_bytes or 0)
        if plan.figures.arena_bytes <= rows.arena_bytes and plan.figures.flash_bytes <= (limits.flash_bytes or 0)
    ]
    found = choose_plan(plans, limits, "balanced")
    assert found.by_rows
    assert found.figures.arena_bytes <= rows.arena_bytes
    assert found.figures.flash_bytes <= (limits.flash_bytes or 0)


@pytest.mark.parametrize("io", ["caller", "rows"])
def test_limits_hold_for_every_interface(io: InterfaceMode) -> None:
    plans = plans_of(random_graph(51), M4, io)
    least = min(plan.figures.arena_bytes for plan in plans.every())
    program = lower(random_graph(51), M4, io, Limits(ram_bytes=least), "speed")
    assert program.plan.arena_bytes <= least
    assert (program.pushed is not None) == (io == "rows")
    with pytest.raises(TargetError, match="E301"):
        lower(random_graph(51), M4, io, Limits(ram_bytes=1), "speed")


def test_latency_counts_instructions_where_cycles_are_not_known() -> None:
    plans = plans_of(random_graph(51), load_target("mps2_an500"))
    plan = plans.whole("speed")
    assert plan.figures.cycles is None
    assert plan.latency_ms == pytest.approx(plan.figures.instructions / 25e3)
    with pytest.raises(TargetError, match="instructions at 25 MHz, one cycle each: cycles of this core are not modelled"):
        choose_plan(plans, Limits(latency_ms=1e-4), "speed")


def test_no_clock_no_latency() -> None:
    with pytest.raises(TargetError, match="E308 host: it has no clock"):
        lower(random_graph(51), load_target("host"), limits=Limits(latency_ms=1.0))


@pytest.mark.parametrize("value", [0, -1, True, math.nan, math.inf, "64k", 1.5])
def test_what_is_no_limit_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="E901 --max-flash"):
        Limits(flash_bytes=value)  # type: ignore[arg-type]
    if value != 1.5:
        with pytest.raises(UsageError, match="E901 --max-latency"):
            Limits(latency_ms=value)  # type: ignore[arg-type]


def test_offers_are_what_their_options_choose(plans: Plans) -> None:
    chosen = plans.preferred("balanced")
    found, fresh = offers(plans, chosen), plans_of(plans.graph, M4)
    assert [offer.plan.figures for offer in found if offer.chosen] == [chosen.figures]
    assert sum(offer.options is None for offer in found) <= 1
    for offer in found:
        if offer.options is not None:
            objective: Any = shlex.split(offer.options)[1]
            assert choose_plan(fresh, options_of(offer.options), objective).figures == offer.plan.figures


def test_unbeaten_plans_are_those_that_no_other_beats(plans: Plans) -> None:
    every = plans.every()

    def worse(a: Figures, b: Figures) -> bool:
        sizes = ((a.arena_bytes, b.arena_bytes), (a.flash_bytes, b.flash_bytes), (a.instructions, b.instructions))
        pairs = (*sizes, (a.cycles or 0, b.cycles or 0))
        return a != b and all(own >= its for own, its in pairs)

    wanted = {p.figures for p in every if not any(worse(p.figures, other.figures) for other in every)}
    found = unbeaten(every)
    assert {plan.figures for plan in found} == wanted
    assert len(found) == len(wanted)
    assert list(map(cycles, found)) == sorted(map(cycles, found))


@pytest.mark.parametrize("seed", [20, 21, 22, 24, 37, 44, 48, 51])
def test_mixes_are_nearly_as_good_as_all_mixes_tried(seed: int) -> None:
    """Layer by layer, what kernels share of their code is not known, so a mix may miss the best by two in a hundred."""
    options = options_for(random_graph(seed), M4, "size", {})
    table = M4.core.costs

    def taken(choices: Sequence[Choice]) -> tuple[float, int]:
        return flash_bytes(choices, table), sum(choice.cycles or 0 for choice in choices)

    found = mixes(options, table)
    assert [(mix.bytes, mix.work) for mix in found] == [taken(mix.choices) for mix in found]
    assert all(a.work < b.work and a.bytes > b.bytes for a, b in itertools.pairwise(found))
    for size, work in map(taken, itertools.islice(itertools.product(*options), 5000)):
        assert any(mix.bytes <= 1.02 * size and mix.work <= 1.02 * work for mix in found)


def test_an_error_of_a_limit_is_quick_and_coded_before_the_model_is_read() -> None:
    from toolchain.api import compile

    with pytest.raises(StropError, match="E901 --max-latency"):
        compile("missing.onnx", "host", "nowhere", max_latency_ms=-1)
