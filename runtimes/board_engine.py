"""Runs a program on a board that was flashed with it, over its serial port."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import FURTHER_MARKS, DeviceFirmware, Scale, build_device, program_id
from firmware.program import CProgram
from firmware.serial.board import Board, Hello, Run
from firmware.serial.port import open_port
from firmware.serial.ports import settle_port
from firmware.serial.virtual import image_of, powered, slots_of
from firmware.size import linked_size
from runtimes.base import Bytes, Measurement, RunResult, check_inputs, check_status, guard_fault, outputs_digest
from runtimes.board_timing import timed
from runtimes.qemu_clock import calibrated, ticks_between
from runtimes.qemu_engine import find_qemu, qemu_version
from targets.model import Target
from toolchain.errors import RunError

VIRTUAL = "qemu"
"""The port of the board that QEMU stands in for."""

TIMED_RUNS_LEAST, TIMED_RUNS_MOST, TIMED_S = 20, 1000, 5.0
"""A board is timed for so many seconds, and at least and at most so many runs."""

PROFILED_RUNS = 5
SENT_BYTES_MOST = 1024
"""Inputs that are sent anew for every timed run: a tenth of a second at 115,200 baud."""

RUN_S = 60.0


@contextlib.contextmanager
def connected(target: Target, port: str, elf: Path | None = None) -> Generator[Board]:
    """A board, real or virtual. elf: what a virtual one runs, None for what it was flashed with.

    Raises EnvironmentFault E403 to E405, RunError E508 where a virtual one was never flashed."""
    if port == VIRTUAL:
        elf = elf or image_of(target)
        if not elf.is_file():
            what = "nothing was flashed yet"
            raise RunError(508, target.name, what, f"strop flash BUNDLE --port {VIRTUAL}")
        if target.qemu is None:
            raise RunError(508, target.name, "QEMU has no machine for it", "Give the port of a real board")
        with powered(target, find_qemu(target.qemu), elf) as line:
            yield Board(line, f"{target.name} in QEMU")
    else:
        baud = target.serial.baud if target.serial else 115_200
        device = settle_port(target, port).device
        with contextlib.closing(open_port(device, baud)) as line:
            yield Board(line, f"{target.name} at {device}")


def check_firmware(hello: Hello, firmware: DeviceFirmware, target: Target, place: str) -> None:
    """Raise RunError E508 unless the board is the target and runs this firmware, E502 where its model did not start."""
    _check_board(hello, target, place)
    if hello.build_id != firmware.build_id:
        what = f"it runs build {hello.build_id.hex()[:12]}, the bundle's is {firmware.build_id.hex()[:12]}"
        raise RunError(508, place, what, "strop flash BUNDLE --port PORT")
    _check_start(hello, place)


def _check_board(hello: Hello, target: Target, place: str) -> None:
    if hello.board != target.name:
        raise RunError(508, place, f"it is {hello.board!r}, the bundle is for {target.name}", "Choose another port")


def _check_start(hello: Hello, place: str) -> None:
    if hello.status != 0:
        raise RunError(502, place, f"its model did not start: status {hello.status}", "Report this with the bundle")


def model_number(board: Board, hello: Hello, firmware: DeviceFirmware, program: CProgram, target: Target, place: str) -> int:
    """Which of a board's models a program is. firmware: of this program alone. Raises as `check_firmware`."""
    if hello.models < 2:
        check_firmware(hello, firmware, target, place)
        return 0
    _check_board(hello, target, place)
    wanted = program_id(program, firmware.compiler)
    names: list[str] = []
    for number in range(hello.models):
        model = board.model(number, several=True)
        if model.program_id == wanted:
            _check_start(hello, place)
            return number
        names.append(model.name)
    what = f"it runs {', '.join(names)}, and none of them is this bundle's {program.name}"
    raise RunError(508, place, what, "strop flash BUNDLE… --port PORT")


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
    """Run every sample on a board; with count, also time runs. Of a board with several models the one that this program is.

    inputs: uint8 (samples, input_bytes[i]). Every tensor that is sent is checked on the board, every one that comes back here.
    Raises RunError E502, E503 and E506 to E508, EnvironmentFault E401 to E405.
    """
    check_inputs(program, inputs)
    firmware = build_device(program, scale, target, find_compiler(target, compiler))
    with connected(target, port) as board:
        hello = board.hello()
        number = model_number(board, hello, firmware, program, target, port)
        talk = _Talk(board, hello, program, number)
        outputs, first = talk.run(inputs)
        virtual = port == VIRTUAL
        instructions = _instructions(board, hello, target, first) if count and virtual else None
        timing = timed(talk.ticks([array[0].tobytes() for array in inputs]), hello.clock_hz) if count and not virtual else None
    size = linked_size(firmware.elf)
    return RunResult(
        outputs,
        Measurement(
            instructions=instructions,
            cycles=timing.cycles if timing else None,
            latency_us=timing.quantiles_us if timing else None,
            arena_bytes=program.ram_bytes,
            stack_bytes=first.stack_bytes,
            code_bytes=size.code_bytes,
            rodata_bytes=size.rodata_bytes,
            outputs_sha256=outputs_digest(outputs),
            runtime=runtime_label(target, port),
            device=target.name,
            compiler=firmware.compiler.label,
            cycles_source="counted by the board" if timing else None,
            timing=timing,
        ),
    )


