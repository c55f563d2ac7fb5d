"""Builds what an updatable board runs: the boot loader with its public key, and the firmware once for each slot."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from firmware.build import (
    ELF_NAME,
    FREESTANDING_FLAGS,
    HARNESS_FLAGS,
    HARNESS_OWN_FLAGS,
    link_into,
    own_text,
    write_sources,
)
from firmware.cache import cached_folder
from firmware.compilers import Compiler, run_compiler
from firmware.device_build import (
    PLAIN,
    Placed,
    Scale,
    Variant,
    build_device,
    trial_ms_of,
    watchdog_flags,
    watchdog_sources,
)
from firmware.image import read_image
from firmware.linker import RamLayout, linker_script
from firmware.program import CProgram
from firmware.programmers.base import ALIGN_BYTES, FlashImage, flash_image
from firmware.update.image import HEADER_BYTES, SlotImage, sign_image, slot_room
from firmware.update.keys import SigningKey
from firmware.update.monocypher import FILES, monocypher_folder
from targets.model import Memory, Target, Update
from toolchain.errors import EnvironmentFault, TargetError

SLOTS = 2
SHARED = ("boot/boot.h", "boot/state.c")
BOOT_OWN = (
    *SHARED,
    "boot/main.c",
    "boot/sha512.c",
    "boot/sha512.h",
    "boot/jump_cortex_m.c",
    "boards/cortex_m.c",
    "boards/registers.h",
    "device/device.h",
    "harness/harness.h",
    "harness/memory.c",
    "harness/include/string.h",
)
REGION_BYTES_MOST = 1 << 24
"""From the boot loader to slot 0: what a programmer fills in between."""

BOOT_RAM_BYTES = 6144
"""Its stack: checking a signature takes 3 KB."""


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """CRC-32 of the outputs that the reference computes for generated inputs (`generated_inputs`)."""

    check: int


def update_of(target: Target) -> Update:
    """Where the target's updates lie. Raises EnvironmentFault E403 where it takes none."""
    if target.update is None or target.core.architecture != "arm":
        hint = "Choose a board with an [update] section, or flash it without --key"
        raise EnvironmentFault(403, target.name, "there is no boot loader for it", hint)
    return target.update


def update_defines(update: Update) -> tuple[str, ...]:
    """Compiler flags that say where everything lies."""
    return (
        f"-DSTROP_UPDATE_BASE={update.base:#x}u",
        f"-DSTROP_UPDATE_SLOT_BYTES={update.slot_bytes}u",
        f"-DSTROP_UPDATE_PAGE_BYTES={update.page_bytes}u",
        f"-DSTROP_UPDATE_UNIT_BYTES={update.unit_bytes}u",
        f"-DSTROP_UPDATE_CONTROLLER={update.controller:#x}u",
    )


def build_boot(target: Target, public: bytes, compiler: Compiler) -> Path:
    """The boot loader's ELF. Raises EnvironmentFault E402 to E404, TargetError E302 where it is larger than its place."""
    update = update_of(target)
    flash = Memory("boot", target.flash.base, update.boot_bytes, 0, "flash")
    alone = replace(target, qemu=None)
    script = linker_script(alone, flash, RamLayout(512, 32, 0, 16, BOOT_RAM_BYTES))
    trial_ms = trial_ms_of(target)
    watched = watchdog_flags(target, trial_ms) if trial_ms else ()
    names = (*BOOT_OWN, f"boards/flash_{update.driver}.c", *(watchdog_sources(target) if trial_ms else ()))
    glue = _boot_glue(target, public)
    flags = (*FREESTANDING_FLAGS, *HARNESS_FLAGS, *HARNESS_OWN_FLAGS[compiler.name], "-I.", *update_defines(update), *watched)
    parts = (script, glue, repr(compiler), repr(flags), *FILES.values(), *(own_text(name) for name in names))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def make(folder: Path) -> None:
        kept = monocypher_folder()
        write_sources(folder, names, glue)
        for name in FILES:
            (folder / name).write_bytes((kept / name).read_bytes())
        objects: list[Path] = []
        for source in ("glue.c", "monocypher.c", *(Path(name).name for name in names if name.endswith(".c"))):
            made = folder / f"harness_{Path(source).stem}.o"
            run_compiler(compiler, (*flags, "-c", source, "-o", made.name), place=source, cwd=folder)
            objects.append(made)
        link_into(alone, {script: flash}, compiler, folder, objects)

    return cached_folder(key, make) / ELF_NAME


