"""Lowering: views cost nothing, outputs have memory of their own, limits are told with numbers."""

from __future__ import annotations

import numpy as np
import pytest

from targets.load import load_target
from toolchain.errors import TargetError
from toolchain.ir.attrs import ActivationAttrs, ReshapeAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import TensorType, i8, per_tensor
from toolchain.lowering.kernels.common import broadcast_strides, merge_dimensions
from toolchain.lowering.limits import Limits
from toolchain.lowering.lower import lower
from toolchain.lowering.variants import every_choice

HOST = load_target("host")


def adder(size: int) -> Graph:
    """x + x, reshaped."""
    x = Value("x", i8((1, size), 0.5, 3))
    total = make_node("add", (x, x), ("total",), ActivationAttrs(), per_tensor(1.0, 0))
    flat = make_node("reshape", (total.output,), ("flat",), ReshapeAttrs((size,)))
    return Graph("adder", (x,), (flat.output,), (total, flat))


def test_a_reshape_costs_no_call_and_no_memory() -> None:
    program = lower(adder(100), HOST)
    assert [call.node.op for call in program.calls] == ["add"]
    assert program.plan.offset("flat") == program.plan.offset("total")
    assert program.plan.arena_bytes == 112  # the sum takes the place of the input's 100 bytes


def test_an_input_that_is_also_an_output_is_copied() -> None:
    x = Value("x", i8((8,), 0.5, 0))
    program = lower(Graph("same", (x,), (x,), ()), HOST)
    assert [call.node.op for call in program.calls] == ["copy"]


def test_a_constant_output_is_copied_to_the_arena() -> None:
    c = Value("c", i8((8,), 0.5, 0))
    x = Value("x", i8((8,), 0.5, 0))
    graph = Graph("constant", (x,), (c,), (), {"c": np.arange(8, dtype=np.int8)})
    program = lower(graph, HOST)
    assert [call.node.op for call in program.calls] == ["copy"]


def test_caller_owned_tensors_take_no_arena() -> None:
    assert lower(adder(100), HOST, "caller").plan.arena_bytes == 16


def test_too_large_for_ram_names_the_peak_and_the_numbers() -> None:
    with pytest.raises(TargetError) as fault:
        lower(adder(1000), HOST, limits=Limits(ram_bytes=600))
    assert str(fault.value).startswith("E301 host: activations need 1,008 B at the least, ")
    assert "--max-ram allows 600 B, 408 B too little; the peak is at the inputs, with x of 1,000 B" in str(fault.value)


def test_types_without_kernels_are_refused() -> None:
    x = Value("x", TensorType((4,), i8((4,), 1.0).dtype))
    node = make_node("softmax", (x,), ("y",))
    with pytest.raises(TargetError) as fault:
        lower(Graph("raw", (x,), (node.output,), (node,)), HOST)
    assert fault.value.number == 305


def test_dimensions_that_run_together_are_merged() -> None:
    assert merge_dimensions((2, 3, 4), [[12, 4, 1], [12, 4, 1]]) == ([24], [[1], [1]])
    channel = broadcast_strides((4,), (2, 3, 4))
    assert merge_dimensions((2, 3, 4), [[12, 4, 1], channel]) == ([6, 4], [[4, 1], [0, 1]])


def dense_layer() -> Graph:
    """A fully connected layer of 64 inputs and 64 outputs."""
    x = Value("x", i8((1, 64), 0.02, 0))
    w = Value("w", i8((64, 64), 0.01, 0))
    node = make_node("fully_connected", (x, w), ("y",), ActivationAttrs(), per_tensor(0.05, 0))
    return Graph("dense", (x,), (node.output,), (node,), {"w": np.ones((64, 64), np.int8)})


def test_the_objective_trades_flash_and_ram_for_speed() -> None:
    target = load_target("mps2_an500")
    fast, small = (lower(dense_layer(), target, objective=objective) for objective in ("speed", "size"))
    assert fast.calls[0].variant == "armv7em.fully_connected_unstaged_dsp"
    assert small.calls[0].variant == "armv7em.fully_connected_byte_dsp"
    assert fast.weight_bytes > 8000
    assert small.weight_bytes < 6000


def test_a_flash_limit_is_met_by_smaller_kernels_before_it_fails() -> None:
    target = load_target("mps2_an500")
    program = lower(dense_layer(), target, limits=Limits(flash_bytes=6600), objective="speed")
    assert program.calls[0].variant == "armv7em.fully_connected_byte_dsp"
    with pytest.raises(TargetError, match="E302 mps2_an500: weights and code need 6,245 B at the least"):
        lower(dense_layer(), target, limits=Limits(flash_bytes=4000))


def test_speed_is_cycles_where_they_are_known() -> None:
    known, unknown = (lower(dense_layer(), load_target(name), objective="speed") for name in ("mps2_an386", "mps2_an500"))
    assert known.cycles is not None
    assert unknown.cycles is None
    fewest = min(every_choice(known.graph, known.graph.nodes[0], known.target), key=lambda choice: choice.instructions)
    assert known.instructions <= 1.1 * fewest.instructions
    assert known.choices[0].cycles is not None
    assert fewest.cycles is not None
    assert known.choices[0].cycles <= fewest.cycles


def test_a_kernel_can_be_fixed() -> None:
    program = lower(dense_layer(), load_target("mps2_an386"), fixed={"y": "portable.conv_2d_s8"})
    assert program.calls[0].variant == "portable.conv_2d_s8"
    with pytest.raises(TargetError, match=r"no kernel portable\.lut_8 runs fully_connected"):
        lower(dense_layer(), load_target("mps2_an386"), fixed={"y": "portable.lut_8"})
