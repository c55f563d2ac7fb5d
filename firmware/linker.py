"""Linker scripts: where the harness, the program, its arena and its stack lie in a target's memories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from firmware.program import CProgram
from targets.model import Memory, Target
from toolchain.errors import TargetError

GUARD_BYTES = 256
GUARD_BYTES_TIGHT = 32
STACK_BYTES_MOST = 32 * 1024
STACK_BYTES_LEAST = 512
HARNESS_RAM_BYTES = 1024
# Machines whose vector table does not lie at the start of the flash that a target file names.
QEMU_VECTORS = {"mps2-an385": 0, "mps2-an386": 0, "mps2-an500": 0, "mps2-an505": 0x1000_0000, "mps3-an547": 0}
VECTOR_BYTES = 256


@dataclass(frozen=True, slots=True)
class Boot:
    """What a boot ROM looks for: a section `before` or `behind` the vectors, filled to bytes where that is not 0.

    constants: another view of the same flash, where constants must be read. checked: the section ends with a CRC-32.
    """

    place: Literal["", "before", "behind"] = ""
    bytes: int = 0
    constants: Memory | None = None
    checked: bool = False


NO_BOOT = Boot()


@dataclass(frozen=True, slots=True)
class FurtherArena:
    """One more arena: the memory that holds it, bytes of it and of each of the two guards around it."""

    memory: Memory
    bytes: int
    guard_bytes: int


@dataclass(frozen=True, slots=True)
class RamLayout:
    """How the default RAM is shared, in bytes: the program's stack, one guard (there are two), the arena, and the harness.

    harness_bytes: with the inputs and outputs that the harness owns. further: arenas in other memories.
    """

    stack_bytes: int
    guard_bytes: int
    arena_bytes: int
    arena_align: int
    harness_bytes: int = HARNESS_RAM_BYTES
    further: tuple[FurtherArena, ...] = ()


def plan_ram(program: CProgram, target: Target, more_bytes: int = 0) -> RamLayout:
    """Give the stack what the arena leaves, up to 32 KiB. Raises TargetError E301 when under 512 bytes remain.

    more_bytes: of the harness, beside what it always has.
    """
    align = max(16, program.arena_align)
    harness = HARNESS_RAM_BYTES + program.outside_bytes + -(-more_bytes // 16) * 16
    guard = (
        GUARD_BYTES
        if target.ram.bytes - program.arena_bytes - program.outside_bytes > 4 * GUARD_BYTES + 8192
        else GUARD_BYTES_TIGHT
    )
    guard = -(-guard // align) * align
    further = _further(program, target, guard)
    arena = -(-program.arena_bytes // 16) * 16
    arena += sum(each.bytes + 2 * each.guard_bytes + align for each in further if each.memory is target.ram)
    free = target.ram.bytes - arena - 2 * guard - align - harness
    stack = min(STACK_BYTES_MOST, free) & ~15
    if stack < STACK_BYTES_LEAST:
        needed = arena + 2 * guard + align + harness + STACK_BYTES_LEAST
        most = (target.ram.bytes - needed + program.arena_bytes) & ~15
        smaller = f"--max-ram {most}" if most > 0 else "--optimize ram"
        raise TargetError(
            301,
            target.name,
            f"{program.arena_bytes:,} B of arena, with stack and buffers outside of it, need {needed:,} B, "
            f"{target.ram.name} has {target.ram.bytes:,} B",
            f"Compile with {smaller}, or choose a larger target",
        )
    return RamLayout(stack, guard, program.arena_bytes, align, harness, further)


def _further(program: CProgram, target: Target, guard: int) -> tuple[FurtherArena, ...]:
    """Arenas behind the first one, each with what room there is for guards; where a machine lacks a memory, in the default RAM.

    Raises TargetError E301 when a memory is too small.
    """
    memories = {memory.name: memory for memory in target.memories if memory.role == "ram"}
    found: list[FurtherArena] = []
    for name, size in program.further:
        memory = memories.get(name, target.ram)
        free = memory.bytes - size
        if free < 0:
            what = f"an arena needs {size:,} B of {name}, {memory.name} has {memory.bytes:,} B"
            raise TargetError(301, target.name, what, "Compile with --optimize ram, or choose a larger target")
        found.append(FurtherArena(memory, size, guard if memory is target.ram else min(guard, free // 2 // 16 * 16)))
    return tuple(found)


def linker_script(target: Target, flash: Memory, layout: RamLayout, boot: Boot = NO_BOOT) -> str:
    """A GNU ld script, which lld reads too: vectors, harness, .code, .rodata in flash; stack, harness RAM, guards, arena in RAM.

    flash: one of the target's. The stack is lowest in RAM, so that an overflow leaves the memory and faults.
    boot: what the chip's boot ROM wants.
    """
    ram = target.ram
    vectors = QEMU_VECTORS.get(target.qemu.machine, flash.base) if target.qemu else flash.base
    others = {each.memory.name: each.memory for each in layout.further if each.memory is not ram}
    region = {name: f"RAM_{number}" for number, name in enumerate(others, 1)}
    inside = vectors == flash.base
    regions = [f"FLASH (rx) : ORIGIN = {flash.base:#x}, LENGTH = {flash.bytes:#x}"]
    regions.append(f"RAM (rw) : ORIGIN = {ram.base:#x}, LENGTH = {ram.bytes:#x}")
    regions += [f"{region[name]} (rw) : ORIGIN = {m.base:#x}, LENGTH = {m.bytes:#x}" for name, m in others.items()]
    if not inside:
        regions.append(f"VECTORS (rx) : ORIGIN = {vectors:#x}, LENGTH = {VECTOR_BYTES:#x}")
    indent = "\n  "
    image = _image_sections(flash, "FLASH" if inside else "VECTORS", boot)
    if boot.constants is not None:
        regions.append(f"CONSTANTS (r) : ORIGIN = {boot.constants.base:#x}, LENGTH = {boot.constants.bytes:#x}")
    parts, none = ("PHDRS { code PT_LOAD; constants PT_LOAD; }", " :NONE") if boot.constants else ("", "")
    arenas = [_arena("", layout.arena_bytes, layout.guard_bytes, layout.arena_align, "RAM")]
    for number, each in enumerate(layout.further, 1):
        where = region.get(each.memory.name, "RAM")
        arenas.append(_arena(f"_{number}", each.bytes, each.guard_bytes, layout.arena_align, where))
    return f"""ENTRY(strop_reset)
