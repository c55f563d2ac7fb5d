"""Test support: what a kernel reads and writes, in order, as it runs in unicorn."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from firmware.build import build_firmware
from firmware.compilers import find_compiler
from runtimes.unicorn_engine import _Machine  # pyright: ignore[reportPrivateUsage]
from targets.model import Target
from tests.support.programs import as_c_program
from toolchain.backends.c.backend import print_c
from toolchain.ir.graph import Graph, Node, Value
from toolchain.lowering.lower import lower
from toolchain.lowering.slices import images_of
from toolchain.lowering.variants import every_choice

TIMEOUT_S = 100.0


@dataclass(frozen=True, slots=True)
class Access:
    """Bytes first to end of a tensor are read or written; value: its name."""

    value: str
    first: int
    end: int
    writes: bool


@dataclass(frozen=True, slots=True)
class Traced:
    """A node run by one variant: its accesses to the images that it reads and to its result."""

    node: Node
    variant: str
    images: tuple[Value, ...]
    accesses: tuple[Access, ...]


def traced(graph: Graph, node: Node, target: Target, folder: Path, wanted: Callable[[str], bool]) -> Iterator[Traced]:
    """The node alone by each of the variants that are wanted."""
    images = images_of(graph, node)
    alone = Graph("alone", images, (node.output,), (node,), graph.constants)
    for variant in (choice.variant for choice in every_choice(alone, node, target)):
        if wanted(variant):
            accesses = _run(alone, target, folder / variant / node.name, {node.name: variant})
            yield Traced(node, variant, images, accesses)


def _apart(graph: Graph) -> Graph:
    """The graph with its inputs among its outputs, so that they keep memory of their own and an address says whose it is.

    They are read once more to be copied, before or after the node, which is no access of the kernel.
    """
    return replace(graph, outputs=(*graph.outputs, *graph.inputs))


def _run(graph: Graph, target: Target, folder: Path, fixed: dict[str, str]) -> tuple[Access, ...]:
    program = lower(_apart(graph), target, objective="speed", fixed=fixed)
    printed = print_c(program, "net")
    for path, text in printed.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    made = as_c_program(program, printed, "net", folder)
    machine = _Machine(made, target, build_firmware(made, target, find_compiler(target)), TIMEOUT_S)
    machine.call("init")
    unicorn: Any = importlib.import_module("unicorn")
    found: list[Access] = []
    for value in (*graph.inputs, *graph.outputs):
        writes = value in graph.outputs
        low = machine._arena + program.plan.offset(value.name)

        def seen(_uc: object, _kind: int, address: int, size: int, *_: object, at: tuple[str, int, bool]) -> None:
            name, start, written = at
            found.append(Access(name, address - start, address - start + size, written))

        def hook(*event: Any, at: tuple[str, int, bool] = (value.name, low, writes)) -> None:
            seen(*event, at=at)

        kind = unicorn.UC_HOOK_MEM_WRITE if writes else unicorn.UC_HOOK_MEM_READ
        machine._uc.hook_add(kind, hook, begin=low, end=low + value.type.bytes - 1)
    for index, value in enumerate(graph.inputs):
        machine.write_input(index, bytes(value.type.bytes))
    found.clear()
    assert machine.call("run") == 0
    last = max(at for at, access in enumerate(found) if access.writes)
    return tuple(found[: last + 1])
