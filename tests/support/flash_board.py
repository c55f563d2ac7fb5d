"""Test support: a Cortex-M board in unicorn, with a serial port, a flash that keeps flash's rules, and power that may go.

Flash: a page is erased to ones; a unit is programmed once after that. What power leaves of a unit or a page is a mixture, where
some bits read differently every time, until the page is erased. A program that breaks a rule is listed in `broken_rules`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import unicorn as u
import unicorn.arm_const as a

from firmware.image import read_image
from targets.model import Target, Update

UART, PRIVATE = 0x4000_4000, 0xE000_0000
RESET_REQUEST, TICKS = 0xE000_ED0C, 0xE000_E018
STEP_INSTRUCTIONS = 60_000_000
INSTRUCTIONS_PER_MS, POLL_INSTRUCTIONS = 10, 1000
"""So slow is this board by its watchdog's clock, so that a hang does not take long, and so long it waits for each byte."""
ERASED = 0xFF


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of flash: a page is erased (data is empty) or a unit programmed."""

    address: int
    data: bytes


@dataclass(slots=True)
class Flash:
    """The contents from base on, and what became of units since their page was erased."""

    update: Update
    contents: bytearray
    dirty: set[int] = field(default_factory=set)
    loose: dict[int, int] = field(default_factory=dict)
    """Bits that read as they like, by address."""

    broken_rules: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, update: Update, contents: bytes) -> Flash:
        """Flash with contents that a programmer wrote."""
        units = range(0, len(contents), update.unit_bytes)
        dirty = {update.base + at for at in units if contents[at : at + update.unit_bytes].strip(b"\xff")}
        return cls(update, bytearray(contents), dirty)

    def copy(self) -> Flash:
        """The same, apart."""
        return Flash(self.update, bytearray(self.contents), set(self.dirty), dict(self.loose), [])

    def do(self, operation: Operation) -> None:
        """A whole operation."""
        self._check(operation)
        self._put(operation.address, operation.data or bytes([ERASED]) * self.update.page_bytes, loose={})
        touched = self._units(operation)
        self.dirty = self.dirty | touched if operation.data else self.dirty - touched

    def cut(self, operation: Operation, rng: random.Random) -> None:
        """An operation in which power goes: each bit that it changes is changed, or not, or neither."""
        self._check(operation)
        wanted = operation.data or bytes([ERASED]) * self.update.page_bytes
        start = operation.address - self.update.base
        made, loose = bytearray(), {}
        whole = rng.choice((0.0, 0.02, 0.5, 0.98, 1.0))  # how far it came
        for at, new in enumerate(wanted):
            old = self.contents[start + at]
            changing = old ^ new
            done = sum(1 << bit for bit in range(8) if rng.random() < whole)
            made.append(old ^ (changing & done))
            unsure = changing & rng.getrandbits(8) & rng.getrandbits(8)
            if unsure and rng.random() < 0.5:
                loose[operation.address + at] = unsure
        self._put(operation.address, bytes(made), loose)
        self.dirty |= self._units(operation)

    def _check(self, operation: Operation) -> None:
        update, offset = self.update, operation.address - self.update.base
        size = update.unit_bytes if operation.data else update.page_bytes
        if offset % size or not 0 <= offset < update.bytes:
            self.broken_rules.append(f"{operation.address:#x} is no place for {size} B")
        if operation.data and operation.address in self.dirty:
            self.broken_rules.append(f"the unit at {operation.address:#x} is programmed without an erasure")

    def _units(self, operation: Operation) -> set[int]:
        end = operation.address + (len(operation.data) or self.update.page_bytes)
        return set(range(operation.address, end, self.update.unit_bytes))

    def _put(self, address: int, data: bytes, loose: dict[int, int]) -> None:
        start = address - self.update.base
        self.contents[start : start + len(data)] = data
        self.loose = {at: mask for at, mask in self.loose.items() if not address <= at < address + len(data)} | loose


@dataclass(slots=True)
class WatchdogModel:
    """IWDG (RM0432 38.4) or WDT (nRF52840 PS 6.36.4), which stop at resets of all kinds but those by software of nRF52.

    age: instructions since it was fed, in steps of an eighth of its period, after which it restarts the board. bites: how often.
    """

    driver: str
    running: bool = False
    reload: int = 0
    prescaler: int = 0
    age: int = 0
    fed: bool = False
    bites: int = 0

    @classmethod
    def of(cls, target: Target) -> WatchdogModel:
        """The board's, or one that never runs."""
        return cls(target.watchdog.driver if target.watchdog else "")

    @property
    def ms(self) -> int:
        """Its period."""
        if self.driver == "nrf_wdt":
            return (self.reload + 1) * 1000 // 32_768
        return self.reload * (4 << self.prescaler) // 32

    @property
    def step(self) -> int:
        """Instructions after which it is to be asked; 0 while it does not run."""
        return max(1, self.ms * INSTRUCTIONS_PER_MS // 8) if self.running else 0

    def passes(self, instructions: int) -> bool:
        """True where it bites; it does not run then."""
        self.age = 0 if self.fed else self.age + instructions
        self.fed = False
        bites = self.running and self.age >= self.ms * INSTRUCTIONS_PER_MS
        self.bites += bites
        if bites:
            self.reset()
        return bites

    def reset(self) -> None:
        """As a reset leaves it."""
        self.running, self.reload, self.prescaler, self.age, self.fed = False, 0xFFF, 0, 0, False

    def reset_by_software(self) -> None:
        """AIRCR: the WDT of nRF52 goes on (PS 5.3.6.6)."""
        if self.driver != "nrf_wdt":
            self.reset()

    def write(self, offset: int, value: int) -> None:
        """A register is written."""
        if self.driver == "nrf_wdt":
            self.running = self.running or (offset == 0 and value == 1)
            self.fed = self.fed or (offset == 0x600 and value == 0x6E52_4635)
            if offset == 0x504 and not self.running:
                self.reload = value
            return
        if offset == 0:
            self.running = self.running or value == 0xCCCC
            self.fed = self.fed or value == 0xAAAA
        elif offset == 4:
            self.prescaler = value
        elif offset == 8:
            self.reload = value


class PowerLost(Exception):
    """Power went, as was asked for."""


class FlashBoard:
    """A board with a boot loader. Its flash outlives `power_on`; memory does not."""

    def __init__(self, target: Target, boot: Path, flash: Flash, seed: int = 0) -> None:
        """target: with an update section and the driver `cmsdk` at UART."""
        assert target.update is not None
        self.target, self.update, self.flash = target, target.update, flash
        self.rng = random.Random(seed)
        self.operations: list[Operation] = []
        self.most_instructions = STEP_INSTRUCTIONS
        self.cut_at: int | None = None
        self.known: dict[bytes, int] = {}
        """What checking a signature of the same bytes gave."""

        self._boot = read_image(boot)
        self._uc = u.Uc(u.UC_ARCH_ARM, u.UC_MODE_THUMB | u.UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(getattr(a, target.core.unicorn_cpu))
        self._uc.reg_write(a.UC_ARM_REG_FPEXC, 0x4000_0000)
        self._received, self._sent, self._polls = bytearray(), bytearray(), 0
        self._ticks = 0
        self._control = 0 if self.update.driver == "nvmc" else 1 << 31
        self._keys: tuple[int, ...] = ()
        self._stop_at_image = False
        self._words: dict[int, bytes] = {}
        self._lost = self._reset = False
        self._stopped = self._began = False
        """Why the processor was halted: for good, or since the watchdog's steps count from now on."""

        self._started_in: int | None = None
        self.watchdog = WatchdogModel.of(target)
        self._cut_operation: Operation | None = None
        self._loose_hook: Any = None
        self._returns: dict[int, bytes] = {}
        self._map()

    # --- what happens to the board

    def power_on(self, *, until_image: bool = False) -> int | None:
        """Start the boot loader; the slot that it starts, with until_image before a single instruction of it is run.

        Without until_image, the board runs until it waits for its line. Raises PowerLost at the operation `cut_at`.
        """
        self._uc.mem_write(self.target.ram.base, self.rng.randbytes(32 * 1024))
        for segment in self._boot.segments:
            self._uc.mem_write(segment.address, segment.data)
        self._uc.mem_write(self.update.base, bytes(self.flash.contents))
        self._watch_loose()
        self.watchdog.reset()
        self._received.clear()
        self._sent.clear()
        self._stop_at_image = until_image
        self._start()
        return self._started_in

    def go_on(self) -> None:
        """Run until the board waits for its line, through resets."""
        self._run(self._uc.reg_read(a.UC_ARM_REG_PC) | 1)
        if self._reset:
            self._start()

    def _start(self) -> None:
        self._reset = True
        while self._reset:
            self._started_in, self._reset = None, False
            vectors = self.target.flash.base
            stack, entry = (int.from_bytes(self._uc.mem_read(vectors + at, 4), "little") for at in (0, 4))
            self._uc.reg_write(a.UC_ARM_REG_SP, stack)
            self._run(entry)

    def _run(self, start: int) -> None:
        self._lost, self._polls, self._stopped = False, 0, False
        left = self.most_instructions
        while not self._stopped and left > 0:
            part = min(left, self.watchdog.step or left)
            self._began = False
            self._uc.emu_start(start, 0xFFFF_FFFE, 0, part)
            start = self._uc.reg_read(a.UC_ARM_REG_PC) | 1
            if not self._stopped and not self._began:
                left -= part
                if self.watchdog.passes(part):
                    self._reset = self._stopped = True
        if self._lost:
            assert self._cut_operation is not None
            self.flash.cut(self._cut_operation, self.rng)
            self.cut_at = None
            raise PowerLost

    # --- the line: what pyserial's ports have

    def write(self, data: bytes) -> int:
        """Bytes to the board."""
        self._received += data
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Bytes from the board, which runs as long as it has something to do."""
        if not self._sent:
            self.go_on()
        data = bytes(self._sent[:size])
        del self._sent[:size]
        return data

    @property
    def in_waiting(self) -> int:
        """Bytes that are there."""
        return len(self._sent)

    # --- the machine

    def _map(self) -> None:
        uc, update, flash, ram = self._uc, self.update, self.target.flash, self.target.ram
        uc.mem_map(flash.base, -(-flash.bytes // 4096) * 4096)
        uc.mem_map(ram.base, -(-ram.bytes // 4096) * 4096)
        uc.mmio_map(UART, 4096, self._uart_read, None, self._uart_write, None)
        uc.mmio_map(PRIVATE, 0x10_0000, self._core_read, None, self._core_write, None)
        low, high = update.base, update.base + update.bytes - 1
        uc.mmio_map(update.controller, 4096, self._controller_read, None, self._controller_write, None)
        if self.target.watchdog is not None:
            uc.mmio_map(self.target.watchdog.base, 4096, self._quiet, None, self._watchdog_write, None)
        uc.hook_add(u.UC_HOOK_MEM_WRITE, self._flash_written, None, flash.base, flash.base + flash.bytes - 1)
        uc.hook_add(u.UC_HOOK_BLOCK, self._in_image, None, low, high)
        check = self._boot.symbols["strop_signed"]
        uc.hook_add(u.UC_HOOK_CODE, self._checking, None, check, check)

    def _stop(self) -> None:
        self._stopped = True
        self._uc.emu_stop()

    def _quiet(self, _uc: Any, _offset: int, _size: int, _data: Any) -> int:
        return 0

    def _watchdog_write(self, _uc: Any, offset: int, _size: int, value: int, _data: Any) -> None:
        before = self.watchdog.running
        self.watchdog.write(offset, value)
        if self.watchdog.running != before:
            self._began = True
            self._uc.emu_stop()

    def _uart_read(self, _uc: Any, offset: int, _size: int, _data: Any) -> int:
        if offset == 4:
            if self.watchdog.passes(POLL_INSTRUCTIONS):
                self._reset = True
                self._stop()
            self._polls = 0 if self._received else self._polls + 1
            if self._polls > 2:
                self._stop()
            return 2 if self._received else 0
        return self._received.pop(0) if offset == 0 and self._received else 0

    def _uart_write(self, _uc: Any, offset: int, _size: int, value: int, _data: Any) -> None:
        if offset == 0:
            self._polls = 0
            self._sent.append(value & 0xFF)

    def _core_read(self, _uc: Any, offset: int, _size: int, _data: Any) -> int:
        if PRIVATE + offset == TICKS:
            self._ticks = (self._ticks - 1) & 0xFF_FFFF
            return self._ticks
        return 0

    def _core_write(self, _uc: Any, offset: int, _size: int, _value: int, _data: Any) -> None:
        if PRIVATE + offset == RESET_REQUEST:
            self._reset = True
            self.watchdog.reset_by_software()
            self._stop()

    def _in_image(self, _uc: Any, address: int, _size: int, _data: Any) -> None:
        if self._started_in is None:
            self._started_in = (address - self.update.slot(0)) // self.update.slot_bytes
            if self._stop_at_image:
                self._stop()

    def _operate(self, operation: Operation) -> None:
        if self._lost:
            return
        if self.cut_at == len(self.operations):
            self._lost, self._cut_operation = True, operation
            self._stop()
            return
        self.operations.append(operation)
        self.flash.do(operation)
        if not operation.data:
            self._uc.mem_write(operation.address, bytes([ERASED]) * self.update.page_bytes)
        if self._loose_hook is not None:
            self._watch_loose()

    # --- loose bits

    def _watch_loose(self) -> None:
        if self._loose_hook is not None:
            self._uc.hook_del(self._loose_hook)
            self._loose_hook = None
        if self.flash.loose:
            low, high = min(self.flash.loose), max(self.flash.loose)
            self._loose_hook = self._uc.hook_add(u.UC_HOOK_MEM_READ, self._loose_read, None, low - 7, high)

    def _loose_read(self, _uc: Any, _access: int, address: int, size: int, _value: int, _data: Any) -> None:
        for at in range(address, address + size):
            mask = self.flash.loose.get(at)
            if mask:
                now = self.flash.contents[at - self.update.base] & ~mask | self.rng.getrandbits(8) & mask
                self._uc.mem_write(at, bytes((now,)))

    # --- signatures that were checked before

    def _checking(self, _uc: Any, _address: int, _size: int, _data: Any) -> None:
        signature, start, size = (self._uc.reg_read(r) for r in (a.UC_ARM_REG_R0, a.UC_ARM_REG_R1, a.UC_ARM_REG_R2))
        key = bytes(self._uc.mem_read(signature, 64)) + bytes(self._uc.mem_read(start, size))
        link = self._uc.reg_read(a.UC_ARM_REG_LR)
        if any(start - 64 <= at < start + size for at in self.flash.loose):
            return
        if key in self.known:
            self._uc.reg_write(a.UC_ARM_REG_R0, self.known[key])
            self._uc.reg_write(a.UC_ARM_REG_PC, link)
            return
        if link & ~1 not in self._returns:
            self._uc.hook_add(u.UC_HOOK_CODE, self._checked, None, link & ~1, link & ~1)
        self._returns[link & ~1] = key

    def _checked(self, _uc: Any, address: int, _size: int, _data: Any) -> None:
        key = self._returns.get(address, b"")
        if key:
            self.known[key] = self._uc.reg_read(a.UC_ARM_REG_R0)
            self._returns[address] = b""

    # --- flash controllers, by their reference manuals

    def _controller_read(self, _uc: Any, offset: int, _size: int, _data: Any) -> int:
        if self.update.driver == "nvmc":
            return int(offset == 0x400)
        return self._control if offset == 0x14 else 0

    def _controller_write(self, _uc: Any, offset: int, _size: int, value: int, _data: Any) -> None:
        if self.update.driver == "nvmc":
            self._nvmc_write(offset, value)
        else:
            self._stm32_write(offset, value)

    def _nvmc_write(self, offset: int, value: int) -> None:
        if offset == 0x504:
            self._control = value
        elif offset == 0x508:
            if self._control != 2:
                self.flash.broken_rules.append("an erasure that was not enabled")
            self._operate(Operation(value, b""))

    _KEYS = (0x4567_0123, 0xCDEF_89AB)

    def _stm32_write(self, offset: int, value: int) -> None:
        locked = bool(self._control >> 31)
        if offset == 0x08:
            self._keys = (*self._keys, value)[-2:]
            if self._keys == self._KEYS:
                self._control &= ~(1 << 31)
        elif offset == 0x14:
            if locked and value != 1 << 31:
                self.flash.broken_rules.append("a locked control register was written")
                return
            if value >> 31:
                self._keys = ()
            self._control = value & ~(1 << 16)
            if value >> 16 & 1:
                if value & 3 != 2:
                    self.flash.broken_rules.append("a start without an erasure of a page")
                page = (value >> 3 & 0xFF) + (256 if value >> 11 & 1 else 0)
                self._operate(Operation(0x0800_0000 + page * 4096, b""))

    def _flash_written(self, _uc: Any, _access: int, address: int, size: int, value: int, _data: Any) -> None:
        if size != 4 or self._control & 3 != 1 or self._control >> 31:
            self.flash.broken_rules.append(f"{size} B are written to {address:#x} with control {self._control:#x}")
        self._words[address] = (value & 0xFFFF_FFFF).to_bytes(4, "little")
        unit = self.update.unit_bytes
        start = address // unit * unit
        places = range(start, start + unit, 4)
        if all(place in self._words for place in places):
            data = b"".join(self._words.pop(place) for place in places)
            self._operate(Operation(start, data))
