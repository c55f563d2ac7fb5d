"""Run as a process of its own: finds the smallest arena by bisection. `python probe.py LOW HIGH`, the model on standard input.

Kernels of TFLM may follow a null pointer when an arena is too small, so each try is announced before it is made: `try N`,
then `yes N` or `no N`. A process that dies after `try N` has said no.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Try HIGH, then halve the range between LOW (fails) and HIGH (works) in steps of 16 bytes."""
    from tflite_micro import runtime  # type: ignore[import-untyped, unused-ignore]

    low, high = int(sys.argv[1]), int(sys.argv[2])
    model = sys.stdin.buffer.read()

    def works(size: int) -> bool:
        print(f"try {size}", flush=True)
        try:
            runtime.Interpreter.from_bytes(model, arena_size=size)
        except (RuntimeError, ValueError):
            print(f"no {size}", flush=True)
            return False
        print(f"yes {size}", flush=True)
        return True

    if not works(high):
        return
    while high - low > 16:
        middle = (low + high) // 32 * 16
        if works(middle):
            high = middle
        else:
            low = middle


if __name__ == "__main__":
    main()
