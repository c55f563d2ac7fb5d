"""STM32 through the loader in their ROM (ST AN3155), over a serial port that it listens on, by stm32loader."""

from __future__ import annotations

import re

from firmware.programmers.base import Job, Package, Step, Symptom, Watch, tool_step
from toolchain.errors import RunError

BAUD = 115_200
_TOOL = Package("stm32loader")
_TO_LOADER = "Set BOOT0, reset the board, then flash it again"
_SYMPTOMS = (
    Symptom(r"Can't init into bootloader", 506, "its loader does not answer", _TO_LOADER),
    Symptom(
        r"Erase failed|NACK 0x(?:11|31)",
        509,
        "its loader refuses: the flash is protected, or a byte was lost on the line",
        "Read-out protection is taken off by `stm32loader --unprotect --port PORT`, which erases all; else flash it again",
    ),
    Symptom(r"Verification FAILED: (.*)", 509, r"what is in its flash is not what was written: \1", "Flash it again"),
    Symptom(r"could not open port", 506, "the port cannot be opened", "`strop doctor` lists ports; close what else has it open"),
)
_PLACE = re.compile(r"(Write|Read) (\d+) bytes at 0x([0-9A-Fa-f]+)")
_CHIP = re.compile(r"Chip id: 0x([0-9A-Fa-f]+)")


class Stm32Loader:
    """Asks for the product ID, then erases all, writes, reads back, and starts the program."""

    name = "stm32loader"

    def version(self) -> str:
        """Raises EnvironmentFault E404."""
        return _TOOL.version()

    def steps(self, job: Job) -> tuple[Step, ...]:
        """Two calls: nothing is erased before the chip is known to be the target's."""
        line = ("--port", job.port, "--baud", str(BAUD))
        address = f"{job.image.base:#010x}"
        write = ("--erase", "--write", "--verify", "--address", address, "--go-address", address, "--verbose")
        return (
            tool_step(
                _TOOL, line, job, stage="asking for the chip", symptoms=_SYMPTOMS, after=lambda said: _check_chip(said, job)
            ),
            tool_step(
                _TOOL,
                (*line, *write, str(job.image.file(".bin"))),
                job,
                stage="erasing",
                watch=_watch(job.image.base, len(job.image.data)),
                symptoms=_SYMPTOMS,
                needed=("Verification OK",),
            ),
        )


def _check_chip(said: str, job: Job) -> None:
    found = _CHIP.search(said)
    if found is None:
        raise RunError(506, job.place, "its loader does not tell its product ID", _TO_LOADER)
    if int(found[1], 16) != int(job.chip, 16):
        what = f"its product ID is {int(found[1], 16):#x}, that of the target is {int(job.chip, 16):#x}"
        raise RunError(513, job.place, what, "Choose another port, or compile for this chip")


def _watch(base: int, size: int) -> Watch:
    """Places that are written or read in the verbose text."""

    def watch(text: str) -> tuple[str, int, int] | None:
        found = _PLACE.findall(text)
        if not found:
            return None
        verb, count, address = found[-1]
        done = int(address, 16) - base + int(count)
        return "writing" if verb == "Write" else "verifying", max(0, min(done, size)), size

    return watch
