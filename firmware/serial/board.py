"""A board on a serial line: every request is repeated until it is answered or its time is over; nothing waits for ever."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from firmware.serial.frames import ERROR, REPLY, Frame, Splitter, encode
from toolchain.errors import RunError

HELLO, MODEL, WRITE, RUN, READ, TIMER, MARKS = range(1, 8)
HELLO_HEAD = struct.Struct("<BBH16sIIi")
MODEL_HEAD = struct.Struct("<BBI")
PLACE = struct.Struct("<BBI")
PART = struct.Struct("<BBIH")
TIMED = struct.Struct("<i6I")
RAN = struct.Struct("<i6IiI")
MARK_HEAD, MARK = struct.Struct("<I"), struct.Struct("<2I")
REASONS = {
    1: "it does not know the request",
    2: "the request has a wrong length",
    3: "it has no such model",
    4: "the model has no such tensor",
    5: "the bytes lie outside of the tensor",
    6: "the inputs arrived changed",
    7: "another model had its turn since, and its outputs are gone",
    16: "no update was begun",
    17: "its own image is on trial",
    18: "the image is for another board or another slot",
    19: "the image is older than the one that was confirmed",
    20: "bytes of the update are out of order",
    21: "the flash could not be written",
    22: "the image arrived changed",
}
ANSWER_S = 1.0
TRIES = 8
CHECKED, UNCHECKED = 0, 1
PROGRAM_ID_BYTES = 16


class Line(Protocol):
    """What pyserial's ports have."""

    def read(self, size: int = 1) -> bytes:
        """Up to size bytes; fewer, or none, when the port's time-out is over."""
        ...

    def write(self, data: bytes) -> int | None:
        """Send bytes."""
        ...

    @property
    def in_waiting(self) -> int:
        """Bytes that are there."""
        ...


@dataclass(frozen=True, slots=True)
class Hello:
    """What a board says of itself. status: of its models' start; 0 is right."""

    payload_bytes: int
    models: int
    build_id: bytes
    clock_hz: int
    poll_instructions: int
    status: int
    board: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model on a board, sizes in bytes. program_id: where a board has several, else empty."""

    name: str
    arena_bytes: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    program_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. moments: before and after (high, low, polls each). guard: offset of a changed byte around the arena, or 0."""

    status: int
    moments: tuple[int, ...]
    guard: int
    stack_bytes: int


