"""Chips by OpenOCD, through a debug probe."""

from __future__ import annotations

from firmware.programmers.base import Job, Program, Step, Symptom, tool_step

_TOOL = Program(("openocd",), ("--version",), "Install OpenOCD 0.12 or later (Debian: apt-get install openocd)")
_SYMPTOMS = (
    Symptom(
        r"open failed|No J-Link device found|no device found|unable to find a matching|couldn't open",
        510,
        "no debug probe was found",
        "Connect the board's debug port; on Linux look at the udev rules in docs/flashing.md",
    ),
    Symptom(r"Can't find (\S+\.cfg)", 509, r"OpenOCD has no \1", "Install a later OpenOCD, or take another --tool"),
    Symptom(r"\*\* Verify Failed \*\*", 509, "what is in its flash is not what was written", "Flash it again"),
    Symptom(
        r"(?i)protect",
        509,
        "the chip is protected against its debug port",
        "Take the protection off with the vendor's tool, which erases all",
    ),
    Symptom(
        r"(?:init mode failed|target not examined|Target voltage may be too low|Error connecting DP)",
        506,
        "the chip does not answer the debug probe",
        "Check cable and power, hold RESET while it connects, then flash it again",
    ),
)
_STAGES = (
    ("** Verified OK **", "starting"),
    ("** Verify Started **", "verifying"),
    ("** Programming Finished **", "verifying"),
    ("** Programming Started **", "writing"),
)


class OpenOcd:
    """One call that writes, verifies and resets.

    The chip's name is the configuration files, separated by blanks; `transport=swd` between them chooses that one.
    """

    name = "openocd"

    def version(self) -> str:
        """Raises EnvironmentFault E406."""
        return _TOOL.version()

    def steps(self, job: Job) -> tuple[Step, ...]:
        """One call."""
        files = [each for word in job.chip.split() for each in _option(word)]
        probe = ("-c", f"adapter serial {job.probe}") if job.probe else ()
        write = f"program {{{job.image.file('.bin').as_posix()}}} {job.image.base:#x} verify reset exit"
        step = tool_step(
            _TOOL,
            (*files, *probe, "-c", write),
            job,
            stage="connecting",
            watch=_watch,
            symptoms=_SYMPTOMS,
            needed=(r"\*\* Verified OK \*\*",),
        )
        return (step,)


def _option(word: str) -> tuple[str, str]:
    transport = word.removeprefix("transport=")
    return ("-f", word) if transport == word else ("-c", f"transport select {transport}")


def _watch(text: str) -> tuple[str, int, int] | None:
    return next(((stage, 0, 0) for mark, stage in _STAGES if mark in text), None)
