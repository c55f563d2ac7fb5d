"""How large an arena TFLM needs: measured with its interpreter on the host, bounded for 32-bit targets."""

from __future__ import annotations

import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.backends.tflite.packer import pack
from toolchain.backends.tflite.planned import Planned
from toolchain.backends.tflite.planner import ALIGNMENT, align, lifetimes, scratch
from toolchain.errors import EnvironmentFault, TargetError
from toolchain.extras import quiet_stderr
from toolchain.ir.graph import Graph

BYTES_PER_NODE = 8192
BYTES_FIXED = 1 << 16
PROBE_SECONDS = 300.0
# Below this TFLM's own allocator does not fit its arena, and the interpreter crashes.
LEAST_BYTES = 512
# What the package raises: its own refusals, and those of its Python reader of the file.
REFUSALS = (RuntimeError, ValueError, IndexError, TypeError, AttributeError, struct.error)
# Bytes that one tensor record and one node record are smaller with 32-bit pointers (24 to 12, 64 to 32).
TENSOR_SAVING, NODE_SAVING = 12, 32
# What CMSIS-NN's kernels keep for a node beyond the reference kernels' own data, and a handle of its scratch buffer.
SCRATCH_NODE_BYTES = 48


@dataclass(frozen=True, slots=True)
class ArenaBytes:
    """host: the smallest that works in the host's interpreter. The others are enough on 32-bit targets.

    reference: the host's figure less what smaller pointers save in the two largest record arrays; every other record is
    no larger with 32-bit pointers and the plan of the tensors is the same. cmsis_nn, cmsis_nn_mve: that, with the greedy
    plan redone with the scratch buffers of CMSIS-NN's kernels (without and with vectors), 48 B for each node that has one.
    """

    host: int
    reference: int
    cmsis_nn: int
    cmsis_nn_mve: int


def runtime_module() -> Any:
    """The tflite-micro package's runtime. Raises EnvironmentFault(404)."""
    try:
        from tflite_micro import runtime  # type: ignore[import-untyped, unused-ignore]
    except ImportError as fault:
        hint = "Install it: pip install --pre tflite-micro"
        raise EnvironmentFault(404, "tflite-micro", "the package that runs TFLM on the host is missing", hint) from fault
    return runtime


def open_interpreter(model: bytes, arena_bytes: int, log: list[str]) -> Any | None:
    """An interpreter with its tensors allocated, or None when TFLM refuses; its messages go to `log`."""
    runtime = runtime_module()
    if arena_bytes < LEAST_BYTES:
        log.append(f"the arena is smaller than the {LEAST_BYTES} B of the allocator itself\n")
        return None
    with quiet_stderr(log), suppress(*REFUSALS):
        return runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
    return None


def smallest_arena(model: bytes, limit_bytes: int, place: str) -> int:
    """The smallest arena, in steps of 16 B, that the host's interpreter takes; found in processes of its own.

    Raises TargetError(305) when the limit is not enough, EnvironmentFault(404, 405).
    """
    runtime_module()
    low, high, works = 0, align(limit_bytes), False
    while not works or high - low > ALIGNMENT:
        lines, log = _probe(model, low, high)
        said = [(line.split()[0], int(line.split()[1])) for line in lines]
        works = works or ("yes", high) in said
        high = min([size for answer, size in said if answer == "yes"], default=high)
        died = [size for answer, size in said[-1:] if answer == "try"]
        low = max([low, *died, *(size for answer, size in said if answer == "no")])
        if not works:
            what = f"TFLM does not take the model with an arena of {align(limit_bytes):,} B ({_first_line(log)})"
            raise TargetError(305, place, what, "Choose another format, or change this layer")
    return high


def _probe(model: bytes, low: int, high: int) -> tuple[list[str], str]:
    """What one process found out, and what TFLM said."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("probe.py")), str(low), str(high)]
    try:
        done = subprocess.run(command, input=model, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as fault:
        what = f"the process that measures the arena failed ({fault})"
        raise EnvironmentFault(405, "tflite-micro", what, "Run it again on a less busy machine") from fault
    return done.stdout.decode(errors="replace").splitlines(), done.stderr.decode(errors="replace")


def _first_line(log: str) -> str:
    return next((line.strip()[:300] for line in log.splitlines() if line.strip()), "no message")


def measure_arena(file: Planned, graph: Graph) -> ArenaBytes:
    """Arena figures of a file. Raises TargetError(305), EnvironmentFault(404)."""
    model = file.model
    activations = sum(buffer.bytes for buffer in lifetimes(model).values())
    limit = 2 * activations + BYTES_PER_NODE * len(model.operators) + BYTES_FIXED
    host = smallest_arena(pack(model), limit, graph.name)
    saved = TENSOR_SAVING * len(model.tensors) + NODE_SAVING * len(model.operators)
    reference = min(align(max(host - saved, 0)) + 2 * ALIGNMENT, host)
    libraries = ((False, file.bytes.cmsis_nn), (True, file.bytes.cmsis_nn_mve))
    grown = (max(taken - file.bytes.reference, 0) + SCRATCH_NODE_BYTES * len(scratch(model, mve)) for mve, taken in libraries)
    return ArenaBytes(host, reference, *(align(reference + more) for more in grown))