class Board:
    """Requests to a board. They raise RunError: E506 where it does not answer, E507 where it refuses, E502 where it faults."""

    def __init__(self, line: Line, name: str, answer_s: float = ANSWER_S, tries: int = TRIES) -> None:
        """line: an open port whose reads end by themselves. name: for errors. answer_s: when a request is sent again."""
        self._line, self._name, self._answer_s, self._tries = line, name, answer_s, tries
        self.line, self.name = line, name
        self._splitter, self._sequence = Splitter(), int.from_bytes(struct.pack("<d", time.time())[:2], "little")

    def hello(self) -> Hello:
        """Who is there."""
        payload = self.ask(HELLO, b"")
        if len(payload) < HELLO_HEAD.size:
            raise self._strange("its greeting is too short")
        _, models, most, build_id, clock_hz, polls, status = HELLO_HEAD.unpack_from(payload)
        if most < 16:
            raise self._strange(f"it takes {most} B at once")
        return Hello(most, models, build_id, clock_hz, polls, status, payload[HELLO_HEAD.size :].decode("ascii", "replace"))

    def model(self, index: int = 0, *, several: bool = False) -> Model:
        """What a model is. several: the board has more than one."""
        payload = self.ask(MODEL, bytes((index,)))
        if len(payload) < MODEL_HEAD.size:
            raise self._strange("its model's description is too short")
        inputs, outputs, arena = MODEL_HEAD.unpack_from(payload)
        end = MODEL_HEAD.size + 4 * (inputs + outputs)
        if len(payload) < end:
            raise self._strange("its model's description is too short")
        sizes = struct.unpack_from(f"<{inputs + outputs}I", payload, MODEL_HEAD.size)
        program_id = payload[end : end + PROGRAM_ID_BYTES] if several else b""
        name = payload[end + len(program_id) :].decode("ascii", "replace")
        return Model(name, arena, sizes[:inputs], sizes[inputs:], program_id)

    def write(self, tensor: int, data: bytes, most: int, model: int = 0) -> None:
        """Fill an input, `most` bytes of payload a time."""
        step = most - PLACE.size
        for start in range(0, len(data), step):
            self.ask(WRITE, PLACE.pack(model, tensor, start) + data[start : start + step])

    def run(self, inputs: Sequence[bytes] | None, timeout_s: float, model: int = 0) -> Run:
        """Run once. inputs: what was written, which the board checks; None times a run of whatever is there."""
        how = UNCHECKED if inputs is None else CHECKED
        check = 0
        for data in inputs or ():
            check = zlib.crc32(data, check)
        payload = self.ask(RUN, PLACE.pack(model, how, check), timeout_s)
        if len(payload) != RAN.size:
            raise self._strange(f"a run is answered by {len(payload)} B")
        status, *moments, guard, stack = RAN.unpack(payload)
        return Run(status, tuple(moments), guard, stack)

    def read(self, tensor: int, size: int, most: int, model: int = 0) -> bytes:
        """An output."""
        parts: list[bytes] = []
        for start in range(0, size, most):
            count = min(most, size - start)
            part = self.ask(READ, PART.pack(model, tensor, start, count))
            if len(part) != count:
                raise self._strange(f"{count} B of an output were asked for, {len(part)} came")
            parts.append(part)
        return b"".join(parts)

    def timer(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Moments before and after an empty call, and around a loop of known length."""
        payload = self.ask(TIMER, b"", 30.0)
        if len(payload) != 2 * TIMED.size:
            raise self._strange(f"its timer is answered by {len(payload)} B")
        return TIMED.unpack_from(payload)[1:], TIMED.unpack_from(payload, TIMED.size)[1:]

    def marks(self) -> list[tuple[int, int]]:
        """Ticks and polls of what lay between the marks of the last run, on a firmware that was built for it."""
        found: list[tuple[int, int]] = []
        while True:
            payload = self.ask(MARKS, len(found).to_bytes(2, "little"))
            if len(payload) < MARK_HEAD.size or (len(payload) - MARK_HEAD.size) % MARK.size:
                raise self._strange(f"its marks are {len(payload)} B")
            made = MARK_HEAD.unpack_from(payload)[0]
            part = list(MARK.iter_unpack(payload[MARK_HEAD.size :]))
            found += part
            if len(found) >= made:
                return found
            if not part:
                raise self._strange(f"it kept {len(found)} of {made} marks")

    def ask(self, kind: int, payload: bytes, timeout_s: float | None = None) -> bytes:
        """The payload of the answer; the request is sent again, with the same sequence, whenever no answer came."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        request = encode(Frame(kind, self._sequence, payload))
        wait_s = self._answer_s if timeout_s is None else timeout_s
        for _ in range(self._tries):
            self._send(request)
            found = self._wait(kind, time.monotonic() + wait_s)
            if found is not None:
                return found
        what = f"no answer to {self._tries} requests in {self._tries * wait_s:g} s"
        raise RunError(506, self._name, what, "Check the cable, the port and what was flashed, then reset the board")

    def _wait(self, kind: int, end: float) -> bytes | None:
        while time.monotonic() < end:
            try:
                data = self._line.read(max(1, self._line.in_waiting))
            except OSError as fault:
                raise self._gone(fault) from fault
            self._splitter.feed(data)
            self._take_lines()
            for frame in self._take_frames():
                if frame.sequence != self._sequence:
                    continue
                if frame.type == ERROR:
                    reason = REASONS.get(frame.payload[0] if frame.payload else 0, "it gives no reason")
                    raise RunError(507, self._name, f"it refuses: {reason}", "Flash it again, then repeat")
                if frame.type == kind | REPLY:
                    return frame.payload
        return None

    def _send(self, request: bytes) -> None:
        try:
            self._line.write(request)
        except OSError as fault:
            raise self._gone(fault) from fault

    def _gone(self, fault: OSError) -> RunError:
        return RunError(506, self._name, f"the port is gone: {fault!s:.80}", "Connect the board, then repeat")

    def _take_frames(self) -> list[Frame]:
        found, self._splitter.frames = self._splitter.frames, []
        return found

    def _take_lines(self) -> None:
        found, self._splitter.lines = self._splitter.lines, []
        for line in found:
            if line.startswith("e-[Fault"):
                raise RunError(502, self._name, f"the program faulted: {line[2:]}", "Report this with the bundle")

    def _strange(self, what: str) -> RunError:
        return RunError(507, self._name, what, "Flash the board with this version of Strop")
