"""STM32 through the loader in their ROM, over USB (ST AN3156), by dfu-util."""

from __future__ import annotations

from firmware.programmers.base import Job, Program, Step, Symptom, percent_watch, tool_step

_TOOL = Program(("dfu-util",), ("--version",), "Install dfu-util 0.10 or later (Debian: apt-get install dfu-util)")
_SYMPTOMS = (
    Symptom(
        r"No DFU capable USB device",
        510,
        "no board in its USB loader was found",
        "Set BOOT0, reset the board, connect its own USB port (not the debug probe's), then flash it again",
    ),
    Symptom(
        r"More than one DFU capable USB device",
        510,
        "more than one board is in its USB loader",
        "Disconnect all but one",
    ),
    Symptom(
        r"Cannot open DFU device|LIBUSB_ERROR_ACCESS",
        506,
        "the USB device cannot be opened",
        "On Linux look at the udev rules in docs/flashing.md; on Windows install WinUSB for it by Zadig",
    ),
    Symptom(
        r"not writeable|not readable|errVENDOR", 509, "its loader refuses: the flash is protected", "Take the protection off"
    ),
)


class DfuUtil:
    """Writes, reads all back into a file that is compared, and leaves the loader. The chip's name is the loader's VID:PID."""

    name = "dfu"

    def version(self) -> str:
        """Raises EnvironmentFault E406."""
        return _TOOL.version()

    def steps(self, job: Job) -> tuple[Step, ...]:
        """Two calls."""
        image = job.image
        size = len(image.data)
        board = ("-d", job.chip, "-a", "0")
        back = image.elf.with_suffix(".read")
        watch = percent_watch(size, erasing=r"Erase\s+\[[= ]*\]\s+(\d+)%", writing=r"Download\s+\[[= ]*\]\s+(\d+)%")
        write = tool_step(
            _TOOL,
            (*board, "-s", f"{image.base:#010x}", "-D", str(image.file(".bin"))),
            job,
            stage="erasing",
            watch=watch,
            symptoms=_SYMPTOMS,
            needed=("File downloaded successfully",),
        )
        read = tool_step(
            _TOOL,
            (*board, "-s", f"{image.base:#010x}:{size}:leave", "-U", str(back)),
            job,
            stage="verifying",
            watch=percent_watch(size, verifying=r"Upload\s+\[[= ]*\]\s+(\d+)%"),
            symptoms=_SYMPTOMS,
            reads=back,
        )
        return write, read
