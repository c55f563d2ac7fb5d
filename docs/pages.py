"""Writes the pages of docs/ that are tables of the code and of kept counts: errors, commands, targets, operations, speed.

    python docs/pages.py

A test holds the pages to what this gives.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from docs.speed_page import speed  # noqa: E402
from targets.load import load_target, target_names  # noqa: E402
from targets.model import Target  # noqa: E402
from toolchain.cli.main import COMMANDS  # noqa: E402
from toolchain.errors import CODES  # noqa: E402
from toolchain.ir.optable import OPS  # noqa: E402

MANY_INPUTS = 16
FAMILIES = {
    1: "the model file or the graph in it",
    2: "calibration or test data",
    3: "the target, or what the model needs of it",
    4: "what this machine lacks, or an outside tool that failed",
    5: "running a bundle",
    6: "a result that is not the expected one",
    9: "the command line, or a defect of Strop",
}


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def errors() -> str:
    """docs/errors.md."""
    head = """# Errors

Every fault that a user can meet is printed as `E<number> <place>: <what, with the numbers>. <what to do>.` on standard
error, or under `--json` as the object `{"error": {"code", "place", "message", "hint"}}` on standard output. The exit status is
10 plus the first digit of the number. An interrupted command ends with 130. Nothing is half written when a command fails.
"""
    parts = [head]
    for family, what in FAMILIES.items():
        rows = [(f"E{code.number}", code.title) for code in CODES.values() if code.number // 100 == family]
        parts.append(f"## E{family}xx: {what} (exit status {10 + family})\n\n{table(('code', 'fault'), rows)}\n")
    return "\n".join(parts)


def commands() -> str:
    """docs/commands.md."""
    head = """# Commands

Every command takes `--json` (one object on standard output, for errors too) and `--log-level`; progress and logs go to standard
error. DATA is `.npy` (the first input, samples on axis 0), `.npz` (by input name or `x`; labels `y`), `.csv`, a folder of
images, or `module:function`; `FILE[a:b]` takes a part. Floats are real units, integers of the input's type are stored values.
"""
    parts = [head]
    for name, command in COMMANDS.items():
        module = importlib.import_module(command.module)
        text, _, examples = (module.__doc__ or "").partition("examples:\n")
        parser = argparse.ArgumentParser(prog=f"strop {name}", add_help=False)
        module.add_arguments(parser)
        rows = [(_spelling(action), (action.help or "").replace("%%", "%")) for action in parser._actions]
        options = f"{table(('argument', 'meaning'), rows)}\n\n" if rows else ""
        shown = "\n".join(line.strip() for line in examples.strip().splitlines())
        parts.append(f"## strop {name}\n\n{text.strip()}\n\n{options}```\n{shown}\n```\n")
    return "\n".join(parts)


def _spelling(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    values = f"{{{','.join(action.choices)}}}" if action.choices else action.metavar or ""
    return f"`{' '.join(filter(None, (names, '' if action.nargs == 0 else str(values))))}`"


def targets() -> str:
    """docs/targets.md."""
    head = """# Targets

A target is a file in `targets/boards/`; the core it names is a file in `targets/cores/`. A board of your own is one more such
file: `strop compile MODEL --target ./my_board.toml`. Sizes are those of the memories that programs use by default. A target whose
formats are no C programs has neither core nor memories; a GPU has a table `[gpu]` instead ([GPUs](gpu.md)).
"""
    known = [load_target(name) for name in target_names()]
    rows = [(f"`{t.name}`", t.description, *_memory_sizes(t), ", ".join(t.formats), t.source) for t in known]
    return f"{head}\n{table(('target', 'what it is', 'RAM B', 'flash B', 'formats', 'source'), rows)}\n"


def _memory_sizes(target: Target) -> tuple[str, str]:
    """RAM and flash as they are shown; a GPU has but one memory."""
    if target.takes_c:
        return f"{target.ram.bytes:,}", f"{target.flash.bytes:,}"
    return f"{target.gpu.memory_bytes:,}" if target.gpu else "-", "-"


def operations() -> str:
    """docs/operations.md."""
    head = """# Operations

The op table (`toolchain/ir/optable.py`): what every front end imports to and every backend starts from. Images are NHWC.
`integer` tells whether there is a meaning on quantized tensors, by TFLite's integer specification; the others stay in float.
"""
    rows = [
        (
            f"`{op.name}`",
            _span(*op.inputs),
            ", ".join(field.name for field in fields(op.attrs)) or "none",
            "yes" if op.integer else "no",
        )
        for op in sorted(OPS.values(), key=lambda op: op.name)
    ]
    return f"{head}\n{table(('operation', 'inputs', 'attributes', 'integer'), rows)}\n"


def _span(least: int, most: int) -> str:
    if most > MANY_INPUTS:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors,
    "commands.md": commands,
    "targets.md": targets,
    "operations.md": operations,
    "speed.md": lambda: speed(table),
}


if __name__ == "__main__":
    for page, render in PAGES.items():
        (HERE / page).write_text(render(), encoding="utf-8")