def _boot_glue(target: Target, public: bytes) -> str:
    numbers = ", ".join(f"{byte:#04x}" for byte in public)
    return (
        '#include "boot.h"\n'
        "extern const uint8_t strop_public_key[32];\n"
        f"const uint8_t strop_public_key[32] = {{{numbers}}};\n"
        f'const char strop_board[] = "{target.name}";\n'
    )


def build_images(
    program: CProgram,
    scale: Scale,
    target: Target,
    compiler: Compiler,
    key: SigningKey,
    version: int,
    answer: KnownAnswer | None,
    how: Variant = PLAIN,
) -> tuple[SlotImage, ...]:
    """The firmware for each slot, signed. answer: None where the reference cannot say the bytes of the outputs (float).

    how: a firmware on trial is watched whether it has a watchdog of its own or not.

    Raises TargetError E301 and E302, EnvironmentFault E402 and E403, RunError E504.
    """
    update = update_of(target)
    images: list[SlotImage] = []
    for slot in range(SLOTS):
        flash = Memory(f"slot_{slot}", update.slot(slot) + HEADER_BYTES, slot_room(update), target.flash.wait_states, "flash")
        placed = Placed(
            flash,
            (*SHARED, "device/update.c", f"boards/flash_{update.driver}.c"),
            (*update_defines(update), f"-DSTROP_UPDATE_SLOT={slot}"),
            f"const uint32_t strop_answer_known = {int(answer is not None)};\n"
            f"const uint32_t strop_answer_check = {answer.check if answer else 0:#010x}u;\n",
        )
        firmware = build_device(program, scale, target, compiler, replace(how, placed=placed))
        payload = flat(firmware.elf, flash)
        images.append(sign_image(payload, update.slot(slot), version, firmware.build_id, target.name, key))
    return tuple(images)


def flat(elf: Path, memory: Memory) -> bytes:
    """What an ELF loads into a memory, from its base on, gaps erased. Raises TargetError E302 for what lies elsewhere."""
    made = bytearray()
    for segment in sorted(read_image(elf).segments, key=lambda each: each.address):
        # Linkers begin a segment on a page of their own, with what is not linked.
        start = max(0, segment.address - memory.base)
        data = segment.data[max(0, memory.base - segment.address) :]
        if start < len(made) or start + len(data) > memory.bytes:
            what = f"{elf.name} has {len(data):,} B at {segment.address:#x}, outside of {memory.name}"
            raise TargetError(302, memory.name, what, "Report this with the bundle")
        made += b"\xff" * (start - len(made)) + data
    return bytes(made)


def factory_image(boot: Path, target: Target, image: SlotImage) -> FlashImage:
    """What a programmer writes to a new board, in one region: boot loader, erased state pages, the image in slot 0.

    Slot 1 is left as it is: nothing starts from there while the state is erased, unless slot 0 is damaged.
    Raises EnvironmentFault E403 where the slots do not lie in the flash that the boot loader lies in.
    """
    update, flash = update_of(target), target.flash
    inside = flash.base <= update.base and update.base + update.bytes <= flash.base + flash.bytes
    if not inside or update.slot(0) - flash.base > REGION_BYTES_MOST:
        hint = "Boards that QEMU stands in for take --port qemu"
        raise EnvironmentFault(403, target.name, "its slots lie apart from its boot loader, and no tool writes both", hint)
    start = flash_image(boot, target)
    data = start.data.ljust(update.slot(0) - start.base, b"\xff") + image.data
    data += b"\xff" * (-len(data) % ALIGN_BYTES)
    digest = hashlib.sha256(data).hexdigest()[:16]
    return FlashImage(boot.with_name(f"install-{digest}.elf").resolve(), start.base, data)


def factory_flash(update: Update, image: SlotImage) -> bytes:
    """State pages and slots of a new board: the image in slot 0, all else erased."""
    return (b"\xff" * (2 * update.page_bytes) + image.data).ljust(update.bytes, b"\xff")
