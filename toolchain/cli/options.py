"""Options that several commands take, and how their texts are read."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

from toolchain.backends.tensorrt.standalone import Batch
from toolchain.errors import UsageError

# A bare K or M is binary, as in linker scripts and data sheets.
_BYTES = {"": 1, "b": 1, "k": 2**10, "kb": 10**3, "kib": 2**10, "m": 2**20, "mb": 10**6, "mib": 2**20}
_MILLISECONDS = {"": 1.0, "ms": 1.0, "us": 1e-3, "µs": 1e-3, "s": 1e3}
_MAX_BYTES, _MAX_MILLISECONDS = 2**63, 1e12
_AMOUNT = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([a-zA-Zµ]*)")


def byte_count(text: str) -> int:
    """`8192`, `320KiB` or `1.5MB` in bytes, for argparse. K and KiB are 1024, KB is 1000."""
    return int(_amount(text, _BYTES, _MAX_BYTES, "bytes such as 8192, 320KiB or 1.5MB"))


def milliseconds(text: str) -> float:
    """`20`, `1.5ms`, `300us` or `2s` in milliseconds, for argparse."""
    return _amount(text, _MILLISECONDS, _MAX_MILLISECONDS, "milliseconds such as 20, 1.5ms or 300us")


def _amount(text: str, units: Mapping[str, float], most: float, kind: str) -> float:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or match[2].lower() not in units:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no amount of {kind}")
    amount = float(match[1].replace(",", "").replace("_", "")) * units[match[2].lower()]
    if not 0 < amount <= most:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} must be more than 0 and at most {most:,.0f}")
    return amount


def input_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`["x=1,49,10,1"]` as `{"x": (1, 49, 10, 1)}`. Raises UsageError(901)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, sizes = text.rpartition("=")
        if not name or not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", sizes):
            raise UsageError(901, "--input-shape", f"{text!r} is no shape", "Write NAME=1,49,10,1")
        shapes[name] = tuple(int(size) for size in sizes.split(","))
    return shapes


def memories(texts: list[str] | None) -> dict[str, int | None]:
    """`["dtcm=64k", "sram"]` as `{"dtcm": 65536, "sram": None}`. Raises UsageError(901)."""
    found: dict[str, int | None] = {}
    for text in texts or ():
        name, given, amount = text.partition("=")
        try:
            found[name] = byte_count(amount) if given else None
        except argparse.ArgumentTypeError as fault:
            raise UsageError(901, "--memory", str(fault), "Write NAME or NAME=64KiB") from fault
    return found


def sample_counts(text: str | None) -> Batch | None:
    """`1:8:32` as fewest, usual and most samples of a run, `8` as just so many. Raises UsageError(901)."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}(:[0-9]{1,5}:[0-9]{1,5})?", text):
        raise UsageError(901, "--batch", f"{text[:40]!r} is no number of samples", "Write MIN:OPT:MAX such as 1:8:32, or N")
    numbers = [int(part) for part in text.split(":")]
    least, best, most = numbers if len(numbers) == 3 else numbers * 3
    if not 1 <= least <= best <= most:
        raise UsageError(901, "--batch", f"{text} does not rise from 1 up", "Write MIN:OPT:MAX such as 1:8:32")
    return Batch(least, best, most)


def add_input_shape(parser: argparse.ArgumentParser) -> None:
    """`--input-shape`, any number of times."""
    note = "shape of an input whose dimensions the model leaves open; may be repeated"
    parser.add_argument("--input-shape", action="append", metavar="NAME=1,49,10,1", help=note)


def add_calibration(parser: argparse.ArgumentParser) -> None:
    """`--ranges` and `--rounding`: how a float model is quantized."""
    note = "how ranges are chosen: auto (default: value by value, by measured loss), or for all values minmax, average:0.9, "
    parser.add_argument("--ranges", metavar="M", default="auto", help=f"{note}percentile:99.99, entropy, mse, shrink:0.8")
    note = "how weights are rounded: for the least output error of their layer on the samples (optimal, default), or to nearest"
    parser.add_argument("--rounding", choices=("optimal", "nearest"), default="optimal", help=note)


def add_place(parser: argparse.ArgumentParser, engines: bool = False) -> None:
    """`--on` and `--compiler`: where a bundle runs and what builds it. engines: also those that run other formats."""
    note = "host, emulator (unicorn or QEMU, whichever fits), unicorn, qemu, board:PORT, gpu; by default the target's own"
    note += "; for web formats browser, on TF.js browser:cpu, :wasm, :webgl, :webgpu, on LiteRT.js browser:litertjs"
    note += "; for other formats litert, litert_reference, tflm, onnxruntime" if engines else ""
    parser.add_argument("--on", metavar="PLACE", help=note)
    note = "C compiler: the core's GCC where there is one, else zig (auto), or one of them"
    parser.add_argument("--compiler", choices=("auto", "gcc", "zig"), default="auto", help=note)
