"""What a self-test runs on: inputs that both sides generate, on boards in firmware/device/update.c."""

from __future__ import annotations


def generated_inputs(sizes: tuple[int, ...]) -> tuple[bytes, ...]:
    """The inputs of the self-test, as firmware/device/update.c makes them: the upper bytes of a linear congruence."""
    noise, made = 1, []
    for size in sizes:
        data = bytearray()
        for _ in range(size):
            noise = (noise * 1_664_525 + 1_013_904_223) & 0xFFFF_FFFF
            data.append(noise >> 24)
        made.append(bytes(data))
    return tuple(made)