MEMORY
{{
  {indent.join(regions)}
}}
{parts}
SECTIONS
{{
  {indent.join(image)}
  .stack (NOLOAD) : {{ strop_stack_low = .; . += {layout.stack_bytes}; strop_stack_high = .; }} > RAM{none}
  .bss (NOLOAD) : {{
    strop_bss_low = .; *(.data .data.* .sdata .sdata.* .bss .bss.* .sbss .sbss.* COMMON) . = ALIGN(4); strop_bss_high = .;
    . = strop_bss_low + {layout.harness_bytes}; strop_harness_stack = .;
  }} > RAM
  {indent.join(arenas)}
  /DISCARD/ : {{ *(.ARM.exidx* .ARM.extab* .eh_frame* .comment .note*) }}
}}
"""


def _image_sections(flash: Memory, vectors: str, boot: Boot) -> list[str]:
    """Boot block and vectors, harness, code and constants. vectors: their region.

    Where constants have a view of their own, segments are named, since lld would put the file's head before the constants.
    """
    text, constant = ".text .text.*", ".rodata .rodata.* .srodata .srodata.*"
    view = boot.constants
    sections = [f".vectors : {{ KEEP(*(.vectors)) }} > {vectors}"]
    if boot.place:
        filled = f". = strop_boot_low + {boot.bytes};" if boot.bytes else ""
        block = f".boot : {{ strop_boot_low = .; KEEP(*(.boot)) {filled} }} > FLASH{' :code' if view else ''} =0"
        sections.insert(0 if boot.place == "before" else 1, block)
    sections.append(f".harness : {{ KEEP(*(.reset)) *harness_*.o({text}{'' if view else f' {constant}'}) }} > FLASH")
    sections.append(f".code : {{ *({text}) }} > FLASH")
    if view is None:
        return [*sections, f".rodata : {{ *({constant}) }} > FLASH"]
    behind = "ALIGN(ADDR(.code) + SIZEOF(.code), 16)"
    place = f"({behind} - {flash.base:#x} + {view.base:#x}) : AT({behind})"
    return [*sections, f".rodata {place} {{ *({constant}) }} > CONSTANTS :constants"]


def _arena(suffix: str, size: int, guard: int, align: int, region: str) -> str:
    """The section of an arena with a guard before and behind it."""
    return f""".arena{suffix} (NOLOAD) : ALIGN({align}) {{
    strop_guard_low{suffix} = .; . += {guard};
    strop_arena{suffix} = .; . += {size};
    strop_guard_high{suffix} = .; . += {guard}; strop_guard_end{suffix} = .;
  }} > {region}"""
