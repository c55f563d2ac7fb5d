"""Runs a program on a board that was flashed with it, over its serial port."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import DeviceFirmware, Scale, build_device
from firmware.program import CProgram
from firmware.serial.board import Board, Hello, Run
from firmware.serial.port import open_port
from firmware.serial.virtual import image_of, powered, slots_of
from firmware.size import linked_size
from runtimes.base import Bytes, Measurement, RunResult, check_inputs, check_status, guard_fault, outputs_digest
from runtimes.qemu_clock import calibrated, ticks_between
from runtimes.qemu_engine import find_qemu, qemu_version
from targets.model import Target
from toolchain.errors import RunError

VIRTUAL = "qemu"
"""The port of the board that QEMU stands in for."""

TIMED_RUNS = 20
RUN_S = 60.0


@contextlib.contextmanager
def connected(target: Target, port: str) -> Generator[Board]:
    """A board, real or virtual. Raises EnvironmentFault E403 to E405, RunError E508 where a virtual one was never flashed."""
    if port == VIRTUAL:
        elf = image_of(target)
        if not elf.is_file():
            what = "nothing was flashed yet"
            raise RunError(508, target.name, what, f"strop flash BUNDLE --port {VIRTUAL}")
        if target.qemu is None:
            raise RunError(508, target.name, "QEMU has no machine for it", "Give the port of a real board")
        with powered(target, find_qemu(target.qemu), elf) as line:
            yield Board(line, f"{target.name} in QEMU")
    else:
        baud = target.serial.baud if target.serial else 115_200
        with contextlib.closing(open_port(port, baud)) as line:
            yield Board(line, f"{target.name} at {port}")


def check_firmware(hello: Hello, firmware: DeviceFirmware, target: Target, place: str) -> None:
    """Raise RunError E508 unless the board is the target and runs this firmware, E502 where its model did not start."""
    if hello.board != target.name:
        raise RunError(508, place, f"it is {hello.board!r}, the bundle is for {target.name}", "Choose another port")
    if hello.build_id != firmware.build_id:
        what = f"it runs build {hello.build_id.hex()[:12]}, the bundle's is {firmware.build_id.hex()[:12]}"
        raise RunError(508, place, what, "strop flash BUNDLE --port PORT")
    if hello.status != 0:
        raise RunError(502, place, f"its model did not start: status {hello.status}", "Report this with the bundle")


def run_board(
    program: CProgram,
    scale: Scale,
    target: Target,
    port: str,
    inputs: Sequence[Bytes],
    *,
    count: bool,
    compiler: CompilerChoice = "auto",
) -> RunResult:
    """Run every sample on a board; with count, also time TIMED_RUNS runs.

    inputs: uint8 (samples, input_bytes[i]). Every tensor that is sent is checked on the board, every one that comes back here.
    Raises RunError E502, E503 and E506 to E508, EnvironmentFault E401 to E405.
    """
    samples = check_inputs(program, inputs)
    firmware = build_device(program, scale, target, find_compiler(target, compiler))
    with connected(target, port) as board:
        hello = board.hello()
        check_firmware(hello, firmware, target, port)
        outputs = tuple(np.empty((samples, size), np.uint8) for size in program.output_bytes)
        first: Run | None = None
        for sample in range(samples):
            ran = _run_sample(board, program, hello, [array[sample].tobytes() for array in inputs])
            first = first or ran
            for index, output in enumerate(outputs):
                data = board.read(index, output.shape[1], hello.payload_bytes)
                output[sample] = np.frombuffer(data, np.uint8)
        virtual = port == VIRTUAL
        instructions = _instructions(board, hello, target, first) if count and virtual else None
        ticks = _ticks(board, hello) if count and not virtual else []
    size = linked_size(firmware.elf)
    return RunResult(
        outputs,
        Measurement(
            instructions=instructions,
            cycles=int(np.median(ticks)) if ticks else None,
            latency_us=_latency(ticks, hello) if ticks else None,
            arena_bytes=program.ram_bytes,
            stack_bytes=first.stack_bytes if first else None,
            code_bytes=size.code_bytes,
            rodata_bytes=size.rodata_bytes,
            outputs_sha256=outputs_digest(outputs),
            runtime=_runtime(target, port),
            device=target.name,
            compiler=firmware.compiler.label,
            cycles_source="counted by the board" if ticks else None,
        ),
    )


def _run_sample(board: Board, program: CProgram, hello: Hello, sample: Sequence[bytes]) -> Run:
    for index, data in enumerate(sample):
        board.write(index, data, hello.payload_bytes)
    ran = board.run(sample, RUN_S)
    if ran.guard:
        raise guard_fault(program, ran.guard)
    check_status(program, "run", ran.status)
    return ran


def _instructions(board: Board, hello: Hello, target: Target, first: Run | None) -> int | None:
    if target.qemu is None or first is None:
        return None
    clock = calibrated(target.qemu, *board.timer(), hello.poll_instructions)
    return round(clock.between(first.moments) - clock.overhead)


def _ticks(board: Board, hello: Hello) -> list[int]:
    runs = [board.run(None, RUN_S).moments for _ in range(TIMED_RUNS)]
    return [ticks_between(moments, counts_instructions=hello.poll_instructions == 0) for moments in runs]


def _latency(ticks: Sequence[int], hello: Hello) -> tuple[float, float, float]:
    """Quantiles in microseconds."""
    p50, p95, p99 = (float(each) * 1e6 / hello.clock_hz for each in np.percentile(ticks, (50, 95, 99)))
    return p50, p95, p99


def _runtime(target: Target, port: str) -> str:
    if port != VIRTUAL or target.qemu is None:
        return f"board at {port}"
    return f"board in qemu {qemu_version(find_qemu(target.qemu))}"


def flash_virtual(elf: Path, target: Target, slots: bytes = b"") -> Path:
    """Write an image into the flash of the board that QEMU stands in for. slots: of a board that takes updates, from the start
    of its memory. Raises RunError E505."""
    place, kept = image_of(target), slots_of(target)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        kept.unlink(missing_ok=True)
        if slots and target.qemu is not None:
            with kept.open("wb") as file:
                file.write(slots)
                file.truncate(target.qemu.data_bytes)
        aside = place.with_suffix(".new")
        aside.write_bytes(elf.read_bytes())
        aside.replace(place)
    except OSError as fault:
        raise RunError(505, str(place), f"it cannot be written: {fault.strerror}", "Set STROP_CACHE to another folder") from fault
    return place
