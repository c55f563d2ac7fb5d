"""Runs a firmware image in unicorn (PyPI): plain function calls into the program, no harness code, exact instruction counts."""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firmware.build import SHIM_PREFIX, Firmware
from firmware.image import Image, read_image
from firmware.program import CProgram
from runtimes.base import (
    Bytes,
    CallCost,
    Measurement,
    RunResult,
    buffer_fault,
    check_inputs,
    check_status,
    guard_fault,
    outputs_digest,
    stack_fault,
)
from runtimes.block_counter import BlockCounter, riscv_instructions, thumb_instructions
from runtimes.cycle_counter import CycleCounter, Load
from targets.model import Core, Target
from toolchain.errors import EnvironmentFault, RunError

PAGE = 4096
PAINT = 0x5A
FPEXC_ENABLE = 0x4000_0000
COUNTING_SLOWDOWN = 100


@dataclass(frozen=True, slots=True)
class _Registers:
    argument: int
    stack: int
    link: int
    pc: int


def unicorn_version() -> str:
    """unicorn's version. Raises EnvironmentFault E404 when it is not installed."""
    return str(_unicorn().__version__)


def _unicorn(part: str = "") -> Any:
    """The untyped package, or its module part."""
    try:
        return importlib.import_module(f"unicorn.{part}" if part else "unicorn")
    except ImportError as fault:
        raise EnvironmentFault(404, "unicorn", "it is not installed", "pip install 'strop[mcu]'") from fault


def run_unicorn(
    program: CProgram, target: Target, firmware: Firmware, inputs: Sequence[Bytes], *, count: bool, timeout_s: float
) -> RunResult:
    """Run every sample; with count, the first sample's `<name>_run` is counted: instructions, and cycles by the
    core's timing table where it has one.

    inputs: uint8 (samples, input_bytes[i]). timeout_s: limit for one call into the program.
    Raises RunError E501 (time), E502 (fault, status), E503 (write outside the arena), EnvironmentFault E404.
    """
    samples = check_inputs(program, inputs)
    version = unicorn_version()
    machine = _Machine(program, target, firmware, timeout_s)
    outputs = tuple(np.empty((samples, size), np.uint8) for size in program.output_bytes)
    machine.check_status("init", machine.call("init"))
    for sample in range(samples):
        for index, array in enumerate(inputs):
            machine.write_input(index, array[sample].tobytes())
        machine.check_status("run", machine.call("run"))
        machine.check_guards()
        for index, output in enumerate(outputs):
            output[sample] = np.frombuffer(machine.read_output(index), np.uint8)
    stack = machine.stack_used()
    # Counted last: the hooks slow the program down, and it is known to end by now.
    counted = machine.counted_run([array[0].tobytes() for array in inputs]).total() if count else CallCost(0)
    if count and any(machine.read_output(index) != output[0].tobytes() for index, output in enumerate(outputs)):
        raise RunError(502, program.name, "counted, it gives other outputs than uncounted", "Report this with the bundle")
    timing = target.core.timing if count else None
    return RunResult(
        outputs,
        Measurement(
            instructions=counted.instructions if count else None,
            cycles=counted.cycles,
            latency_us=None,
            arena_bytes=program.ram_bytes,
            stack_bytes=stack,
            code_bytes=firmware.size.code_bytes,
            rodata_bytes=firmware.size.rodata_bytes,
            outputs_sha256=outputs_digest(outputs),
            runtime=f"unicorn {version}",
            device=target.name,
            compiler=firmware.compiler.label,
            cycles_source=timing.label if timing else None,
        ),
    )


def profile_unicorn(
    program: CProgram, target: Target, firmware: Firmware, sample: Sequence[bytes], *, timeout_s: float
) -> tuple[CallCost, ...]:
    """Instructions, and cycles where the core has a timing table, of every call of a program built with its profile, in order.

    sample: the bytes of every input. Raises as `run_unicorn`.
    """
    machine = _Machine(program, target, firmware, timeout_s)
    machine.check_status("init", machine.call("init"))
    return machine.profiled_run(sample)