@dataclass(frozen=True, slots=True)
class BoardCost:
    """What one call took on a board, whichever of the two it counts."""

    instructions: int | None
    cycles: int | None


@dataclass(frozen=True, slots=True)
class BoardProfile:
    """What every call of a program took on a board: medians of PROFILED_RUNS runs, in order.

    calls: instructions where counts_instructions, else cycles. outside: before the first call and behind the last one.
    outputs_sha256: of the profiled runs' sample. clock_hz: of cycles.
    """

    calls: tuple[int, ...]
    outside: int
    counts_instructions: bool
    clock_hz: int
    outputs_sha256: str

    @property
    def total(self) -> int:
        """All of a run."""
        return sum(self.calls) + self.outside

    @property
    def costs(self) -> tuple[BoardCost, ...]:
        """Of every call."""
        return tuple(BoardCost(*((each, None) if self.counts_instructions else (None, each))) for each in self.calls)


def profile_on(
    board: Board, program: CProgram, target: Target, calls: int, inputs: Sequence[Bytes], *, virtual: bool
) -> BoardProfile:
    """Profile a program's calls on a board whose firmware was built for it, for the first sample. virtual: QEMU stands in for it.

    Raises RunError E502, E503, E506 and E507.
    """
    hello = board.hello()
    talk = _Talk(board, hello, program, 0)
    outputs, _ = talk.run([array[:1] for array in inputs])
    clock = calibrated(hello.clock_hz, *board.timer(), hello.poll_instructions) if virtual else None
    rows: list[list[float]] = []
    sample = [array[0].tobytes() for array in inputs]
    for _ in range(PROFILED_RUNS):
        talk.run_once(sample)
        marks = board.marks()
        if len(marks) != calls + FURTHER_MARKS:
            what = f"it told {len(marks)} marks of a program with {calls} calls"
            raise RunError(507, target.name, what, "Compile the bundle again with this version of Strop")
        _, empty, *rest = (
            float(ticks * clock.instructions_per_tick - polls * clock.instructions_per_poll) if clock else float(ticks)
            for ticks, polls in marks
        )
        rows.append([each - empty for each in rest])
    outside, *found = (round(each) for each in np.median(np.array(rows), axis=0))
    return BoardProfile(tuple(found), outside, clock is not None, hello.clock_hz, outputs_digest(outputs))


@dataclass(frozen=True, slots=True)
class _Talk:
    """A conversation with one model of a board."""

    board: Board
    hello: Hello
    program: CProgram
    number: int

    def run(self, inputs: Sequence[Bytes]) -> tuple[tuple[Bytes, ...], Run]:
        """Outputs (samples, bytes) of all samples, and the first run, with the most stack of all."""
        samples, most = inputs[0].shape[0] if inputs else 1, self.hello.payload_bytes
        outputs = tuple(np.empty((samples, size), np.uint8) for size in self.program.output_bytes)
        runs: list[Run] = []
        for sample in range(samples):
            runs.append(self.run_once([array[sample].tobytes() for array in inputs]))
            for index, output in enumerate(outputs):
                data = self.board.read(index, output.shape[1], most, self.number)
                output[sample] = np.frombuffer(data, np.uint8)
        return outputs, replace(runs[0], stack_bytes=max(run.stack_bytes for run in runs))

    def run_once(self, sample: Sequence[bytes] | None) -> Run:
        """Run on a sample, or time a run of whatever the inputs hold."""
        for index, data in enumerate(sample or ()):
            self.board.write(index, data, self.hello.payload_bytes, self.number)
        ran = self.board.run(sample, RUN_S, self.number)
        if ran.guard:
            raise guard_fault(self.program, ran.guard)
        check_status(self.program, "run", ran.status)
        return ran

    def ticks(self, sample: Sequence[bytes]) -> list[int]:
        """Of as many runs as TIMED_S allows, on a sample where it is small, else on what the run before left in the inputs."""
        given = sample if sum(map(len, sample)) <= SENT_BYTES_MOST else None
        found: list[int] = []
        end = time.monotonic() + TIMED_S
        while len(found) < TIMED_RUNS_LEAST or (len(found) < TIMED_RUNS_MOST and time.monotonic() < end):
            moments = self.run_once(given).moments
            found.append(ticks_between(moments, counts_instructions=self.hello.poll_instructions == 0))
        return found


def _instructions(board: Board, hello: Hello, target: Target, first: Run) -> int | None:
    if target.qemu is None:
        return None
    clock = calibrated(hello.clock_hz, *board.timer(), hello.poll_instructions)
    return round(clock.between(first.moments) - clock.overhead)


def runtime_label(target: Target, port: str) -> str:
    """What ran a program, for measurements."""
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
