"""Arm chips by pyOCD, through a debug probe: ST-LINK, J-Link, CMSIS-DAP and others."""

from __future__ import annotations

import re

from firmware.programmers.base import Job, Package, Step, Symptom, Watch, tool_step

BAR_WIDTH = 40
_TOOL = Package("pyocd")
_BAR = re.compile(r"----\]\s*\[(=*)")


class PyOcd:
    """Writes, reads all back into a file that is compared, and resets."""

    name = "pyocd"

    def version(self) -> str:
        """Raises EnvironmentFault E404."""
        return _TOOL.version()

    def steps(self, job: Job) -> tuple[Step, ...]:
        """Two calls."""
        image = job.image
        probe = ("--target", job.chip, "--no-wait", *(("--uid", job.probe) if job.probe else ()))
        back = image.elf.with_suffix(".read")
        read = f'savemem {image.base:#x} {len(image.data)} "{back.as_posix()}"'
        symptoms = _symptoms(job)
        return (
            tool_step(
                _TOOL,
                ("load", *probe, "--base-address", f"{image.base:#x}", str(image.file(".bin"))),
                job,
                stage="connecting",
                watch=_watch(len(image.data)),
                symptoms=symptoms,
            ),
            tool_step(
                _TOOL,
                ("commander", *probe, "--command", "halt", "--command", read, "--command", "reset"),
                job,
                stage="verifying",
                symptoms=symptoms,
                reads=back,
            ),
        )


def _symptoms(job: Job) -> tuple[Symptom, ...]:
    pack = f"pyocd pack install {job.chip}"
    return (
        Symptom(
            r"[Tt]arget type '?(\S+?)'? not recognized", 509, r"pyocd does not know the chip \1", f"Fetch its description: {pack}"
        ),
        Symptom(
            r"No (?:available|connected) debug probe|no probe",
            510,
            "no debug probe was found",
            "Connect the board's debug port; on Linux look at the udev rules in docs/flashing.md",
        ),
        Symptom(
            r"(?i)protect|locked",
            509,
            "the chip is protected against its debug port",
            f"`pyocd erase --mass --target {job.chip}` takes protection off and erases all",
        ),
    )


def _watch(size: int) -> Watch:
    """The bar that pyOCD draws for files: a scale, then one `=` after the other."""

    def watch(text: str) -> tuple[str, int, int] | None:
        found = _BAR.findall(text)
        return ("writing", size * len(found[-1]) // BAR_WIDTH, size) if found else None

    return watch
