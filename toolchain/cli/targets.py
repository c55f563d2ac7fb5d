"""List the targets that programs are compiled for, or show one with its memories.

examples:
  strop targets
  strop targets rp2040_pico
  strop targets ./my_board.toml
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from targets.load import load_target, target_names
from targets.model import Target
from toolchain.cli.answer import Answer, pairs, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a target's name or a .toml file; without it all are listed")


def run(arguments: argparse.Namespace) -> Answer:
    """The list of targets or the description of one."""
    return show(load_target(arguments.name)) if arguments.name else list_all()


def list_all() -> Answer:
    """Every target: name, core, clock, RAM and flash of the default memories, what runs it."""
    known = [load_target(name) for name in target_names()]
    rows = [(t.name, t.core.name, t.clock_hz and t.clock_hz // 1_000_000, t.ram.bytes, t.flash.bytes, _runner(t)) for t in known]
    text = table(("target", "core", "MHz", "RAM B", "flash B", "runs in"), rows)
    return Answer({"targets": [_document(target) for target in known]}, text)


def show(target: Target) -> Answer:
    """One target in full."""
    memories = [(m.name, m.role, f"0x{m.base:08x}", m.bytes, m.wait_states) for m in target.memories]
    facts = pairs(
        (
            ("target", target.name),
            ("description", target.description),
            ("core", f"{target.core.name} ({', '.join(sorted(target.core.features))})"),
            ("clock", f"{target.clock_hz / 1e6:g} MHz" if target.clock_hz else None),
            ("formats", ", ".join(target.formats)),
            ("runs in", _runner(target)),
            ("flash tool", target.flash_tool.method),
            ("source", target.source),
        )
    )
    return Answer(_document(target), f"{facts}\n\n{table(('memory', 'role', 'base', 'bytes', 'wait states'), memories)}")


def _runner(target: Target) -> str:
    if target.core.architecture == "host":
        return "this machine"
    if target.core.linux is not None:
        return f"QEMU's user mode, {target.core.linux.cpu}"
    emulators = ("unicorn" if target.core.unicorn_cpu else "", f"QEMU {target.qemu.machine}" if target.qemu else "")
    return ", ".join(filter(None, emulators)) or "QEMU, on a machine with the same instructions"


def _document(target: Target) -> dict[str, object]:
    document = asdict(target)
    document["core"]["features"] = sorted(target.core.features)
    return document
