"""Instructions from the timer of a QEMU machine that runs with `-icount shift=0`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from toolchain.errors import EnvironmentFault

SPIN_INSTRUCTIONS = 2 * 400_000 + 1
SHIFT_0_HZ = 1_000_000_000
TICKS_PER_WRAP = 1 << 24


def ticks_between(words: Sequence[int], *, counts_instructions: bool) -> int:
    """Ticks between two moments (high, low, polls each). counts_instructions: the counter has 64 bits, else its low word 24."""
    wrap = 1 << 32 if counts_instructions else TICKS_PER_WRAP
    return (words[3] - words[0]) * wrap + words[4] - words[1]


@dataclass(frozen=True, slots=True)
class Clock:
    """instructions_per_tick: by the machine's clock; instructions_per_poll: of waiting for a tick; overhead: of an empty call."""

    instructions_per_tick: Fraction
    instructions_per_poll: int
    overhead: Fraction

    def between(self, words: Sequence[int]) -> Fraction:
        """Instructions between two moments (high, low, polls each), the overhead not yet subtracted."""
        ticks = ticks_between(words, counts_instructions=not self.instructions_per_poll)
        return ticks * self.instructions_per_tick - words[5] * self.instructions_per_poll


def calibrated(timer_hz: int, empty: Sequence[int], spin: Sequence[int], per_poll: int) -> Clock:
    """The clock of a machine by an empty call and a loop of SPIN_INSTRUCTIONS, moments before and after each.

    timer_hz: of the machine's SysTick, now. Raises EnvironmentFault E405 when the loop is miscounted.
    """
    rate = Fraction(SHIFT_0_HZ, timer_hz) if per_poll else Fraction(1)
    clock = Clock(rate, per_poll, Fraction(0))
    clock = Clock(rate, per_poll, clock.between(empty) - 1)
    found = clock.between(spin) - clock.overhead
    if abs(found - SPIN_INSTRUCTIONS) > rate:
        message = f"a loop of {SPIN_INSTRUCTIONS:,} instructions was timed as {float(found):,.0f} at {timer_hz:,} Hz"
        raise EnvironmentFault(405, "qemu", message, "Check timer_hz and clock_hz of the target, or choose unicorn")
    return clock
