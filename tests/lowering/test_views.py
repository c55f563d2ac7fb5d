"""Ops that move nothing share memory, whole or as parts, and the program still computes what the graph says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from targets.load import load_target
from tests.support.float_cases import FLAGS, assert_close
from tests.support.kernel_cases import OUTLINED, SANITIZERS, build, run_program
from tests.support.part_graphs import Parts, random_parts
from tests.support.streamed_graphs import run_on_host
from toolchain.ir.attrs import (
    Attrs,
    AxesAttrs,
    AxisAttrs,
    BlockAttrs,
    PadAttrs,
    PermAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
)
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import f32
from toolchain.lowering.check_memory import faults
from toolchain.lowering.lower import lower
from toolchain.lowering.program import Program
from toolchain.lowering.variants import Objective
from toolchain.lowering.views import roots, views_of
from toolchain.reference.evaluator import run

X = Value("x", f32(1, 4, 1, 3))
HOST = load_target("host")
SANITIZED = ("-O1", OUTLINED, *SANITIZERS)
FREE: tuple[tuple[str, Attrs], ...] = (
    ("reshape", ReshapeAttrs((12,))),
    ("transpose", PermAttrs((0, 2, 1, 3))),
    ("transpose", PermAttrs((1, 0, 2, 3))),
    ("slice", SliceAttrs((0, 0, 0, 0), (1, 4, 1, 3), (1, 1, 1, 1))),
    ("slice", SliceAttrs((0, 0, 0, 0), (-1, 4, 1, 3), (-1, 1, 1, 1))),
    ("reverse", AxesAttrs((0, 2))),
    ("pad", PadAttrs((0,) * 4, (0,) * 4)),
    ("tile", TileAttrs((1,) * 4)),
    ("broadcast_to", ReshapeAttrs((1, 1, 4, 1, 3))),
    ("concat", AxisAttrs(1)),
    ("split", SplitAttrs(1, (4,))),
    ("space_to_depth", BlockAttrs(1)),
)
MOVING: tuple[tuple[str, Attrs], ...] = (
    ("transpose", PermAttrs((0, 3, 2, 1))),
    ("slice", SliceAttrs((0, 3, 0, 0), (1, -1, 1, 3), (1, -1, 1, 1))),
    ("slice", SliceAttrs((0, 0, 0, 0), (1, 4, 1, 2), (1, 1, 1, 1))),
    ("slice", SliceAttrs((0, 0, 0, 0), (1, 4, 1, 3), (1, 2, 1, 1))),
    ("reverse", AxesAttrs((1,))),
    ("pad", PadAttrs((0, 0, 1, 0), (0,) * 4)),
    ("tile", TileAttrs((1, 1, 2, 1))),
    ("broadcast_to", ReshapeAttrs((1, 4, 2, 3))),
    ("split", SplitAttrs(3, (1, 2))),
    ("copy", Attrs()),
)


def one(op: str, attrs: Attrs) -> tuple[Graph, Node]:
    """A node between an input and a layer, so that neither input nor output stands in the way."""
    names = [f"y{i}" for i in range(len(attrs.sizes))] if isinstance(attrs, SplitAttrs) else ["y0"]
    node = make_node(op, (X,), names, attrs)
    last = make_node("exp", (node.output,), ("z",))
    return Graph("one", (X,), last.outputs, (node, last)), node


@pytest.mark.parametrize(("op", "attrs"), FREE, ids=[f"{i}-{op}" for i, (op, _) in enumerate(FREE)])
def test_free(op: str, attrs: Attrs) -> None:
    graph, node = one(op, attrs)
    assert node.name in views_of(graph).free
    assert roots(graph)["y0"] == "x"


@pytest.mark.parametrize(("op", "attrs"), MOVING, ids=[f"{i}-{op}" for i, (op, _) in enumerate(MOVING)])
def test_not_free(op: str, attrs: Attrs) -> None:
    graph, node = one(op, attrs)
    assert node.name not in views_of(graph).free


def test_constants_are_moved() -> None:
    node = make_node("reshape", (X,), ("y",), ReshapeAttrs((12,)))
    graph = Graph("one", (), node.outputs, (node,), {"x": np.zeros(X.type.shape, np.float32)})
    assert not views_of(graph).free


def test_chain_of_views(tmp_path: Path) -> None:
    """Views of an input and of a result, read twice, as outputs more than once."""
    nodes = [make_node("relu", (X,), ("r",))]
    for index, (op, attrs) in enumerate(FREE):
        source = X if index % 2 else nodes[0].output
        nodes.append(make_node(op, (source,), (f"v{index}",), attrs))
    last = make_node("exp", (nodes[1].output,), ("e",))
    outputs = tuple(node.output for node in (*nodes, last))
    graph = Graph("chain", (X,), outputs, (*nodes, last))
    sample = np.linspace(-2, 2, 12, dtype=np.float32).reshape(X.type.shape)
    (found,) = run_program(build(graph, tmp_path, FLAGS), graph, [sample.tobytes()])
    for wanted, value in zip(run(graph, [sample]), outputs, strict=True):
        assert_close(next(array for name, array in found.items() if name.startswith(value.name)), wanted, value.name)


def check(graph: Graph, folder: Path, objective: Objective = "speed") -> Program:
    """The program of a graph of int8, after its memory was replayed and its bytes compared, in the arena and at the caller's."""
    program = lower(graph, HOST, objective=objective)
    assert faults(program) == []
    assert faults(lower(graph, HOST, "caller", objective=objective)) == []
    rng = np.random.default_rng(0)
    samples = [rng.integers(-128, 128, graph.inputs[0].type.shape).astype(np.int8) for _ in range(3)]
    wanted = [run(graph, [sample]) for sample in samples]
    if len(graph.outputs) == 1:
        for sample, found in zip(wanted, run_on_host(program, folder, SANITIZED, samples), strict=True):
            np.testing.assert_array_equal(found, sample[0])
    results = run_program(build(graph, folder, SANITIZED), graph, [sample.tobytes() for sample in samples])
    for sample, found in zip(wanted, results, strict=True):
        for array, value in zip(sample, graph.outputs, strict=True):
            np.testing.assert_array_equal(found[value.name], array)
    return program


