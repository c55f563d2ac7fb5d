"""Networks in little RAM on a Cortex-M4: the bytes of tflite-micro in a third of its arena, for little work.

Arena: all RAM but the stack, with the input whole in it (`arena`) or taken row by row (`rows`).
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.models import mobilenet_v2, unet
from runtimes.base import Measurement
from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.support.engines import needs_qemu, needs_unicorn
from tests.support.mlperf import MLPERF, model_inputs, needs_mlperf, tflite_micro_outputs
from tests.support.programs import compile_c, typed_outputs
from toolchain.backends.tflite.writer import write_tflite
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.lowering.check_memory import faults
from toolchain.lowering.lower import InterfaceMode

KIB = 1024
M4 = "mps2_an386"
NETWORKS = {
    "mobilenet_v2_35_96": functools.partial(mobilenet_v2, 0.35, 96, 10),
    "mobilenet_v2_35_224": functools.partial(mobilenet_v2, 0.35, 224, 10),
    "unet_96": unet,
}
# Arena bytes with the input whole and row by row, and instructions over those of programs for speed.
BARS = {
    "ic": (19_000, 16_500, 1.04),
    "vww": (31_000, 18_500, 1.05),
    "kws": (8_200, 7_900, 1.12),
    "ad": (1_024, None, 1.0),
    "mobilenet_v2_35_96": (34 * KIB, 21 * KIB, 1.08),
    "mobilenet_v2_35_224": (162 * KIB, 60 * KIB, 1.08),
    "unet_96": (170 * KIB, 155 * KIB, 1.10),
}
SMALL, LARGE = ("ic", "vww", "kws", "ad", "mobilenet_v2_35_96"), ("mobilenet_v2_35_224", "unet_96")
STACK_BYTES = 1024
# What programs for speed take where no result lies over an operand.
WHOLE_BUFFERS = {"ic": 49_984, "vww": 55_328, "kws": 16_400, "mobilenet_v2_35_96": 143_152}
DEFAULT_WORK = 1.05


class Network:
    """A graph, its inputs as raw bytes, and what tflite-micro makes of them."""

    def __init__(self, name: str, folder: Path, samples: int = 3) -> None:
        if name in NETWORKS:
            self.graph: Graph = NETWORKS[name]()
            path = folder / f"{name}.tflite"
            path.write_bytes(write_tflite(self.graph))
        else:
            path = MLPERF / f"{name}_int8.tflite"
            self.graph = load_model(path)
        inputs = model_inputs(name, self.graph.inputs[0].type.shape, samples)
        self.raw = [inputs.reshape(len(inputs), -1).view(np.uint8)]
        self.expected = tflite_micro_outputs(path, inputs)

    def check(self, outputs: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> None:
        """Every byte is tflite-micro's."""
        np.testing.assert_array_equal(typed_outputs(self.graph, outputs)[0], self.expected)


def check_bars(name: str, folder: Path, *, samples: int, qemu: bool) -> None:
    """The bars of a network, printed as they are found."""
    network, target = Network(name, folder, samples), load_target(M4)
    fastest, fast = compile_c(network.graph, target, folder / "speed", "net", "speed")
    assert fastest.program is not None
    assert faults(fastest.program) == []
    assert fastest.program.plan.arena_bytes < WHOLE_BUFFERS.get(name, math.inf)
    least = run_emulated(fast, target, network.raw, engine="unicorn", count=True).measurement.instructions
    check_default(network, folder, least)
    whole, by_rows, more = BARS[name]
    modes: dict[InterfaceMode, int] = {"arena": whole} if by_rows is None else {"arena": whole, "rows": by_rows}
    for io, most in modes.items():
        compiled, program = compile_c(network.graph, target, folder / io, "net", "ram", io)
        assert compiled.program is not None
        assert faults(compiled.program) == []
        found = run_emulated(program, target, network.raw, engine="unicorn", count=True)
        network.check(list(found.outputs))
        check_measured(f"{name} {io}", found.measurement, most, least, more)
        if qemu:
            network.check(list(run_emulated(program, target, network.raw, engine="qemu").outputs))


def check_default(network: Network, folder: Path, least: int | None) -> None:
    """`balanced` gives the same bytes for at most 5 % more instructions."""
    compiled, program = compile_c(network.graph, M4, folder / "balanced", "net", "balanced")
    assert compiled.program is not None
    assert faults(compiled.program) == []
    found = run_emulated(program, load_target(M4), network.raw, engine="unicorn", count=True)
    network.check(list(found.outputs))
    taken = found.measurement.instructions
    assert taken is not None
    assert least is not None
    print(f"balanced: arena {found.measurement.arena_bytes:,} B, {taken / least:.4f} of the instructions for speed")
    assert taken <= DEFAULT_WORK * least


def check_measured(name: str, found: Measurement, most: int, least: int | None, more: float) -> None:
    """Arena, instructions and stack are within the bars."""
    assert found.instructions is not None
    assert least is not None
    assert found.stack_bytes is not None
    ratio = found.instructions / least
    print(
        f"{name}: arena {found.arena_bytes:,} B (bar {most:,}), {ratio:.4f} of the instructions for speed (bar {more}), ", end=""
    )
    print(f"stack {found.stack_bytes:,} B")
    assert found.arena_bytes <= most
    assert ratio <= more
    assert found.stack_bytes <= STACK_BYTES


@needs_mlperf
@needs_unicorn
@needs_qemu
@pytest.mark.parametrize("name", SMALL)
def test_little_ram_for_little_work(name: str, tmp_path: Path) -> None:
    check_bars(name, tmp_path, samples=3, qemu=True)


@pytest.mark.long
@needs_unicorn
@pytest.mark.parametrize("name", LARGE)
def test_large_networks_in_little_ram(name: str, tmp_path: Path) -> None:
    check_bars(name, tmp_path, samples=2, qemu=False)


@pytest.mark.long
@needs_unicorn
@pytest.mark.parametrize("io", ["arena", "rows"])
def test_an_image_of_224_pixels_on_a_board_of_320_kib(io: InterfaceMode, tmp_path: Path) -> None:
    """In the memory map of the board: 320 KiB of RAM hold the arena, the stack and, row by row, the harness's own image."""
    network, board = Network("mobilenet_v2_35_224", tmp_path, 2), load_target("stm32f746g_disco")
    _, program = compile_c(network.graph, board, tmp_path / io, "net", "ram", io)
    found = run_emulated(program, board, network.raw, engine="unicorn")
    network.check(list(found.outputs))
    measured = found.measurement
    flash = (measured.code_bytes or 0) + (measured.rodata_bytes or 0)
    print(f"{board.name} {io}: arena {measured.arena_bytes:,} of {board.ram.bytes:,} B, flash {flash:,} B")
    assert measured.arena_bytes <= board.ram.bytes
    assert flash <= 1 << 20
