"""Opens damaged files one after the other in one process: `python -m tests.support.fuzz_child SEED_FILE FIRST LAST SECONDS`.

Before each number it prints it; after it the code of the error (`fine` without one), CPU seconds and peak MB. A file that takes
more than SECONDS is reported as `slow`, any exception that is no StropError with its name.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from targets.load import load_target
from toolchain.errors import StropError
from toolchain.frontends.load import load_model
from toolchain.passes.canonical import canonicalize
from toolchain.pipeline import CompileOptions, compile_model

TARGET = "mps2_an386"
BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)


class TooSlow(BaseException):
    """The time for one file is over."""


def damaged(data: bytes, number: int) -> bytes:
    """The data with 1 to 8 flipped bits, bytes set to extremes, or 4-byte words set; the same number gives the same bytes."""
    chance = random.Random(number)
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(changed))
        kind = chance.randrange(4)
        if kind <= 1:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            changed[at] = chance.choice(BYTES)
        else:
            at &= ~3
            changed[at : at + 4] = chance.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(data))).to_bytes(4, "little")[
                : len(changed[at : at + 4])
            ]
    return bytes(changed)


def attempt(path: Path) -> str:
    """What became of one file: `fine`, or an error's code."""
    try:
        graph = canonicalize(load_model(path))
        compile_model(graph, load_target(TARGET), CompileOptions("model", ("c",)))
    except StropError as fault:
        return fault.code
    return "fine"


def out_of_time(signal_number: int, frame: FrameType | None) -> None:
    """The alarm's handler."""
    raise TooSlow


def main(seed_file: str, first: str, last: str, seconds: str) -> None:
    """Try every number from first to before last."""
    # The simplifier runs in a process of its own, which would take most of the time.
    sys.modules["onnxsim"] = None  # type: ignore[assignment]
    data = Path(seed_file).read_bytes()
    signal.signal(signal.SIGPROF, out_of_time)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(seed_file).name
        for number in range(int(first), int(last)):
            path.write_bytes(damaged(data, number))
            print(number, flush=True)
            start = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, float(seconds))
            try:
                said = attempt(path)
            except TooSlow:
                said = "slow"
            except Exception as fault:
                said = f"{type(fault).__name__}:{str(fault)[:200]}".replace(" ", "_").replace("\n", "_")
            signal.setitimer(signal.ITIMER_PROF, 0)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{said} {time.process_time() - start:.2f} {peak:.0f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