def ops(program: Program) -> list[str]:
    return [call.node.op for call in program.calls]


def test_concat_of_results_is_no_code(tmp_path: Path) -> None:
    made = Parts((1, 16, 4))
    a, b, c = (made.layer(made.input, number) for number in range(3))
    program = check(made.graph(made.layer(made.concat(a, b, c, axis=1))), tmp_path)
    assert ops(program) == ["add", "add", "add", "add"]
    # The joined tensor of 192 bytes, whose place its sum takes, beside the input.
    assert program.plan.arena_bytes == 256
    assert [program.plan.offset(v.name) - program.plan.offset(a.name) for v in (b, c)] == [64, 128]


def test_concat_copies_what_has_another_place(tmp_path: Path) -> None:
    """An input, a constant, the same value twice, and a value that is itself an output."""
    made = Parts((8, 4))
    a, end = made.layer(made.input, 1), made.layer(made.input, 2)
    joined = made.concat(made.input, a, made.constant((8, 4)), a, end, made.input)
    program = check(made.graph(joined, end), tmp_path)
    assert ops(program) == ["add", "add", "copy", "copy", "copy", "copy", "copy"]
    assert roots(program.graph)[a.name] == joined.name
    assert roots(program.graph)[end.name] == end.name


@pytest.mark.parametrize("place", range(3))
def test_concat_of_an_input_in_any_position(place: int, tmp_path: Path) -> None:
    made = Parts((8, 4))
    values = [made.layer(made.input, 1), made.layer(made.input, 2)]
    values.insert(place, made.input)
    assert ops(check(made.graph(made.layer(made.concat(*values))), tmp_path)) == ["add", "add", "copy", "add"]


