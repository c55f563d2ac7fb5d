"""What all programmers have in common: an image, a place, steps that can be shown or taken, and an outside tool as a step."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from firmware.image import read_image
from firmware.processes import Finished, first_lines, run_process, stream_process
from targets.model import Target
from toolchain.errors import EnvironmentFault, RunError, TargetError

SILENCE_S = 60.0
"""A tool that prints nothing for so long is stopped; the longest erase of a whole chip takes half of it."""
LIMIT_S = 120.0
SLOWEST_BYTES_PER_S = 2000
ALIGN_BYTES = 16
"""The largest unit that the boards' flash is written by: images are padded to it."""
_TAIL = 512
# Tools that draw for a person would cut and colour their lines.
_PLAIN = {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}


class Progress(Protocol):
    """`progress(stage, done, total)`; a total of 0 means that nobody knows how much is left."""

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Take the news."""
        ...


@dataclass(frozen=True, slots=True)
class FlashImage:
    """What is written: bytes at an address, gaps and the end filled with 0xff. elf: the file that it is taken from."""

    elf: Path
    base: int
    data: bytes

    def file(self, suffix: str, data: bytes | None = None) -> Path:
        """The image, or other bytes, in a file beside the ELF that stays. Raises RunError E505."""
        place = self.elf.with_suffix(suffix)
        wanted = self.data if data is None else data
        try:
            if not place.is_file() or place.read_bytes() != wanted:
                handle, aside = tempfile.mkstemp(dir=place.parent)
                with os.fdopen(handle, "wb") as file:
                    file.write(wanted)
                Path(aside).replace(place)
        except OSError as fault:
            raise RunError(
                505, str(place), f"it cannot be written: {fault.strerror}", "Set STROP_CACHE to another folder"
            ) from fault
        return place

    @property
    def limit_s(self) -> float:
        """When a tool that writes and reads the image is given up."""
        return LIMIT_S + len(self.data) / SLOWEST_BYTES_PER_S


def flash_image(elf: Path, target: Target) -> FlashImage:
    """The bytes of an ELF that lie in a target's flash. Raises TargetError E302 where any lie elsewhere."""
    segments = [segment for segment in read_image(elf).segments if segment.data]
    flash = next(
        (m for m in target.memories if m.role == "flash" and segments and m.base <= segments[0].address < m.base + m.bytes), None
    )
    end = max((segment.address + len(segment.data) for segment in segments), default=0)
    base = min((segment.address for segment in segments), default=0)
    if flash is None or base < flash.base or end > flash.base + flash.bytes:
        what = f"the image lies at {base:#010x} to {end:#010x}, outside of one flash"
        raise TargetError(302, target.name, what, "Choose a larger target")
    data = bytearray(b"\xff" * (-(-(end - flash.base) // ALIGN_BYTES) * ALIGN_BYTES))
    for segment in segments:
        start = segment.address - flash.base
        data[start : start + len(segment.data)] = segment.data
    first = (base - flash.base) // ALIGN_BYTES * ALIGN_BYTES
    return FlashImage(elf.resolve(), flash.base + first, bytes(data[first:]))


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a programmer needs. chip: what the tool calls it. port: that the chip's own loader listens on.

    probe: serial number of the debug probe, empty for the only one. drive: a UF2 loader's; None for the only one.
    """

    target: Target
    chip: str
    image: FlashImage
    port: str
    probe: str = ""
    drive: Path | None = None

    @property
    def place(self) -> str:
        """For errors."""
        return f"{self.target.name} at {self.port}"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. text: what a person would type or do. run: does it, and raises EnvironmentFault or RunError."""

    text: str
    run: Callable[[Progress], None]


class Programmer(Protocol):
    """A way to write an image to a board."""

    @property
    def name(self) -> str:
        """The word of `--tool`."""
        ...

    def version(self) -> str:
        """Of the tool. Raises EnvironmentFault E404 or E406 with how to install it."""
        ...

    def steps(self, job: Job) -> tuple[Step, ...]:
        """What writes the image, verifies it and starts it."""
        ...


@dataclass(frozen=True, slots=True)
class Symptom:
    """What a tool prints when it fails for a known reason, the error of it, and what to do."""

    pattern: str
    number: int
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Package:
    """A tool that pip installs. name: of the package, its module and its script."""

    name: str

    def version(self) -> str:
        """Raises EnvironmentFault E404."""
        try:
            return f"{self.name} {version(self.name)}"
        except PackageNotFoundError as fault:
            raise EnvironmentFault(404, self.name, "it is not installed", "pip install 'strop[flash]'") from fault

    def command(self) -> tuple[str, ...]:
        """How it is started."""
        return (sys.executable, "-m", self.name)

    def shown(self) -> str:
        """How a person starts it."""
        return self.name


@dataclass(frozen=True, slots=True)
class Program:
    """A tool on PATH. names: of the program, the first that is there counts. ask: makes it print its version."""

    names: tuple[str, ...]
    ask: tuple[str, ...]
    hint: str

    def version(self) -> str:
        """Raises EnvironmentFault E406."""
        done = run_process((*self.command(), *self.ask), timeout_s=20, extra_env=_PLAIN)
        return first_lines(done.stdout or done.stderr, 1, 80) or self.shown()

    def command(self) -> tuple[str, ...]:
        """How it is started. Raises EnvironmentFault E406."""
        found = next(filter(None, map(shutil.which, self.names)), None)
        if found is None:
            raise EnvironmentFault(406, self.names[0], "it is not on PATH", self.hint)
        return (found,)

    def shown(self) -> str:
        """How a person starts it."""
        return self.names[0]


Watch = Callable[[str], tuple[str, int, int] | None]
"""Takes the last of what a tool printed; gives stage, done and total, or None."""


def percent_watch(size: int, **patterns: str) -> Watch:
    """Reads percentages. patterns: stage -> pattern whose group is the percentage; the one that is found last counts."""
    compiled = [(stage.replace("_", " "), re.compile(pattern)) for stage, pattern in patterns.items()]

    def watch(text: str) -> tuple[str, int, int] | None:
        found = [(match.start(), stage, float(match.group(1))) for stage, each in compiled for match in each.finditer(text)]
        if not found:
            return None
        _, stage, percent = max(found)
        return stage, round(size * min(percent, 100.0) / 100), size

    return watch


def tool_step(
    tool: Package | Program,
    arguments: Sequence[str],
    job: Job,
    *,
    stage: str = "writing",
    watch: Watch | None = None,
    symptoms: Sequence[Symptom] = (),
    needed: Sequence[str] = (),
    after: Callable[[str], None] | None = None,
    reads: Path | None = None,
) -> Step:
    """A run of an outside tool. It must end with status 0, within its time, and have printed every pattern of `needed`.

    stage: what is shown while watch sees nothing yet. after: called with what was printed. reads: the file that the tool reads
    the flash into, which must be the image. Errors: the first symptom that fits, else RunError E509 with the tool's last line.
    """

    def run(progress: Progress) -> None:
        tail, shown = "", (stage, 0, len(job.image.data) if watch else 0)
        progress(*shown)

        def show(seen: tuple[str, int, int]) -> None:
            """A stage ends full, also where the tool printed its end and the next one's beginning at once."""
            nonlocal shown
            if seen[0] != shown[0] and shown[1] < shown[2]:
                progress(shown[0], shown[2], shown[2])
            shown = seen
            progress(*seen)

        def heard(text: str) -> None:
            nonlocal tail
            tail = (tail + text)[-_TAIL - len(text) :]
            seen = watch(tail) if watch else None
            if seen is not None and seen != shown:
                show(seen)

        command = (*tool.command(), *arguments)
        if reads is not None:
            reads.unlink(missing_ok=True)
        # Not where the user is: tools take modules and configuration files from there before their own.
        folder = job.image.elf.parent
        done = stream_process(command, silence_s=SILENCE_S, limit_s=job.image.limit_s, heard=heard, extra_env=_PLAIN, cwd=folder)
        missing = [each for each in needed if not re.search(each, done.stdout)]
        if done.status or missing:
            raise _failure(tool.shown(), done, job, symptoms)
        if shown[1] < shown[2]:
            progress(shown[0], shown[2], shown[2])
        if after is not None:
            after(done.stdout)
        if reads is not None:
            _compare(reads, job)

    return Step(shlex.join([tool.shown(), *arguments]), run)


def _failure(name: str, done: Finished, job: Job, symptoms: Sequence[Symptom]) -> RunError:
    for symptom in symptoms:
        match = re.search(symptom.pattern, done.stdout)
        if match:
            return RunError(symptom.number, job.place, match.expand(symptom.message), symptom.hint)
    last = _last_line(done.stdout)
    if done.timed_out:
        what = f"{name} was stopped, it did not end in time"
    else:
        what = f"{name} ended with status {done.status}" if done.status else f"{name} did not say that it is done"
    hint = "Check cable and power, reset the board into its loader, then flash it again"
    return RunError(509, job.place, f"{what}: {last}" if last else what, hint)


def _compare(back: Path, job: Job) -> None:
    try:
        found = back.read_bytes()
        back.unlink()
    except OSError as fault:
        raise RunError(509, job.place, f"its flash was not read back: {fault.strerror}", "Flash it again") from fault
    if found != job.image.data:
        pairs = enumerate(zip(found, job.image.data, strict=False))
        first = next((place for place, (there, here) in pairs if there != here), min(len(found), len(job.image.data)))
        what = f"what is in its flash differs from what was written, first at {job.image.base + first:#010x}"
        raise RunError(509, job.place, what, "Flash it again")


def _last_line(text: str) -> str:
    """What a tool said last of an error, else last of all, without the module of a Python exception."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    chosen = [line for line in lines if "error" in line.lower()] or lines
    return re.sub(r"^(?:[A-Za-z_]\w*\.)+(\w+(?:Error|Exception):)", r"\1", chosen[-1])[:200] if chosen else ""
