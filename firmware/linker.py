"""Linker scripts: where the harness, the program, its arena and its stack lie in a target's memories."""

from __future__ import annotations

from dataclasses import dataclass

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
class RamLayout:
    """How the default RAM is shared, in bytes: the program's stack, one guard (there are two), the arena, and the harness.

    harness_bytes: with the inputs and outputs that the harness owns.
    """

    stack_bytes: int
    guard_bytes: int
    arena_bytes: int
    arena_align: int
    harness_bytes: int = HARNESS_RAM_BYTES


def plan_ram(program: CProgram, target: Target) -> RamLayout:
    """Give the stack what the arena leaves, up to 32 KiB. Raises TargetError E301 when under 512 bytes remain."""
    align = max(16, program.arena_align)
    harness = HARNESS_RAM_BYTES + program.outside_bytes
    guard = (
        GUARD_BYTES
        if target.ram.bytes - program.arena_bytes - program.outside_bytes > 4 * GUARD_BYTES + 8192
        else GUARD_BYTES_TIGHT
    )
    guard = -(-guard // align) * align
    arena = -(-program.arena_bytes // 16) * 16
    free = target.ram.bytes - arena - 2 * guard - align - harness
    stack = min(STACK_BYTES_MOST, free) & ~15
    if stack < STACK_BYTES_LEAST:
        needed = arena + 2 * guard + align + harness + STACK_BYTES_LEAST
        raise TargetError(
            301,
            target.name,
            f"{program.arena_bytes:,} B of arena, with stack and buffers outside of it, need {needed:,} B, "
            f"{target.ram.name} has {target.ram.bytes:,} B",
            "Compile with --optimize ram, or choose a larger target",
        )
    return RamLayout(stack, guard, program.arena_bytes, align, harness)


def linker_script(target: Target, flash: Memory, layout: RamLayout) -> str:
    """A GNU ld script, which lld reads too: vectors, harness, .code, .rodata in flash; stack, harness RAM, guards, arena in RAM.

    flash: one of the target's. The stack is lowest in RAM, so that an overflow leaves the memory and faults.
    """
    ram = target.ram
    vectors = QEMU_VECTORS.get(target.qemu.machine, flash.base) if target.qemu else flash.base
    inside = vectors == flash.base
    regions = [f"FLASH (rx) : ORIGIN = {flash.base:#x}, LENGTH = {flash.bytes:#x}"]
    regions.append(f"RAM (rw) : ORIGIN = {ram.base:#x}, LENGTH = {ram.bytes:#x}")
    if not inside:
        regions.append(f"VECTORS (rx) : ORIGIN = {vectors:#x}, LENGTH = {VECTOR_BYTES:#x}")
    indent = "\n  "
    return f"""ENTRY(strop_reset)
MEMORY
{{
  {indent.join(regions)}
}}
SECTIONS
{{
  .vectors : {{ KEEP(*(.vectors)) }} > {"FLASH" if inside else "VECTORS"}
  .harness : {{ KEEP(*(.reset)) *harness_*.o(.text .text.* .rodata .rodata.* .srodata .srodata.*) }} > FLASH
  .code : {{ *(.text .text.*) }} > FLASH
  .rodata : {{ *(.rodata .rodata.* .srodata .srodata.*) }} > FLASH
  .stack (NOLOAD) : {{ strop_stack_low = .; . += {layout.stack_bytes}; strop_stack_high = .; }} > RAM
  .bss (NOLOAD) : {{
    strop_bss_low = .; *(.data .data.* .sdata .sdata.* .bss .bss.* .sbss .sbss.* COMMON) . = ALIGN(4); strop_bss_high = .;
    . = strop_bss_low + {layout.harness_bytes}; strop_harness_stack = .;
  }} > RAM
  .arena (NOLOAD) : ALIGN({layout.arena_align}) {{
    strop_guard_low = .; . += {layout.guard_bytes};
    strop_arena = .; . += {layout.arena_bytes};
    strop_guard_high = .; . += {layout.guard_bytes}; strop_guard_end = .;
  }} > RAM
  /DISCARD/ : {{ *(.ARM.exidx* .ARM.extab* .eh_frame* .comment .note*) }}
}}
"""
