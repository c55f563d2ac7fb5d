"""Power goes at every write of an update: the board always starts a whole, signed image. Boot loader and firmware are real."""

from __future__ import annotations

import random

import pytest

from tests.support.flash_board import Flash, FlashBoard, Operation, PowerLost
from tests.support.updates import Updates, updates_for

pytestmark = [pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def updates() -> Updates:
    return updates_for("stm32l4")


def written(updates: Updates) -> tuple[list[Operation], list[tuple[int, int]]]:
    """Every change of flash from version 1 to a confirmed version 2, then 3. For each of the two: changes before the one that
    puts it on trial, and before the one that confirms it."""
    board, turns = updates.board(), []
    board.power_on()
    updater = updates.updater(board)
    for version, slot in ((2, 1), (3, 0)):
        updater.send(updates.versions[version][slot])
        on_trial = len(board.operations)
        updater.restart()
        state = updater.started()
        assert (state.slot, state.confirmed, state.floor) == (slot, True, version)
        turns.append((on_trial - 1, len(board.operations) - 1))
    assert not board.flash.broken_rules
    return board.operations, turns


def allowed(number: int, turns: list[tuple[int, int]]) -> set[int]:
    """Versions that may start when power went at a change: both while a seal is written, and from trial to confirmation."""
    versions = {1}
    for version, (on_trial, confirmed) in enumerate(turns, 2):
        if number >= on_trial:
            versions.add(version)
        if number > confirmed:
            versions = {version}
    return versions


def image_that_starts(updates: Updates, board: FlashBoard) -> int:
    """The version that the boot loader starts, all of whose bytes are there."""
    slot = board.power_on(until_image=True)
    assert slot is not None, "no image starts"
    start = updates.update.slot(slot) - updates.update.base
    for version, images in updates.versions.items():
        data = images[slot].data
        if board.flash.contents[start : start + len(data)] == data:
            return version
    raise AssertionError(f"what starts in slot {slot} is no image that was signed")


def test_power_goes_at_every_write_of_two_updates(updates: Updates) -> None:
    """More than 5,000 points, each with what power leaves of a unit or a page; two starts after each."""
    operations, turns = written(updates)
    assert len(operations) > 5000
    before, started = updates.factory(), {1: 0, 2: 0, 3: 0}
    board = updates.board()
    for number, operation in enumerate(operations):
        board.flash, board.rng = before.copy(), random.Random(number)
        board.flash.cut(operation, board.rng)
        for _ in range(2):
            version = image_that_starts(updates, board)
            started[version] += 1
            assert version in allowed(number, turns), f"version {version} starts after a cut at write {number} of {turns}"
        assert not board.flash.broken_rules
        before.do(operation)
    print(f"\n{len(operations):,} points; " + ", ".join(f"version {each} started {n:,} times" for each, n in started.items()))
    assert min(started.values()) >= 4


def update_through_cuts(updates: Updates, driver_seed: int, cuts: int, known: dict[bytes, int]) -> FlashBoard:
    """Versions 2 and 3 one after the other over a board whose power goes again and again at a random write."""
    rng = random.Random(driver_seed)
    board = updates.board(seed=driver_seed)
    board.known = known
    for version in (2, 3):
        left = cuts
        while True:
            board.operations.clear()
            # Early, where states change, or anywhere.
            board.cut_at = rng.choice((rng.randrange(12), rng.randrange(3000))) if left else None
            left -= left > 0
            try:
                if board.power_on() is None:
                    raise AssertionError("no image starts")
                updater = updates.updater(board)
                if updater.state().version != version:
                    updater.update(updates.versions[version])
                board.cut_at = None
                assert updater.state().version == version
                break
            except PowerLost:
                image_that_starts(updates, board)
        assert not board.flash.broken_rules
    return board


@pytest.mark.parametrize("driver", ["stm32l4", "nvmc"])
def test_updates_go_on_after_cuts(driver: str) -> None:
    """Whatever is cut how often, the update comes through at last, and no unit is programmed without an erasure."""
    updates = updates_for(driver)
    board = update_through_cuts(updates, 1, 6, {})
    assert image_that_starts(updates, board) == 3


@pytest.mark.long
@pytest.mark.parametrize("driver", ["stm32l4", "nvmc"])
def test_updates_go_on_after_many_cuts(driver: str) -> None:
    updates = updates_for(driver)
    known: dict[bytes, int] = {}
    for seed in range(100, 140):
        assert image_that_starts(updates, update_through_cuts(updates, seed, 12, known)) == 3


@pytest.mark.long
def test_power_goes_while_the_signature_is_really_checked(updates: Updates) -> None:
    """As the first test, with every signature computed, at every 11th write and at all those of the state."""
    operations, _ = written(updates)
    slots = updates.update.slot(0)
    before, points = updates.factory(), 0
    for number, operation in enumerate(operations):
        if operation.address < slots or number % 11 == 0:
            flash: Flash = before.copy()
            rng = random.Random(number)
            flash.cut(operation, rng)
            image_that_starts(updates, updates.board(flash, number))
            points += 1
        before.do(operation)
    print(f"\n{points} points")
