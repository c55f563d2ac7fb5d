"""Mixes of kernels between the fastest and the smallest: for every layer another one, so that flash and work trade finely.

Layer by layer, all pairs of bytes and work that no other beats are kept. What several layers share of a kernel's code is not
a sum over layers: it is counted at the end, when each mix also gives up kinds of kernels that do not pay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from targets.costs import CostTable
from toolchain.lowering.program import Choice
from toolchain.lowering.shrink import Work, flash_bytes, with_fewer_kinds
from toolchain.lowering.variants import with_runner_up

MOST_STATES = 256
MOST_MIXES = 16
FEWER_KINDS_WORK = 1.02


class _Taking(Protocol):
    """What takes bytes of flash, and work."""

    @property
    def bytes(self) -> float: ...
    @property
    def work(self) -> int: ...


_T = TypeVar("_T", bound=_Taking)


@dataclass(frozen=True, slots=True)
class Mix:
    """One choice per layer. bytes: constants and known code of kernels. work: cycles, instructions where some are not known."""

    choices: tuple[Choice, ...]
    bytes: float
    work: int


@dataclass(frozen=True, slots=True)
class _State:
    """Choices for the first layers: the last one and the state before it."""

    bytes: float
    work: int
    choice: Choice | None = None
    before: _State | None = None

    def choices(self) -> list[Choice]:
        found: list[Choice] = []
        state: _State | None = self
        while state is not None and state.choice is not None:
            found.append(state.choice)
            state = state.before
        return found[::-1]


def mixes(options: Sequence[Sequence[Choice]], table: CostTable) -> list[Mix]:
    """Mixes that no other beats in bytes and work, the fastest first. options: the choices open for every layer."""
    known = all(choice.cycles is not None for choices in options for choice in choices)

    def work(choice: Choice) -> int:
        return (choice.cycles or 0) if known else choice.instructions

    def sums(open_choices: Sequence[Sequence[Choice]]) -> list[_State]:
        return _sums([_unbeaten(_first_state(choice, work, table) for choice in choices) for choices in open_choices])

    # What kernels share of their code pays off where none of a kind is left, so each kind is also left out by itself.
    kinds = sorted({choice.variant for choices in options for choice in choices})
    fewer = ([[choice for choice in choices if choice.variant != kind] or choices for choices in options] for kind in kinds)
    found: list[Mix] = []
    for open_choices in (options, *fewer):
        for state in sums(open_choices):
            fast = state.choices()
            for chosen in (fast, with_fewer_kinds(fast, open_choices, table, work, FEWER_KINDS_WORK * state.work)):
                found.append(Mix(tuple(chosen), flash_bytes(chosen, table), sum(map(work, chosen))))
    return [_told(mix, options) for mix in _unbeaten(found)]


def _first_state(choice: Choice, work: Work, table: CostTable) -> _State:
    return _State(choice.constant_bytes + _shape_bytes(choice, table), work(choice), choice)


def _sums(layers: Sequence[Sequence[_State]]) -> list[_State]:
    """Sums over all layers that no other beats, of one state of each."""
    states = [_State(0.0, 0)]
    for own in layers:
        pairs = (_State(s.bytes + o.bytes, s.work + o.work, o.choice, s) for s in states for o in own)
        states = _thinned(_unbeaten(pairs), MOST_STATES)
    return _thinned(states, MOST_MIXES)


def _told(mix: Mix, options: Sequence[Sequence[Choice]]) -> Mix:
    """The mix with what came second for every layer."""
    return replace(mix, choices=tuple(map(with_runner_up, mix.choices, options)))


def _shape_bytes(choice: Choice, table: CostTable) -> float:
    code = table.code.get(choice.variant)
    return 0.0 if code is None else code.shape_bytes


def _unbeaten(states: Iterable[_T]) -> list[_T]:
    """The least work first, each next one with fewer bytes."""
    kept: list[_T] = []
    for state in sorted(states, key=lambda each: (each.work, each.bytes)):
        if not kept or state.bytes < kept[-1].bytes:
            kept.append(state)
    return kept


def _thinned(states: list[_State], most: int) -> list[_State]:
    """At most so many, both ends among them, evenly."""
    if len(states) <= most:
        return states
    return [states[index * (len(states) - 1) // (most - 1)] for index in range(most)]
