"""Chips by SEGGER's J-Link Commander."""

from __future__ import annotations

import os

from firmware.programmers.base import Job, Program, Step, Symptom, percent_watch, tool_step

SPEED_KHZ = 4000
_TOOL = Program(
    ("JLinkExe", "JLink", "JLink.exe"),
    ("-NoGui", "1", "-CommandFile", os.devnull),
    "Install SEGGER's J-Link software: https://www.segger.com/downloads/jlink",
)
_SYMPTOMS = (
    Symptom(
        r"Cannot connect to (?:the )?(?:J-Link|probe)|No emulators? connected|Connecting to J-Link via USB\.\.\.FAILED",
        510,
        "no J-Link was found",
        "Connect the board's debug port; on Linux look at the udev rules in docs/flashing.md",
    ),
    Symptom(
        r"Unknown device|is not (?:supported|known)", 509, "the J-Link software does not know the chip", "Bring it up to date"
    ),
    Symptom(
        r"Cannot connect to target|Could not connect to target",
        506,
        "the chip does not answer the J-Link",
        "Check cable and power, then flash it again",
    ),
    Symptom(
        r"(?i)secured|protect", 509, "the chip is protected against its debug port", "`unlock` in J-Link Commander erases all"
    ),
    Symptom(r"Verify failed", 509, "what is in its flash is not what was written", "Flash it again"),
)


class JLink:
    """One call with a file of commands, which stops at the first that fails."""

    name = "jlink"

    def version(self) -> str:
        """Raises EnvironmentFault E406."""
        return _TOOL.version()

    def steps(self, job: Job) -> tuple[Step, ...]:
        """One call."""
        image = job.image
        file = image.file(".bin")
        commands = f'r\nloadfile "{file}" {image.base:#x}\nverifybin "{file}" {image.base:#x}\nr\ng\nexit\n'
        script = image.file(".jlink", commands.encode())
        # A J-Link's number is printed without the zeros that its USB serial number begins with.
        probe = ("-SelectEmuBySN", job.probe.lstrip("0")) if job.probe else ()
        how = ("-NoGui", "1", "-ExitOnError", "1", *probe, "-Device", job.chip, "-If", "SWD", "-Speed", str(SPEED_KHZ))
        bars = {
            stage: rf"{word} flash\s+\[\s*(\d+)%\]"
            for stage, word in (("erasing", "Erasing"), ("writing", "Programming"), ("verifying", "Verifying"))
        }
        step = tool_step(
            _TOOL,
            (*how, "-AutoConnect", "1", "-CommandFile", str(script)),
            job,
            stage="connecting",
            watch=percent_watch(len(image.data), **bars),
            symptoms=_SYMPTOMS,
            needed=(r"Verify successful",),
        )
        return (step,)