class _Machine:
    """A unicorn engine with the image loaded, the stack and the guards painted."""

    def __init__(self, program: CProgram, target: Target, firmware: Firmware, timeout_s: float) -> None:
        self._program = program
        self._core = target.core
        self._image: Image = read_image(firmware.elf)
        self._timeout_s = timeout_s
        self._uc, self._registers = _open(target.core)
        _map(self._uc, target)
        for segment in self._image.segments:
            self._uc.mem_write(segment.address, segment.data)
        symbols = self._image.symbols
        self._arena = symbols["strop_arena"]
        self._stack = (symbols["strop_stack_low"], symbols["strop_stack_high"])
        suffixes = ("", *(f"_{number}" for number in range(1, len(program.further) + 1)))
        ends = ("strop_guard_low", "strop_arena", "strop_guard_high", "strop_guard_end")
        self._arenas = [tuple(symbols[end + suffix] for end in ends) for suffix in suffixes]
        self._uc.mem_write(self._stack[0], bytes([PAINT]) * (self._stack[1] - self._stack[0]))
        for low, high, _ in self._guards():
            self._uc.mem_write(low, _guard_pattern(high - low))

    def _guards(self) -> Iterator[tuple[int, int, int]]:
        """First address and end of every guard, and the start of its arena."""
        for low, start, high, end in self._arenas:
            yield low, start, start
            yield high, end, start

    def call(self, function: str) -> int:
        """Call `<name>_<function>(arena)` on the program's stack and return its 32-bit result."""
        thumb = 1 if self._core.architecture == "arm" else 0
        stop = self._image.symbols["strop_stop"]
        shim = bool(self._program.further) if function == "init" else self._program.io != "arena"
        start = self._image.symbols[f"{SHIM_PREFIX if shim else self._program.name}_{function}"]
        uc, registers = self._uc, self._registers
        uc.reg_write(registers.argument, self._arena)
        uc.reg_write(registers.stack, self._stack[1])
        uc.reg_write(registers.link, stop | thumb)
        begun = time.monotonic()
        try:
            uc.emu_start(start | thumb, stop, timeout=max(1, math.ceil(self._timeout_s * 1e6)))
        except _unicorn().UcError as fault:
            raise self._fault(function, str(fault)) from fault
        pc = int(uc.reg_read(registers.pc))
        if pc & ~1 != stop:
            if time.monotonic() - begun >= 0.9 * self._timeout_s:
                where = f"after {self._timeout_s:g} s {self._program.name}_{function} is at {self._image.describe(pc)}"
                raise RunError(501, self._program.name, where, "Raise the time limit if the program is that long")
            raise self._fault(function, "stopped")
        return int(uc.reg_read(registers.argument))

    def counted_run(self, sample: Sequence[bytes]) -> BlockCounter:
        """Run sample with every basic block counted, from entry to return."""
        return self._counted(sample, None)

    def profiled_run(self, sample: Sequence[bytes]) -> tuple[CallCost, ...]:
        """Run sample; what was executed between every two marks, without the call of the mark."""
        mark = self._image.symbols["strop_mark"]
        arm = self._core.architecture == "arm"
        self._uc.mem_write(mark, bytes.fromhex("7047" if arm else "8280"))  # bx lr, ret: the harness's clock is not here
        counter = self._counted(sample, mark)
        call = counter.call_count()
        return tuple(after - before - call for before, after in itertools.pairwise(counter.passed))

    def _counted(self, sample: Sequence[bytes], mark: int | None) -> BlockCounter:
        """Run sample with blocks counted; where cycles are, first to find the loads that may be unaligned."""
        loads: dict[int, Load] = {}
        if self._core.timing is not None:
            first = self._counter(None)
            self._hooked_run(sample, first, {})
            loads = first.loads() if isinstance(first, CycleCounter) else {}
        counter = self._counter(mark)
        self._hooked_run(sample, counter, loads)
        return counter

    def _counter(self, mark: int | None) -> BlockCounter:
        """What counts the core's instructions, and its cycles where it has a timing table."""
        uc, core = self._uc, self._core

        def read(address: int, size: int) -> bytes:
            return bytes(uc.mem_read(address, size))

        if core.timing is not None:
            return CycleCounter(core.timing, read, mark)
        return BlockCounter(thumb_instructions if core.architecture == "arm" else riscv_instructions, read, mark)

    def _hooked_run(self, sample: Sequence[bytes], counter: BlockCounter, loads: Mapping[int, Load]) -> None:
        uc, unicorn = self._uc, _unicorn()
        for index, data in enumerate(sample):
            self.write_input(index, data)
        uc.ctl_flush_tb()  # blocks translated without the hook would go uncounted
        self._timeout_s *= COUNTING_SLOWDOWN
        handles = [uc.hook_add(unicorn.UC_HOOK_BLOCK, counter.hook())]
        if isinstance(counter, CycleCounter):
            look = counter.load_hook(loads, lambda name: int(uc.reg_read(_register(name))))
            handles += [uc.hook_add(unicorn.UC_HOOK_CODE, look, begin=address, end=address) for address in loads]
        try:
            self.check_status("run", self.call("run"))
        finally:
            for handle in handles:
                uc.hook_del(handle)
            self._timeout_s /= COUNTING_SLOWDOWN

    def write_input(self, index: int, data: bytes) -> None:
        """Fill input index by its accessor."""
        self._uc.mem_write(self._buffer(f"input_{index}", len(data)), data)

    def read_output(self, index: int) -> bytes:
        """The bytes of output index."""
        size = self._program.output_bytes[index]
        return bytes(self._uc.mem_read(self._buffer(f"output_{index}", size), size))

    def _buffer(self, accessor: str, size: int) -> int:
        address = self.call(accessor)
        inside = any(start <= address <= high - size for _, start, high, _ in self._arenas)
        if self._program.io == "arena" and not inside:
            raise buffer_fault(self._program)
        return address

    def check_status(self, function: str, status: int) -> None:
        """Raise E502 unless status is 0, E503 first when that run also broke a guard."""
        if status != 0:
            self.check_guards()
            check_status(self._program, function, status)

    def check_guards(self) -> None:
        """Raise RunError E503 when a byte beside the arena has changed."""
        for low, high, start in self._guards():
            found = np.frombuffer(bytes(self._uc.mem_read(low, high - low)), np.uint8)
            changed = np.flatnonzero(found != np.frombuffer(_guard_pattern(high - low), np.uint8))
            if changed.size:
                raise guard_fault(self._program, low + int(changed[-1 if low < start else 0]) - start)

    def stack_used(self) -> int:
        """Bytes from the lowest changed byte of the painted stack to its top, over all calls so far."""
        low, high = self._stack
        changed = np.flatnonzero(np.frombuffer(bytes(self._uc.mem_read(low, high - low)), np.uint8) != PAINT)
        used = high - low - int(changed[0]) if changed.size else 0
        if used == high - low:
            raise stack_fault(self._program, used)
        return used

    def _fault(self, function: str, reason: str) -> RunError:
        pc = int(self._uc.reg_read(self._registers.pc))
        stack = int(self._uc.reg_read(self._registers.stack))
        if stack < self._stack[0]:
            return stack_fault(self._program, self._stack[1] - self._stack[0])
        message = f"{self._program.name}_{function} faulted at {self._image.describe(pc)}: {reason}"
        return RunError(502, self._program.name, message, "Report this with the bundle")


