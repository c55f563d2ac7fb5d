"""Stretches in strips of columns: every byte is that of the evaluator, and limits that nothing else keeps are kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from targets.load import load_target
from tests.support.streamed_graphs import Drawn, random_graph, run_on_host
from tests.support.wide_graphs import electrodes
from toolchain.errors import TargetError
from toolchain.ir.graph import Graph
from toolchain.ir.optable import macs
from toolchain.ir.types import Array
from toolchain.lowering.banks import rooms_of
from toolchain.lowering.check_memory import faults
from toolchain.lowering.frontier import offers
from toolchain.lowering.limits import Limits
from toolchain.lowering.lower import lower, plans_of
from toolchain.lowering.parts import with_parts
from toolchain.lowering.plans import Plan, Plans
from toolchain.lowering.tiles import Tiled, tiled
from toolchain.lowering.tilings import starts
from toolchain.reference.evaluator import evaluate

M4, HOST = load_target("mps2_an386"), load_target("host")


def wide_graph(seed: int) -> Graph:
    """A random graph on an image that is wider than high."""
    rng = np.random.default_rng(seed)
    drawn = Drawn(rng, (int(rng.integers(1, 8)), int(rng.integers(8, 40)), int(rng.integers(1, 6))))
    image = drawn.input
    for _ in range(int(rng.integers(2, 6))):
        image = drawn.layer(image)
    return Graph("wide", (drawn.input,), (image,), tuple(drawn.nodes), drawn.constants)


def stretches(graph: Graph) -> list[tuple[int, int]]:
    """All first nodes and ends of stretches that may run in strips and whose result has several columns."""
    ends = [end for end in range(1, len(graph.nodes) + 1) if graph.nodes[end - 1].output.type.shape[2] > 1]
    return [(first, end) for end in ends for first in starts(graph, graph.users(), end)]


def tiled_by_chance(graph: Graph, seed: int) -> Tiled | None:
    rng, found = np.random.default_rng(seed), stretches(graph)
    if not found:
        return None
    first, end = found[int(rng.integers(len(found)))]
    return tiled(graph, first, end, int(rng.integers(2, 9)))


def image_for(graph: Graph, seed: int) -> Array:
    return np.random.default_rng(seed).integers(-128, 128, graph.inputs[0].type.shape).astype(np.int8)


@pytest.mark.parametrize("draw", [random_graph, wide_graph])
def test_strips_give_every_byte_of_the_graph(draw: Callable[[int], Graph]) -> None:
    made = resized = joined = halos = 0
    for seed in range(300):
        graph = draw(seed)
        found = tiled_by_chance(graph, seed)
        if found is None:
            continue
        image, own = image_for(graph, seed), {node.name for node in graph.nodes}
        kept = [node.name for node in found.graph.nodes if node.name in own]
        before, after = (evaluate(each, [image], kept) for each in (graph, found.graph))
        for name in kept:
            np.testing.assert_array_equal(after[name], before[name], err_msg=f"{seed} {name}")
        ops = {node.op for node in found.graph.nodes if node.name in found.sources}
        made, resized, joined = made + 1, resized + ("resize_nearest" in ops), joined + ("concat" in ops)
        halos += found.strips.again > 0
        more = sum(map(macs, found.graph.nodes)) - sum(map(macs, graph.nodes))
        assert found.strips.again == max(more, 0)
    assert made > 150 and min(resized, joined, halos) > 5


@pytest.mark.parametrize("start", range(12))
def test_programs_in_strips_compute_the_bytes_of_the_evaluator(start: int, tmp_path: Path) -> None:
    draw = wide_graph if start % 2 else random_graph
    drawn = ((seed, draw(seed)) for seed in itertools.count(100 * start))
    seed, graph, found = next(
        (seed, graph, tiled) for seed, graph in drawn if (tiled := tiled_by_chance(graph, seed)) is not None
    )
    parted = with_parts(found.graph)
    program = Plans(parted, HOST, frozenset(), {}, rooms_of(HOST), (found.strips,)).by_rows(1.2).program
    assert faults(program) == []
    images = [image_for(graph, seed) for _ in range(2)]
    for image, output in zip(images, run_on_host(program, tmp_path, ("-O1",), images), strict=True):
        np.testing.assert_array_equal(output, evaluate(graph, [image])[graph.outputs[0].name])


@pytest.fixture(scope="module")
def plans() -> Plans:
    return plans_of(electrodes(), M4)


def least(found: tuple[Plan, ...]) -> int:
    return min(plan.figures.arena_bytes for plan in found)


def test_a_limit_that_only_strips_keep_is_kept(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    arena = least(plans.every())
    limits = Limits(ram_bytes=arena // 2)
    program = lower(electrodes(), M4, limits=limits)
    assert program.plan.arena_bytes <= arena // 2
    assert program.instructions < 1.1 * plans.preferred("speed").figures.instructions
    assert faults(program) == []

    def none(_: Plans) -> tuple[Plan, ...]:
        return ()

    monkeypatch.setattr(Plans, "tiled", none)
    with pytest.raises(TargetError, match="E301"):
        lower(electrodes(), M4, limits=limits)


def test_the_latency_bound_holds_in_strips(plans: Plans) -> None:
    half, fast = least(plans.every()) // 2, plans.preferred("speed").latency_ms or 0.0
    program = lower(electrodes(), M4, limits=Limits(half, None, 1.2 * fast))
    assert program.cycles is not None
    assert program.cycles <= 1.2 * fast * 25e3
    with pytest.raises(TargetError, match="E307"):
        lower(electrodes(), M4, limits=Limits(half, None, 0.95 * fast))


def test_the_least_that_is_told_counts_strips(plans: Plans) -> None:
    with pytest.raises(TargetError, match="E301") as fault:
        lower(electrodes(), M4, limits=Limits(ram_bytes=64))
    assert f"--max-ram {least(plans.tiled()):,}" in fault.value.hint
    lower(electrodes(), M4, limits=Limits(ram_bytes=least(plans.tiled())))


def test_without_limits_nothing_runs_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Plans) -> tuple[Plan, ...]:
        raise AssertionError("a search that nobody needs")

    monkeypatch.setattr(Plans, "tiled", never)
    program = lower(electrodes(), M4)
    assert not any("strip" in node.name for node in program.graph.nodes)


def test_offers_list_plans_in_strips_with_options_that_choose_them(plans: Plans) -> None:
    found = [offer for offer in offers(plans, plans.preferred("balanced")) if offer.plan.strips]
    assert found
    for offer in found:
        (strips,) = offer.plan.strips
        assert strips.count > 1
        assert offer.options is not None
        assert "--max-ram" in offer.options


def test_strips_keep_limits_when_the_caller_owns_the_image(plans: Plans) -> None:
    own = plans_of(electrodes(), M4, "caller")
    assert least(own.tiled()) < least(own.every()) // 2
    assert least(own.tiled()) < least(plans.tiled())
    for plan in own.tiled():
        assert faults(plan.program) == []
