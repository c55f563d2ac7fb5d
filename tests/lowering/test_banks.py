"""Several memories: every buffer lies in one, none takes more than it has, and slow ones hold what is touched least."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from runtimes.host_engine import run_host
from targets.load import load_target
from targets.model import Memory, Target
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from tests.support.streamed_graphs import random_graph
from toolchain.errors import StropError
from toolchain.ir.attrs import ActivationAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, TensorType, per_tensor
from toolchain.lowering.banks import Room, Rooms, rooms_of, spread
from toolchain.lowering.check_memory import faults
from toolchain.lowering.lifetimes import Piece, Shape
from toolchain.lowering.limits import Limits
from toolchain.lowering.lower import InterfaceMode, lower
from toolchain.lowering.program import Constant
from toolchain.reference.evaluator import run

HOST = load_target("host")


def two_memories(slow: int, fast: int, slow_waits: int = 0) -> Target:
    """The host with two memories of so many bytes, and flash of eight wait states."""
    flash = replace(HOST.flash, wait_states=8)
    slow_ram, fast_ram = Memory("slow", 0x5000_0000, slow, slow_waits, "ram"), Memory("fast", 0x6000_0000, fast, 0, "ram")
    return replace(HOST, memories=(slow_ram, fast_ram, flash))


def shape(name: str, size: int, first: int, last: int) -> Shape:
    return Shape(name, size, (Piece(0, size, ((first, last),)),))


@pytest.mark.parametrize("seed", range(12))
def test_programs_in_two_memories_compute_the_bytes_of_the_evaluator(seed: int, tmp_path: Path) -> None:
    graph, io = random_graph(seed), ("arena", "rows", "caller")[seed % 3]
    whole = lower(graph, HOST, "arena" if io == "caller" else io, objective="ram").plan.arena_bytes
    target = two_memories(whole // 2 + 64, whole, slow_waits=seed % 2)
    compiled, program = compile_c(graph, target, tmp_path, "net", "ram", io, {"fast": None}, copy_weights=seed % 4 > 1)
    assert compiled.program is not None
    assert faults(compiled.program) == []
    samples = [[np.random.default_rng(i).integers(-128, 128, graph.inputs[0].type.shape).astype(np.int8)] for i in range(3)]
    found = typed_outputs(graph, run_host(program, target, raw_inputs(graph, samples)).outputs)
    np.testing.assert_array_equal(found[0], np.stack([run(graph, sample)[0] for sample in samples]))


@pytest.mark.parametrize("seed", [1, 3, 6])
def test_programs_in_four_memories_compute_the_bytes_of_the_evaluator(seed: int, tmp_path: Path) -> None:
    """All four hold bytes that are needed at once, so no two may be taken for one another."""
    graph = random_graph(seed)
    whole = lower(graph, HOST, objective="speed").plan.arena_bytes
    sizes, names = (whole // 2, whole // 4, whole, whole), ("a", "b", "c", "d")
    rams = tuple(
        Memory(name, 0x5000_0000 + (at << 24), size, 0, "ram") for at, (name, size) in enumerate(zip(names, sizes, strict=True))
    )
    target = replace(HOST, memories=(*rams, replace(HOST.flash, wait_states=8)))
    memories = dict.fromkeys(names[1:])
    compiled, program = compile_c(graph, target, tmp_path, "net", "speed", "arena", memories, copy_weights=True)
    assert compiled.program is not None
    plan = compiled.program.plan
    assert {plan.bank(placed.offset) for placed in plan.placements} == {0, 1, 2, 3}
    samples = [[np.random.default_rng(i).integers(-128, 128, graph.inputs[0].type.shape).astype(np.int8)] for i in range(3)]
    found = typed_outputs(graph, run_host(program, target, raw_inputs(graph, samples)).outputs)
    np.testing.assert_array_equal(found[0], np.stack([run(graph, sample)[0] for sample in samples]))


@pytest.mark.parametrize(("io", "copies"), [("arena", False), ("rows", True)])
def test_no_memory_holds_more_than_it_has(io: InterfaceMode, copies: bool) -> None:
    shared = 0
    for seed in range(20):
        graph = random_graph(seed)
        whole = lower(graph, HOST, io, objective="ram").plan.arena_bytes
        target = two_memories(whole // 2 + 64, whole, 1)
        program = lower(graph, target, io, objective="ram", rooms=rooms_of(target, {"fast": None}, copies=copies))
        assert faults(program) == []
        if program.plan.further:
            shared += 1
            assert program.plan.first_bytes <= target.memories[0].bytes
            assert program.plan.further[0].bytes <= target.memories[1].bytes
    assert shared > 15


def test_the_checker_sees_buffers_in_two_banks_and_copies_that_are_overwritten() -> None:
    caught = 0
    for seed in range(6):
        graph = random_graph(seed)
        whole = lower(graph, HOST, objective="ram").plan.arena_bytes
        target = two_memories(whole // 2 + 64, 4 * whole, 1)
        program = lower(graph, target, objective="ram", rooms=rooms_of(target, {"fast": None}, copies=True))
        plan = program.plan
        later = [replace(bank, first=bank.first + 8) for bank in plan.further]
        for placed in plan.placements:
            if placed.offset == plan.first_bytes and placed.bytes > 8:
                assert any("two banks" in fault for fault in faults(replace(program, plan=replace(plan, further=tuple(later)))))
        for name in plan.copied:
            low = tuple(replace(p, offset=0) if p.name == name else p for p in plan.placements)
            others = [p for p in plan.placements if p.offset < plan.copied[name].bytes and p.name != name]
            if others:
                caught += 1
                assert faults(replace(program, plan=replace(plan, placements=low)))
    assert caught > 6


def test_the_choice_is_the_best_of_all() -> None:
    """Against every way to share out a few buffers that all live at once."""
    rng = np.random.default_rng(5)
    for _ in range(30):
        sizes = [int(size) * 16 for size in rng.integers(1, 9, 6)]
        uses = [float(use) for use in rng.integers(1, 1000, 6)]
        rooms = Rooms((Room("slow", 48 * 16, 3), Room("fast", 8 * 16, 0)))
        items = [shape(f"b{i}", size, 0, 4) for i, size in enumerate(sizes)]
        found = spread(items, frozenset(), {f"b{i}": use for i, use in enumerate(uses)}, rooms, {}, 16)
        assert found is not None
        ways = (
            sum(3 * use for use, fast in zip(uses, way, strict=True) if not fast)
            for way in product((False, True), repeat=6)
            if sum(size for size, fast in zip(sizes, way, strict=True) if fast) <= 8 * 16
            and sum(size for size, fast in zip(sizes, way, strict=True) if not fast) <= 48 * 16 - 8
        )
        assert found.waits == pytest.approx(min(ways), abs=0.1)
        assert found.least_waits <= found.waits


def test_constants_are_copied_where_that_spares_most() -> None:
    constants = {name: Constant("int8_t", np.zeros(64, np.int8)) for name in ("often", "seldom")}
    items = [shape("image", 64, 0, 3), shape("often", 64, 0, 3), shape("seldom", 64, 0, 3)]
    uses = {"image": 10.0, "often": 1000.0, "seldom": 10.0}
    found = spread(items, frozenset(), uses, Rooms((Room("ram", 128, 0),), copies=True, flash_waits=5), constants, 16)
    assert found is not None
    assert set(found.offsets) == {"image", "often"}
    assert found.waits == pytest.approx(50.0, abs=0.1)
    slow = Rooms((Room("ram", 512, 6),), copies=True, flash_waits=5)
    found = spread(items, frozenset(), uses, slow, constants, 16)
    assert found is not None
    assert set(found.offsets) == {"image"}


def test_a_program_without_buffers_has_nothing_to_share_out() -> None:
    """One of two memories is faster, but the caller owns all that there is."""
    image = Value("x", TensorType((1, 4, 4, 2), DType.I8, per_tensor(0.5, 0)))
    node = make_node("add", (image, image), ("y",), ActivationAttrs(), per_tensor(1.0, 0))
    target = two_memories(1 << 10, 1 << 10, 1)
    program = lower(Graph("small", (image,), (node.output,), (node,)), target, "caller", rooms=rooms_of(target, {"fast": None}))
    assert program.plan.placements == ()


def test_what_fits_the_first_memory_stays_there() -> None:
    graph = random_graph(2)
    target = two_memories(1 << 20, 1 << 20)
    plan = lower(graph, target, objective="ram", rooms=rooms_of(target, {"fast": None})).plan
    assert plan == lower(graph, target, objective="ram").plan


def test_errors_name_memories_that_would_help() -> None:
    graph = random_graph(4)
    target = two_memories(64, 1 << 20)
    with pytest.raises(StropError, match=r"add --memory fast \(1,048,576 B\)") as fault:
        lower(graph, target)
    assert fault.value.code == "E301"
    with pytest.raises(StropError, match="slow beside fast has 64 B") as fault:
        lower(graph, two_memories(64, 64), rooms=rooms_of(two_memories(64, 64), {"fast": None}))
    assert fault.value.code == "E301"
    with pytest.raises(StropError, match="has no RAM 'dtcm'") as fault:
        rooms_of(target, {"dtcm": None})
    assert fault.value.code == "E901"
    with pytest.raises(StropError, match="--max-ram allows") as fault:
        lower(graph, target, limits=Limits(ram_bytes=128), rooms=rooms_of(target, {"fast": None}))
    assert fault.value.code == "E301"