@functools.cache
def _register(name: str) -> int:
    """unicorn's number of an Arm register."""
    return int(getattr(_unicorn("arm_const"), f"UC_ARM_REG_{name.upper()}"))


def _guard_pattern(size: int) -> bytes:
    return bytes((index * 37 + 0x5B) & 0xFF for index in range(size))


def _open(core: Core) -> tuple[Any, _Registers]:
    """An engine for the core, floating point enabled."""
    unicorn = _unicorn()
    if core.architecture == "riscv":
        r = _unicorn("riscv_const")
        uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        uc.ctl_set_cpu_model(_cpu_model(r, core))
        return uc, _Registers(r.UC_RISCV_REG_A0, r.UC_RISCV_REG_SP, r.UC_RISCV_REG_RA, r.UC_RISCV_REG_PC)
    a = _unicorn("arm_const")
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(_cpu_model(a, core))
    if "fpu_sp" in core.features:
        uc.reg_write(a.UC_ARM_REG_FPEXC, FPEXC_ENABLE)
    return uc, _Registers(a.UC_ARM_REG_R0, a.UC_ARM_REG_SP, a.UC_ARM_REG_LR, a.UC_ARM_REG_PC)


def _cpu_model(constants: Any, core: Core) -> int:
    model = getattr(constants, core.unicorn_cpu, None)
    if model is None:
        raise EnvironmentFault(403, core.name, f"unicorn has no CPU {core.unicorn_cpu!r}", "Use QEMU")
    return int(model)


def _map(uc: Any, target: Target) -> None:
    """Map the target's memories, rounded out to pages; flash cannot be written by the program."""
    unicorn = _unicorn()
    read_only = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
    mapped: list[tuple[int, int]] = []
    for memory in target.memories:
        low = memory.base // PAGE * PAGE
        high = -(-(memory.base + memory.bytes) // PAGE) * PAGE
        for other_low, other_high in mapped:  # small neighbours may share a page
            low = other_high if other_low <= low < other_high else low
            high = other_low if other_low < high <= other_high else high
        if low < high:
            uc.mem_map(low, high - low, unicorn.UC_PROT_ALL if memory.role == "ram" else read_only)
            mapped.append((low, high))
