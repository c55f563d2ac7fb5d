"""Espressif's chips by esptool, over the serial port that the board talks over; it checks an MD5 of what it wrote."""

from __future__ import annotations

from firmware.programmers.base import Job, Package, Step, Symptom, percent_watch, tool_step

BAUD = 460_800
_TOOL = Package("esptool")
_SYMPTOMS = (
    Symptom(r"This chip is ([\w() -]+), not ([\w-]+)", 513, r"it is an \1, the bundle is for an \2", "Choose another port"),
    Symptom(r"MD5 of file does not match", 509, "what is in its flash is not what was written", "Flash it again"),
    Symptom(
        r"Failed to connect to|No serial data received|Invalid head of packet|Possible serial noise",
        506,
        "its loader does not answer",
        "Hold BOOT, press RESET, let go of BOOT, then flash it again",
    ),
)


class Esptool:
    """Writes to the flash chip from its start; the address that the processor sees it at does not matter."""

    name = "esptool"

    def __init__(self, before: str = "default-reset", stub: bool = True) -> None:
        """before: how the board gets into its loader; stub: whether a quicker loader is run on it."""
        self._before, self._stub = before, stub

    def version(self) -> str:
        """Raises EnvironmentFault E404."""
        return _TOOL.version()

    def steps(self, job: Job) -> tuple[Step, ...]:
        """One call: esptool writes, compares a digest and resets."""
        offset = job.image.base - job.target.flash.base
        where = ("--chip", job.chip, "--port", job.port, "--baud", str(BAUD), "--before", self._before, "--after", "hard-reset")
        what = ("write-flash", f"{offset:#x}", str(job.image.file(".bin")))
        size = len(job.image.data)
        watch = percent_watch(size, writing=r"Writing at 0x[0-9a-f]+[^\n%]*?([0-9.]+)%")
        step = tool_step(
            _TOOL,
            (*where, *(() if self._stub else ("--no-stub",)), *what),
            job,
            stage="connecting",
            watch=watch,
            symptoms=_SYMPTOMS,
            needed=("Hash of data verified",),
        )
        return (step,)
