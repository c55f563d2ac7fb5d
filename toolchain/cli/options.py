"""Options that several commands take, and how their texts are read."""

from __future__ import annotations

import argparse
import re

from toolchain.errors import UsageError

_UNITS = {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "kib": 2**10, "m": 10**6, "mb": 10**6, "mib": 2**20}
_MAX_BYTES = 2**63
_AMOUNT = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([a-zA-Z]*)")


def byte_count(text: str) -> int:
    """`8192`, `320KiB` or `1.5MB` in bytes, for argparse. KB is 1000 bytes, KiB is 1024."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of bytes such as 8192, 320KiB or 1.5MB")
    amount = float(match[1].replace(",", "").replace("_", "")) * _UNITS[match[2].lower()]
    if amount > _MAX_BYTES:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is more than any memory has")
    return int(amount)


def input_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`["x=1,49,10,1"]` as `{"x": (1, 49, 10, 1)}`. Raises UsageError(901)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, sizes = text.rpartition("=")
        if not name or not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", sizes):
            raise UsageError(901, "--input-shape", f"{text!r} is no shape", "Write NAME=1,49,10,1")
        shapes[name] = tuple(int(size) for size in sizes.split(","))
    return shapes


def add_input_shape(parser: argparse.ArgumentParser) -> None:
    """`--input-shape`, any number of times."""
    note = "shape of an input whose dimensions the model leaves open; may be repeated"
    parser.add_argument("--input-shape", action="append", metavar="NAME=1,49,10,1", help=note)


def add_place(parser: argparse.ArgumentParser, engines: bool = False) -> None:
    """`--on` and `--compiler`: where a bundle runs and what builds it. engines: also those that run other formats."""
    note = "host, emulator (unicorn or QEMU, whichever fits), unicorn, qemu; by default the target's own"
    note += "; for other formats litert, litert_reference, tflm, onnxruntime" if engines else ""
    parser.add_argument("--on", metavar="PLACE", help=note)
    note = "C compiler: the core's GCC where there is one, else zig (auto), or one of them"
    parser.add_argument("--compiler", choices=("auto", "gcc", "zig"), default="auto", help=note)
