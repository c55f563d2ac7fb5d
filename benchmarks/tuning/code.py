"""Measures the code of kernels: programs of one variant with few and with many shapes, compiled and not run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tuning.measure import Entry, bench_machine, lower_entries, write_program
from firmware.build import build_firmware
from firmware.compilers import CompilerChoice, find_compiler
from targets.costs import CodeCost
from targets.model import Target
from toolchain.lowering.program import CALL_CODE_BYTES, ENTRY_CODE_BYTES

FEW, MANY = 3, 9


def measure_code(work: Sequence[Entry], target: Target, compiler: CompilerChoice) -> dict[str, CodeCost]:
    """Code of every variant of which the entries have enough shapes. Raises EnvironmentFault (E4xx)."""
    by_variant: dict[str, list[Entry]] = {}
    for entry in work:
        by_variant.setdefault(entry.variant.name, []).append(entry)
    machine = bench_machine(target)
    found: dict[str, CodeCost] = {}
    for name, entries in sorted(by_variant.items()):
        if len(entries) >= MANY:
            few, many = (_code_bytes(entries[:count], machine, compiler) for count in (FEW, MANY))
            shape = max((many - few) / (MANY - FEW), 0.0)
            found[name] = CodeCost(max(few - FEW * shape, 0.0), shape)
    return found


def _code_bytes(entries: Sequence[Entry], machine: Target, compiler: CompilerChoice) -> float:
    """Code of a program of the entries without what every program and every call has."""
    program, graph = lower_entries(entries, machine)
    with tempfile.TemporaryDirectory(prefix="strop-tune-") as folder:
        written = write_program(program, graph, Path(folder))
        size = build_firmware(written, machine, find_compiler(machine, compiler)).size.code_bytes
    return size - ENTRY_CODE_BYTES - CALL_CODE_BYTES * len(program.calls)
