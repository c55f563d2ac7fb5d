"""What never starts, and what starts again: bad images, versions, trials that fail. The real boot loader runs in unicorn."""

from __future__ import annotations

import ctypes
import hashlib
import random
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.build import own_text
from firmware.compilers import CompilerChoice, find_compiler
from firmware.size import _sections
from firmware.update.build import build_boot
from firmware.update.image import HEADER_BYTES, SlotImage, pack_update, split_update
from firmware.update.keys import SigningKey, new_keys
from firmware.update.known import generated_inputs
from firmware.update.send import BEGIN, BLOCK, FINISH, TOLD, SlotState
from targets.load import load_target
from tests.support.engines import needs_arm_gcc
from tests.support.flash_board import INSTRUCTIONS_PER_MS, POLL_INSTRUCTIONS, Flash, FlashBoard, Operation
from tests.support.updates import Updates, crashing_payload, example, hanging_image, updates_for
from toolchain.errors import RunError
from toolchain.reference.evaluator import run

NO_SLOT = 0xFF


@pytest.fixture(scope="module")
def updates() -> Updates:
    return updates_for("stm32l4")


def state_record(sequence: int, stable: int, trial: int, tries: int, floor: int) -> bytes:
    body = struct.pack("<II4B4I", 0x31537453, sequence, stable, trial, tries, 0, floor, 0, 0, 0)
    return body + zlib.crc32(body).to_bytes(4, "little") + bytes(8) + b"\xff" * 24


def flash_with(updates: Updates, slots: dict[int, bytes], record: bytes) -> Flash:
    """Flash with what a programmer put there: images, or what is to be one, and a state."""
    update = updates.update
    contents = bytearray(b"\xff" * update.bytes)
    contents[: len(record)] = record
    for slot, data in slots.items():
        start = update.slot(slot) - update.base
        contents[start : start + len(data)] = data
    return Flash.of(update, bytes(contents))


def slot_that_starts(updates: Updates, slots: dict[int, bytes], record: bytes) -> int | None:
    return updates.board(flash_with(updates, slots, record)).power_on(until_image=True)


ON_TRIAL = state_record(1, 0, 1, 3, 1)


def test_the_trial_of_a_signed_image_starts(updates: Updates) -> None:
    """What the tests below spoil."""
    assert slot_that_starts(updates, {0: updates.versions[1][0].data, 1: updates.versions[2][1].data}, ON_TRIAL) == 1


def flipped(at: int) -> Callable[[Updates, SlotImage], bytes]:
    return lambda _, image: image.data[:at] + bytes((image.data[at] ^ 4,)) + image.data[at + 1 :]


def resigned(**changed: object) -> Callable[[Updates, SlotImage], bytes]:
    """The same payload with another header, well signed."""
    return lambda updates, image: updates.sign(image.data[HEADER_BYTES:], 1, 2, **changed).data


def strangers_key() -> SigningKey:
    with TemporaryDirectory() as folder:
        return new_keys(Path(folder))


