"""The dataclasses of the hardware description. Values come from TOML through `targets.load`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from targets.costs import CostTable
from targets.gpus import Gpu
from targets.timings import Timing

MemoryRole = Literal["flash", "ram"]
Architecture = Literal["arm", "riscv", "aarch64", "armv7", "x86_64", "host", "none"]


@dataclass(frozen=True, slots=True)
class Linux:
    """How programs of a core that runs Linux are told apart and run elsewhere.

    machine: what `uname -m` says there. qemu: QEMU's user-mode emulator; cpu: its model with the core's instructions.
    cpu_flags: what /proc/cpuinfo lists of a processor that has the instructions which programs may use.
    """

    machine: str
    qemu: str
    cpu: str
    cpu_flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Core:
    """A processor core: what its instruction set has and how to compile for it.

    kernels: folders of `firmware/kernels` from the most to the least specific; the last is `portable`.
    features: of `thumb1`, `thumb2`, `dsp`, `fpu_sp`, `fpu_dp`, `mve`, `mve_fp`, `neon`, `dotprod`, `avx2`, `rv32m`, `rv32c`,
    `host`.
    gcc: the GCC driver (`arm-none-eabi-gcc`, `riscv64-unknown-elf-gcc`, `cc`); gcc_flags and zig_flags select
    the core for GCC and for `zig cc`. unicorn_cpu: unicorn's CPU model name, empty when it has none. costs: what kernels take.
    timing: cycles per instruction, None where no published timings can be counted from instructions alone.
    linux: None for cores that run without an operating system, and for `host`.
    """

    name: str
    architecture: Architecture
    features: frozenset[str]
    kernels: tuple[str, ...]
    gcc: str
    gcc_flags: tuple[str, ...]
    zig_flags: tuple[str, ...]
    unicorn_cpu: str
    source: str
    costs: CostTable
    timing: Timing | None
    linux: Linux | None = None


NO_CORE = Core("none", "none", frozenset(), (), "", (), (), "", "", CostTable("none"), None)
"""Of targets that take no C program."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory region: base address, size in bytes, extra cycles of an access no cache serves, and what may live there."""

    name: str
    base: int
    bytes: int
    wait_states: int
    role: MemoryRole


@dataclass(frozen=True, slots=True)
class Qemu:
    """How QEMU runs the target: machine and CPU, the rate at which its SysTick or timer starts, memory apart from programs.

    data_bytes: 0 where the machine has no such memory.
    """

    system: Literal["arm", "riscv32"]
    machine: str
    cpu: str
    timer_hz: int
    data_base: int = 0
    data_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Serial:
    """The serial port that a board talks over. driver: `firmware/boards/serial_DRIVER.c`; clock_hz: what its divider divides.

    setup: `firmware/boards/setup_SETUP.c`, which starts the board's clocks, from crystal_hz, and gives the port its pins.
    boot: `firmware/boards/boot_BOOT.c`, what the chip's boot ROM wants before it starts an image; empty where it wants nothing.
    """

    driver: str
    base: int
    clock_hz: int
    baud: int
    setup: str = "none"
    crystal_hz: int | None = None
    boot: str = ""


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The watchdog that a firmware may start. driver: `firmware/boards/watchdog_DRIVER.c`; clock_hz: what it counts or divides.

    ms_most: the longest it can wait. trial_ms: how long an updated firmware has for each of start and self-test; 0 where the
    board takes no updates.
    """

    driver: str
    base: int
    clock_hz: int
    ms_most: int
    trial_ms: int = 0


@dataclass(frozen=True, slots=True)
class TimingPin:
    """A pin that tells a power meter when runs begin and end. driver: `firmware/boards/pin_DRIVER.c`; label: its name.

    base: of its port's registers; number: of the pin in the port. clock, clock_bit: the register that gives the port its clock,
    and the bit; 0 where it always has one.
    """

    driver: str
    label: str
    base: int
    number: int
    clock: int = 0
    clock_bit: int = 0


@dataclass(frozen=True, slots=True)
class Update:
    """Where updates lie: the boot loader at the start of the default flash; from base on, two state pages and two slots.

    driver: `firmware/boards/flash_DRIVER.c`; controller: base address of its registers. page_bytes are erased at once,
    unit_bytes programmed at once, and once per erasure.
    """

    driver: str
    controller: int
    boot_bytes: int
    base: int
    bytes: int
    page_bytes: int
    unit_bytes: int

    @property
    def slot_bytes(self) -> int:
        """Bytes of each slot, in whole pages."""
        return (self.bytes // self.page_bytes - 2) // 2 * self.page_bytes

    def slot(self, number: int) -> int:
        """The address of a slot."""
        return self.base + 2 * self.page_bytes + number * self.slot_bytes


@dataclass(frozen=True, slots=True)
class FlashTool:
    """How an image is written to the board.

    method: the tool that is taken when none is named, and chip: what it calls the chip. others: further tools, with what each
    calls it. usb: `VID:PID` of the serial ports that the board may be at, in hexadecimal; a PID may be `*`.
    """

    method: str
    chip: str
    others: tuple[tuple[str, str], ...] = ()
    usb: tuple[str, ...] = ()

    @property
    def chips(self) -> dict[str, str]:
        """What each tool calls the chip, the default tool first."""
        return {self.method: self.chip, **dict(self.others)}


@dataclass(frozen=True, slots=True)
class Target:
    """A board or emulated machine that programs are compiled for. The first `ram` and `flash` memory are the default ones.

    clock_hz: None where it has no processor clock of its own; no latency is predicted then.
    default_formats: what is compiled when no format is named; empty for all that are quickly made.
    core: NO_CORE, and no memories, where formats have no C program. gpu: None but for GPUs.
    """

    name: str
    description: str
    core: Core
    clock_hz: int | None
    memories: tuple[Memory, ...]
    formats: tuple[str, ...]
    qemu: Qemu | None
    flash_tool: FlashTool
    source: str
    serial: Serial | None = None
    default_formats: tuple[str, ...] = ()
    gpu: Gpu | None = None
    watchdog: Watchdog | None = None
    update: Update | None = None
    timing_pin: TimingPin | None = None

    @property
    def takes_c(self) -> bool:
        """True when C programs can be compiled for it: it has a core and memories."""
        return self.core is not NO_CORE

    @property
    def ram(self) -> Memory:
        """The default RAM: the first memory of role `ram`."""
        return next(memory for memory in self.memories if memory.role == "ram")

    @property
    def flash(self) -> Memory:
        """The default code and constant memory: the first memory of role `flash`."""
        return next(memory for memory in self.memories if memory.role == "flash")