def test_a_part_is_read_elsewhere(tmp_path: Path) -> None:
    """By a layer before the concat, by one after it, and by another concat, which copies it."""
    made = Parts((8, 4))
    a = made.layer(made.input, 1)
    b = made.layer(a, 2)
    first = made.concat(a, b)
    second = made.concat(made.layer(a, 3), a)
    program = check(made.graph(made.layer(first), made.layer(second), made.layer(a, 4)), tmp_path)
    assert ops(program) == ["add", "add", "add", "copy", "add", "add", "add"]


def test_nested_concats_and_views_of_them(tmp_path: Path) -> None:
    """A concat of concats, of reshaped values, and slices of it, which are parts again."""
    made = Parts((4, 8))
    inner = made.concat(made.layer(made.input, 1), made.layer(made.input, 2))
    flat = made.reshape(made.layer(made.reshape(made.layer(made.input, 3), 32)), 4, 8)
    outer = made.concat(flat, inner, made.layer(inner, 4))
    cut = made.slice(outer, 4, 12)
    program = check(made.graph(made.layer(made.slice(cut, 2, 7)), made.layer(outer)), tmp_path)
    assert ops(program) == ["add"] * 7
    places = views_of(program.graph).places
    assert places[inner.name] == places[cut.name] == (outer.name, 32)


def test_a_part_of_a_view_that_is_larger_is_copied(tmp_path: Path) -> None:
    made = Parts((8, 4))
    a = made.layer(made.input)
    joined = made.concat(made.slice(a, 0, 4), made.layer(made.slice(a, 4, 8)))
    assert ops(check(made.graph(made.layer(joined)), tmp_path)) == ["add", "add", "copy", "add"]


def test_split_and_slice_of_a_result_and_of_an_input(tmp_path: Path) -> None:
    made = Parts((16, 4))
    first, second = made.split(made.layer(made.input), 4, 12)
    cut = made.slice(made.input, 3, 9)
    program = check(made.graph(made.layer(first), made.layer(second), made.layer(cut)), tmp_path)
    assert ops(program) == ["add"] * 4
    assert views_of(program.graph).places[cut.name] == ("x", 12)
    # What the first part had is free once it is read: 64 bytes cut, 64 of results, 24 of the third; 16 of 64 are spare.
    assert program.plan.lower_bound_bytes < 64 + 64 + 64


def test_parts_that_are_outputs_have_memory_of_their_own(tmp_path: Path) -> None:
    made = Parts((16, 4))
    first, second = made.split(made.layer(made.input), 4, 12)
    program = check(made.graph(first, made.layer(second)), tmp_path)
    assert ops(program) == ["add", "slice", "add"]


def test_an_odd_offset_is_copied(tmp_path: Path) -> None:
    """Words are loaded from parts, so parts start at words: here at 6 and at 3."""
    made = Parts((6, 1))
    joined = made.concat(made.layer(made.input, 1), made.layer(made.input, 2), axis=0)
    cut = made.slice(made.layer(made.input, 3), 3, 6)
    program = check(made.graph(made.layer(joined), made.layer(cut)), tmp_path)
    assert ops(program) == ["add", "add", "copy", "add", "slice", "add", "add"]
    places = views_of(program.graph).places
    odd = {name: offset for name, (_, offset) in places.items() if offset % 4}
    assert list(odd.values()) == [6]


def test_padding_fills_only_the_border(tmp_path: Path) -> None:
    made = Parts((1, 8, 4))
    padded = made.pad(made.layer(made.input), 2, 3, axis=1, fill=1.5)
    program = check(made.graph(made.layer(padded)), tmp_path)
    assert ops(program) == ["add", "broadcast_to", "broadcast_to", "add"]
    # The padded tensor of 52 bytes, whose place its sum takes; the input of 32 begins in its lower border, which is filled later.
    assert program.plan.arena_bytes == 80