BAD: dict[str, Callable[[Updates, SlotImage], bytes]] = {
    "signature, first half": flipped(5),
    "signature, second half": flipped(40),
    "magic": flipped(64),
    "address": flipped(72),
    "length": flipped(76),
    "version": flipped(80),
    "zero": flipped(84),
    "build id": flipped(90),
    "target": flipped(104),
    "reserved": flipped(200),
    "vectors": flipped(HEADER_BYTES + 4),
    "last byte": lambda _, image: image.data[:-1] + bytes((image.data[-1] ^ 1,)),
    "truncated": lambda _, image: image.data[:-256],
    "header alone": lambda _, image: image.data[:HEADER_BYTES],
    "nothing": lambda _, image: b"",
    "zeros": lambda _, image: bytes(len(image.data)),
    "length of 4 GiB": lambda _, image: image.data[:76] + b"\xff" * 4 + image.data[80:],
    "another board": resigned(target="nrf52840_dk"),
    "a longer name": resigned(target="nucleo_l4r5zi_2"),
    "the other slot's image": lambda updates, image: updates.versions[2][0].data,
    "a stranger's key": lambda updates, image: updates.sign(image.data[HEADER_BYTES:], 1, 2, key=strangers_key()).data,
    "older than confirmed": lambda updates, image: updates.sign(image.data[HEADER_BYTES:], 1, 0).data,
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_image_is_never_started(what: str, updates: Updates) -> None:
    """Not on trial, not where it is confirmed, and not where nothing else is left."""
    bad, good = BAD[what](updates, updates.versions[2][1]), updates.versions[1][0].data
    assert slot_that_starts(updates, {0: good, 1: bad}, ON_TRIAL) == 0
    assert slot_that_starts(updates, {0: good, 1: bad}, state_record(1, 1, NO_SLOT, 0, 1)) == 0
    assert slot_that_starts(updates, {1: bad}, ON_TRIAL) is None


def test_no_flipped_bit_starts(updates: Updates) -> None:
    image, rng = updates.versions[2][1].data, random.Random(1)
    board = updates.board(flash_with(updates, {}, ON_TRIAL))
    for _ in range(5):
        at = rng.randrange(len(image))
        bad = image[:at] + bytes((image[at] ^ 1 << rng.randrange(5),)) + image[at + 1 :]
        board.flash = flash_with(updates, {1: bad}, ON_TRIAL)
        assert board.power_on(until_image=True) is None


@pytest.mark.parametrize(
    ("name", "records", "slot"),
    [
        ("a new board", b"", 0),
        ("the newest record counts", state_record(4, 1, NO_SLOT, 0, 1) + state_record(3, 0, NO_SLOT, 0, 1), 1),
        ("not one with a wrong check", state_record(4, 0, NO_SLOT, 0, 1) + state_record(5, 1, NO_SLOT, 0, 1)[:31] + bytes(33), 0),
        (
            "not an unsealed one beside a sealed one",
            state_record(4, 0, NO_SLOT, 0, 1) + state_record(5, 1, NO_SLOT, 0, 1)[:32],
            0,
        ),
        ("an unsealed one alone", state_record(5, 1, NO_SLOT, 0, 1)[:32], 1),
        ("a trial without tries left", state_record(1, 0, 1, 0, 1), 0),
        ("no image below the floor", state_record(1, 0, NO_SLOT, 0, 2), 1),
    ],
)
def test_which_image_starts(name: str, records: bytes, slot: int, updates: Updates) -> None:
    assert slot_that_starts(updates, {0: updates.versions[1][0].data, 1: updates.versions[2][1].data}, records) == slot, name


def test_a_damaged_confirmed_image_leaves_the_other_one_of_its_version(updates: Updates) -> None:
    slots = {0: updates.versions[2][0].data[:-1] + b"\0", 1: updates.versions[2][1].data}
    assert slot_that_starts(updates, slots, state_record(1, 0, NO_SLOT, 0, 2)) == 1


# --- trials


def test_a_trial_that_crashes_is_given_up_after_three_starts(updates: Updates) -> None:
    bad = updates.sign(crashing_payload(updates.update, 1), 1, 2).data
    board = updates.board(flash_with(updates, {0: updates.versions[1][0].data, 1: bad}, ON_TRIAL))
    assert board.power_on() == 0
    state = updates.updater(board).state()
    assert (state.slot, state.stable, state.trial, state.tries, state.floor) == (0, 0, 1, 0, 1)
    tries = [operation for operation in board.operations if not operation.data]
    assert len(tries) == 3


def test_a_trial_that_computes_wrong_goes_back(updates: Updates) -> None:
    """The known answer of version 9 is not what the network computes."""
    board = updates.board()
    board.power_on()
    with pytest.raises(RunError, match=r"E512 .*went back to version 1: the image did not pass its self-test"):
        updates.updater(board).update(updates.versions[9])
    assert updates.updater(board).state().version == 1
    assert updates.updater(board).update(updates.versions[2]).version == 2


@pytest.mark.parametrize("driver", ["stm32l4", "nvmc"])
def test_a_trial_that_hangs_is_ended_by_the_watchdog(driver: str) -> None:
    """In its self-test, without --watchdog: three starts, each ended after the target's trial_ms, then the old firmware."""
    updates = updates_for(driver)
    bad, good = hanging_image(updates, 1, 2).data, updates.versions[1][0].data
    board = updates.board(flash_with(updates, {0: good, 1: bad}, ON_TRIAL))
    board.most_instructions = 15_000_000
    assert board.power_on() == 0
    state = updates.updater(board).state()
    assert (state.slot, state.stable, state.tries, state.version) == (0, 0, 0, 1)
    assert board.watchdog.bites == 3
    assert not board.watchdog.running


@pytest.mark.parametrize("driver", ["stm32l4", "nvmc"])
def test_a_trial_is_watched_for_as_long_as_the_target_says(driver: str) -> None:
    """What is confirmed goes on being watched, and feeds the watchdog while it waits and while it answers."""
    updates = updates_for(driver)
    board = updates.board(flash_with(updates, {0: updates.versions[1][0].data, 1: updates.versions[2][1].data}, ON_TRIAL))
    assert board.power_on() == 1
    assert updates.target.watchdog is not None
    assert board.watchdog.ms == pytest.approx(updates.target.watchdog.trial_ms, rel=0.01)
    updater, period = updates.updater(board), board.watchdog.ms * INSTRUCTIONS_PER_MS
    for _ in range(3 * period // (TOLD.size * POLL_INSTRUCTIONS)):
        assert updater.state().confirmed
    assert (board.watchdog.running, board.watchdog.bites) == (True, 0)


def test_an_update_by_another_key_goes_back(updates: Updates) -> None:
    payload = updates.versions[2][1].data[HEADER_BYTES:]
    images = tuple(
        updates.sign(payload, slot, 2, key=strangers_key(), build_id=updates.versions[2][1].build_id) for slot in range(2)
    )
    board = updates.board()
    board.power_on()
    with pytest.raises(RunError, match=r"E512 .*does not take the image's signature"):
        updates.updater(board).update(images)


def test_versions_only_count_up(updates: Updates) -> None:
    board = updates.board()
    board.power_on()
    updater = updates.updater(board)
    assert updater.update(updates.versions[2]).floor == 2
    with pytest.raises(RunError, match=r"E507 .*older than the one that was confirmed"):
        updater.update(updates.versions[1])
    assert updater.update(updates.versions[3]).slot == 0


# --- requests


def asked(updates: Updates, board: FlashBoard, kind: int, payload: bytes) -> str:
    """The reason why a request is refused."""
    with pytest.raises(RunError, match="E507") as caught:
        updates.updater(board)._board.ask(kind, payload)
    return caught.value.message


def test_wrong_requests_are_refused_and_change_nothing(updates: Updates) -> None:
    board = updates.board()
    board.power_on()
    image = updates.versions[2][1]
    assert "wrong length" in asked(updates, board, BEGIN, image.header[:-1])
    assert "another board or another slot" in asked(updates, board, BEGIN, updates.versions[2][0].header)
    assert "another board or another slot" in asked(updates, board, BEGIN, updates.sign(b"x" * 96, 1, 2, target="x").header)
    assert "no update was begun" in asked(updates, board, BLOCK, bytes(4) + image.data[:8])
    assert "no update was begun" in asked(updates, board, FINISH, bytes(8))
    assert "does not know" in asked(updates, board, 0x25, b"")
    assert not board.operations
    updates.updater(board)._board.ask(BEGIN, image.header)
    for offset, size in ((8, 8), (0, 4), (4, 8), (0, 0), (1 << 31, 8)):
        assert "out of order" in asked(updates, board, BLOCK, struct.pack("<I", offset) + bytes(size))
    assert "arrived changed" in asked(updates, board, FINISH, struct.pack("<II", 0, 1))


def test_blocks_may_come_again_but_not_others(updates: Updates) -> None:
    board = updates.board()
    board.power_on()
    image, line = updates.versions[2][1], updates.updater(board)._board
    line.ask(BEGIN, image.header)
    for _ in range(3):
        assert line.ask(BLOCK, bytes(4) + image.data[:64]) == struct.pack("<I", 64)
    count = len(board.operations)
    assert "out of order" in asked(updates, board, BLOCK, bytes(4) + bytes(64))
    assert len(board.operations) == count
    assert not board.flash.broken_rules


def test_an_image_that_was_changed_in_flash_is_sent_anew(updates: Updates) -> None:
    """What FINISH refuses is begun from its first byte."""
    board = updates.board()
    board.power_on()
    updater = updates.updater(board)
    bad = replace(updates.versions[2][1], data=updates.versions[2][1].data[:-1] + b"\0")
    updater.send(bad)
    good = updates.versions[2][1]
    assert updater._offset(updater._board.ask(BEGIN, good.header)) == len(good.data)
    updater.send(good)
    assert updates.updater(board).update(updates.versions[2]).version == 2


def test_an_interrupted_update_goes_on(updates: Updates) -> None:
    board = updates.board()
    board.power_on()
    updater, image = updates.updater(board), updates.versions[2][1]
    updater._board.ask(BEGIN, image.header)
    for offset in range(0, 4096 * 2 + 64, 64):
        updater._board.ask(BLOCK, struct.pack("<I", offset) + image.data[offset : offset + 64])
    board.power_on()
    assert updater.state().offset == 0
    assert updater._offset(updater._board.ask(BEGIN, image.header)) == 8192
    assert updater.update(updates.versions[2]).version == 2


# --- flash drivers


@pytest.mark.parametrize("driver", ["stm32l4", "nvmc"])
def test_an_update_by_the_registers_of_a_flash(driver: str) -> None:
    updates = updates_for(driver)
    board = updates.board()
    board.power_on()
    assert updates.updater(board).update(updates.versions[2]).confirmed
    assert not board.flash.broken_rules
    slot = updates.update.slot(1)
    first = next(operation for operation in board.operations if operation.data and operation.address >= slot)
    assert first == Operation(slot, updates.versions[2][1].data[: updates.update.unit_bytes])


# --- parts


def test_generated_inputs_are_those_of_the_device() -> None:
    """Constants of Numerical Recipes: 1, 1015568748, 1586005467, ..."""
    assert generated_inputs((2, 1)) == (bytes((1_015_568_748 >> 24, 1_586_005_467 >> 24)), bytes((2_165_703_038 >> 24,)))
    graph = example().graph()
    data = np.frombuffer(generated_inputs((64,))[0], np.int8).reshape(graph.inputs[0].type.shape)
    assert run(graph, [data])[0].shape == graph.outputs[0].type.shape


@pytest.fixture(scope="module")
def sha512(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("sha512")
    for name in ("sha512.c", "sha512.h"):
        (folder / name).write_text(own_text(f"boot/{name}"))
    compiler = find_compiler(load_target("host"))
    flags = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-shared", "-fPIC")
    subprocess.run([*compiler.command, *flags, "sha512.c", "-o", "sha512.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "sha512.so"))


def digest_of(sha512: ctypes.CDLL, parts: list[bytes]) -> bytes:
    place, digest = ctypes.create_string_buffer(512), ctypes.create_string_buffer(64)
    sha512.strop_sha512_start(place)
    for part in parts:
        sha512.strop_sha512_add(place, part, len(part))
    sha512.strop_sha512_end(place, digest)
    return digest.raw


@given(st.lists(st.binary(max_size=300), max_size=4))
@settings(max_examples=200)
def test_sha512_is_that_of_fips_180(sha512: ctypes.CDLL, parts: list[bytes]) -> None:
    assert digest_of(sha512, parts) == hashlib.sha512(b"".join(parts)).digest()


def test_sha512_of_every_length_to_three_blocks(sha512: ctypes.CDLL) -> None:
    data = bytes(i * 37 % 251 for i in range(400))
    wrong = [n for n in range(len(data)) if digest_of(sha512, [data[:n]]) != hashlib.sha512(data[:n]).digest()]
    assert not wrong


@given(st.binary(max_size=700), st.integers(0, 60_000), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_an_update_or_an_error(noise: bytes, at: int, change: int) -> None:
    whole = bytearray(pack_update(updates_for("stm32l4").versions[2]))
    whole[at % len(whole)] ^= change
    for data in (noise, bytes(whole), bytes(whole[: at % len(whole)])):
        try:
            assert split_update(data, "x")
        except RunError as fault:
            assert fault.number == 511


def test_an_update_comes_back_from_its_file(updates: Updates) -> None:
    images = split_update(pack_update(updates.versions[2]), "x")
    assert images == updates.versions[2]
    assert all(image.signed_by(updates.key.public) for image in images)
    assert not images[0].signed_by(updates.key.public[:-1] + bytes((updates.key.public[-1] ^ 1,)))


@needs_arm_gcc
@pytest.mark.parametrize(
    ("target", "compiler"), [("mps2_an385", "gcc"), ("mps2_an386", "zig"), ("nucleo_l4r5zi", "gcc"), ("nrf52840_dk", "gcc")]
)
def test_the_boot_loader_takes_16_kib_at_most(target: str, compiler: CompilerChoice, updates: Updates) -> None:
    board = load_target(target)
    elf = build_boot(board, updates.key.public, find_compiler(board, compiler))
    size = sum(size for name, _, size in _sections(elf) if name in (".vectors", ".harness", ".code", ".rodata"))
    print(f"\n{target} by {compiler}: {size:,} B")
    assert 8192 < size <= 16_384


def test_a_state_tells_whether_it_is_confirmed() -> None:
    state = SlotState(1, 1, None, 0, 2, 2, 0, 0, 0, 0, 0, 0)
    assert state.confirmed
    assert not replace(state, stable=0, trial=1).confirmed
