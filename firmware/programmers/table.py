"""Which programmers there are, and the one for a target."""

from __future__ import annotations

from firmware.programmers.base import Programmer
from firmware.programmers.dfu import DfuUtil
from firmware.programmers.esptool import Esptool
from firmware.programmers.jlink import JLink
from firmware.programmers.openocd import OpenOcd
from firmware.programmers.pyocd import PyOcd
from firmware.programmers.stm32loader import Stm32Loader
from firmware.programmers.uf2 import Uf2
from targets.model import Target
from toolchain.errors import UsageError

PROGRAMMERS: dict[str, Programmer] = {
    programmer.name: programmer for programmer in (Uf2(), PyOcd(), OpenOcd(), JLink(), Stm32Loader(), DfuUtil(), Esptool())
}


def programmer_for(target: Target, tool: str) -> tuple[Programmer, str]:
    """The programmer and what it calls the target's chip. tool: empty for the target's default. Raises UsageError E901."""
    chips = {name: chip for name, chip in target.flash_tool.chips.items() if name in PROGRAMMERS}
    if not chips:
        hint = "Boards that QEMU stands in for take --port qemu" if target.qemu else "Choose a target that is a board"
        raise UsageError(901, "--port", f"no tool writes to {target.name}", hint)
    name = tool or next(iter(chips))
    if name not in chips:
        raise UsageError(901, "--tool", f"{target.name} is not written by {name}", f"Use {' or '.join(chips)}")
    return PROGRAMMERS[name], chips[name]