def test_padding_of_an_input_or_across_rows_is_one_call(tmp_path: Path) -> None:
    made = Parts((2, 8, 4))
    across = made.pad(made.layer(made.input), 1, 1, axis=1)
    of_input = made.pad(made.input, 1, 0, axis=0)
    program = check(made.graph(made.layer(across), made.layer(of_input)), tmp_path)
    assert sorted(ops(program)) == ["add", "add", "add", "pad", "pad"]


def test_joins_across_rows_are_copies(tmp_path: Path) -> None:
    made = Parts((2, 8, 4))
    joined = made.concat(made.layer(made.input, 1), made.layer(made.input, 2), axis=2)
    program = check(made.graph(made.layer(made.slice(joined, 0, 4, axis=1))), tmp_path)
    assert ops(program) == ["add", "add", "concat", "concat", "slice", "add"]


def test_a_node_with_a_given_kernel_stays() -> None:
    made = Parts((4, 4))
    joined = made.concat(made.input, made.layer(made.input))
    program = lower(made.graph(joined), HOST, fixed={joined.name: "portable.move_1"})
    assert ops(program) == ["add", "concat", "concat"]
    assert faults(program) == []


def test_a_kernel_that_spoils_its_operand_spoils_no_part_of_what_is_read_later() -> None:
    made = Parts((1, 64))
    value = made.layer(made.input)
    upper, lower_half = made.split(value, 32, 32, axis=1)
    joined = made.concat(made.dense(upper, 4), made.dense(lower_half, 4), made.dense(value, 4), axis=1)
    single = Parts((1, 64))
    alone = single.dense(single.slice(single.layer(single.input), 32, 64, axis=1), 4)
    for graph, spoils in ((made.graph(joined), False), (single.graph(alone), True)):
        program = lower(graph, load_target("mps2_an386"), objective="speed")
        assert faults(program) == []
        assert any(operand.spoiled for call in program.calls for operand in call.operands) == spoils


def test_segments_read_and_write_parts(tmp_path: Path) -> None:
    """Layers that run row by row between a concat and slices: their ends are parts of whole tensors."""
    made = Parts((1, 24, 8, 4))
    branches = made.input, made.layer(made.input)
    ends = [made.window(made.window(made.window(value, 3), 3, depthwise=True), 1) for value in branches]
    upper, lower_half = made.split(made.concat(*ends, axis=1), 20, 28, axis=1)
    last = [made.window(made.window(part, 3), 3) for part in (upper, lower_half)]
    program = check(made.graph(made.concat(*last, axis=1)), tmp_path, "ram")
    assert len({call.segment for call in program.calls}) > 1
    assert not {"concat", "split", "slice", "copy"} & set(ops(program))
    assert faults(lower(made.graph(made.concat(*last, axis=1)), HOST, "rows", objective="ram")) == []


@pytest.mark.parametrize("seed", range(16))
def test_random_joins_and_cuts(seed: int, tmp_path: Path) -> None:
    check(random_parts(seed), tmp_path, "ram" if seed % 2 else "balanced")


def test_the_checker_finds_nothing_in_random_joins_and_cuts() -> None:
    for seed in range(100, 130):
        for objective in ("balanced", "ram"):
            assert faults(lower(random_parts(seed), HOST, objective=objective)) == []


def test_the_checker_catches_a_read_one_byte_beside_a_part() -> None:
    caught = tried = 0
    for seed in range(30):
        program = lower(random_parts(seed), HOST)
        for at, call in enumerate(program.calls):
            for index, operand in enumerate(call.operands):
                if operand.offset and not operand.writable:
                    wrong = replace(operand, offset=operand.offset - 1)
                    operands = (*call.operands[:index], wrong, *call.operands[index + 1 :])
                    calls = (*program.calls[:at], replace(call, operands=operands), *program.calls[at + 1 :])
                    caught += bool(faults(replace(program, calls=calls)))
                    tried += 1
    assert tried > 50
    assert caught == tried
