"""The line to a board: frames, text, and a firmware that runs on this machine behind a line that damages what it carries."""

from __future__ import annotations

import time
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.device_build import Scale
from firmware.serial.board import Board
from firmware.serial.frames import Frame, Splitter, decode, encode, stuff, unstuff
from firmware.serial.port import open_port
from tests.support.device_host import Noise, build_host_device, device_port
from toolchain.api import compile
from toolchain.api.places import c_program, output_scale
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.errors import EnvironmentFault, RunError
from toolchain.reference.evaluator import run

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("board") / "digits"
    compile(DIGITS / "digits.onnx", "host", folder, formats=("c",), calibrate=str(DIGITS / "calibration.npz"), precision="int8")
    return read_bundle(folder)


@pytest.fixture(scope="module")
def device(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host_device(c_program(bundle), output_scale(bundle), tmp_path_factory.mktemp("device"))


@pytest.fixture
def line(device: Path) -> Generator[Any]:
    with device_port(device) as (name, _), closing(open_port(name, 115_200)) as port:
        yield port


# --- frames


@given(st.binary(max_size=700))
def test_stuffed_bytes_have_no_zero_and_come_back(data: bytes) -> None:
    stuffed = stuff(data)
    assert 0 not in stuffed
    assert len(stuffed) <= len(data) + 1 + len(data) // 254
    assert unstuff(stuffed) == data


@pytest.mark.parametrize(
    ("data", "stuffed"),
    [(b"", "01"), (b"\0", "0101"), (b"\0\0", "010101"), (b"\x11\x22\0\x33", "0311220233"), (b"\x11\0\0\0", "0211010101")],
)
def test_stuffing_as_published(data: bytes, stuffed: str) -> None:
    """Examples of Cheshire and Baker's paper."""
    assert stuff(data).hex() == stuffed


@given(st.lists(st.one_of(st.builds(Frame, st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=300)))), st.data())
@settings(max_examples=60, deadline=None)
def test_frames_come_through_between_text_however_they_are_cut(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"m-ready\r\n" + b"".join(encode(frame) + b"m-lap-us-1\r\n" for frame in frames)
    splitter = Splitter()
    while stream:
        cut = data.draw(st.integers(1, max(len(stream), 1)))
        splitter.feed(stream[:cut])
        stream = stream[cut:]
    assert splitter.frames == frames
    assert splitter.lines == ["m-ready", *["m-lap-us-1"] * len(frames)]


@given(st.binary(max_size=300), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_seen(payload: bytes, place: int, change: int) -> None:
    stuffed = bytearray(encode(Frame(3, 7, payload))[2:-1])
    stuffed[place % len(stuffed)] ^= change
    found = decode(bytes(stuffed))
    assert found is None or found == Frame(3, 7, payload)


@given(st.binary(max_size=2000))
def test_any_bytes_at_all_are_taken(data: bytes) -> None:
    splitter = Splitter()
    splitter.feed(data * 4)
    splitter.feed(encode(Frame(1, 2, b"x")))
    assert splitter.frames[-1] == Frame(1, 2, b"x")


# --- the firmware


def inputs_of(bundle: Bundle, seed: int) -> bytes:
    shape = bundle.graph().inputs[0].type.shape
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8).tobytes()


def expected(bundle: Bundle, data: bytes) -> bytes:
    graph = bundle.graph()
    return run(graph, [np.frombuffer(data, np.int8).reshape(graph.inputs[0].type.shape)])[0].tobytes()


def test_a_board_says_what_it_is_and_computes_right(bundle: Bundle, line: Any) -> None:
    board = Board(line, "device")
    hello = board.hello()
    assert (hello.models, hello.build_id, hello.board, hello.status) == (1, bytes(range(16)), "host", 0)
    model = board.model()
    assert (model.name, model.inputs, model.outputs) == (bundle.manifest.name, (64,), (10,))
    for seed in range(5):
        data = inputs_of(bundle, seed)
        board.write(0, data, hello.payload_bytes)
        assert board.run([data], 5).status == 0
        assert board.read(0, 10, hello.payload_bytes) == expected(bundle, data)


def test_small_payloads_make_the_same_tensor(bundle: Bundle, line: Any) -> None:
    board, data = Board(line, "device"), inputs_of(bundle, 9)
    board.write(0, data, 17)
    board.run([data], 5)
    assert board.read(0, 10, 3) == expected(bundle, data)


def test_inputs_that_arrived_changed_are_not_run(bundle: Bundle, line: Any) -> None:
    board, data = Board(line, "device"), inputs_of(bundle, 1)
    board.write(0, data, 256)
    with pytest.raises(RunError, match=r"E507 .*the inputs arrived changed"):
        board.run([data[:-1] + b"\x01"], 5)


@pytest.mark.parametrize(
    ("kind", "payload", "why"),
    [
        (99, b"", "does not know"),
        (2, b"", "wrong length"),
        (2, b"\x07", "no such model"),
        (3, b"\0\x05\0\0\0\0x", "no such tensor"),
        (3, b"\0\0\x40\0\0\0x", "outside of the tensor"),
        (3, b"\0\0\xff\xff\xff\xffx", "outside of the tensor"),
        (5, b"\0\0\0\0\0\0\x0b\0", "outside of the tensor"),
        (5, b"\0\0\x0b\0\0\0\0\0", "outside of the tensor"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(kind: int, payload: bytes, why: str, line: Any) -> None:
    board = Board(line, "device")
    with pytest.raises(RunError, match=rf"E507 .*{why}"):
        board.ask(kind, payload)
    assert board.hello().board == "host"


def test_a_run_that_is_asked_for_again_is_not_run_again(bundle: Bundle, line: Any) -> None:
    """The moments of the second answer are those of the first run."""
    board, data = Board(line, "device"), inputs_of(bundle, 2)
    board.write(0, data, 256)
    first = board.run([data], 5)
    board._sequence -= 1
    assert board.run([data], 5) == first
    assert board.run(None, 5) != first


# --- a line that damages


NOISE = Noise(lost=0.0004, changed=0.0004, doubled=0.0004, delayed=0.001)


def exchanges(device: Path, bundle: Bundle, count: int, seed: int) -> tuple[int, int]:
    """Runs of samples over a noisy line: right ones, and coded errors. Any wrong output fails."""
    right = failed = done = 0
    with device_port(device, NOISE, seed) as (name, _), closing(open_port(name, 115_200)) as port:
        board = Board(port, "device", answer_s=0.1, tries=6)
        while done < count:
            data = inputs_of(bundle, done)
            try:
                board.write(0, data, 40)
                board.run([data], 0.2)
                found = board.read(0, 10, 256)
            except RunError as fault:
                assert fault.number in (506, 507)
                failed += 1
            else:
                assert found == expected(bundle, data)
                right += 1
            done += 4
    return right, failed


def test_no_wrong_tensor_comes_through_a_noisy_line(device: Path, bundle: Bundle) -> None:
    right, _ = exchanges(device, bundle, 600, 1)
    assert right > 100


@pytest.mark.long
def test_ten_thousand_exchanges_over_a_noisy_line(device: Path, bundle: Bundle) -> None:
    right, failed = exchanges(device, bundle, 10_000, 2)
    print(f"{right} samples right, {failed} coded errors, none wrong")
    assert right > 2000


def test_a_board_that_disappears_is_an_error_in_time(device: Path) -> None:
    with device_port(device) as (name, process), closing(open_port(name, 115_200)) as port:
        board = Board(port, "device", answer_s=0.1, tries=3)
        board.hello()
        process.kill()
        start = time.monotonic()
        with pytest.raises(RunError, match=r"E506 .*no answer to 3 requests in 0\.3 s"):
            board.hello()
        assert time.monotonic() - start < 3


class Nonsense:
    """A port that answers with what it was given."""

    def __init__(self, answers: bytes) -> None:
        self.answers = answers

    in_waiting = 64

    def read(self, size: int = 1) -> bytes:
        data, self.answers = self.answers[:size], self.answers[size:]
        return data

    def write(self, data: bytes) -> int:
        sequence = data and Splitter()
        assert isinstance(sequence, Splitter)
        sequence.feed(data)
        request = sequence.frames[0]
        self.answers += encode(Frame(request.type | 0x80, request.sequence, b"short"))
        return len(data)


@pytest.mark.parametrize("call", ["hello", "model", "timer"])
def test_nonsense_is_an_error(call: str) -> None:
    board = Board(Nonsense(b"\0\2\xff\xff%%%garbage"), "device", answer_s=0.1, tries=2)
    with pytest.raises(RunError, match="E507"):
        getattr(board, call)()


def test_a_port_that_is_not_there_is_an_error() -> None:
    with pytest.raises(EnvironmentFault, match=r"E405 .*cannot be opened"):
        open_port("/nowhere/ttyUSB9", 115_200)


def test_the_check_is_the_crc_of_zip() -> None:
    body = b"\x01\x03\x07\x00payload"
    assert encode(Frame(3, 7, b"payload"))[2:-1] == stuff(body + zlib.crc32(body).to_bytes(4, "little"))
    assert Scale() == Scale(1.0, 0, 1)
