"""List the targets that models are compiled for, or show one with its memories.

examples:
  strop targets
  strop targets rp2040_pico
  strop targets rtx_4090
  strop targets ./my_board.toml
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from targets.gpus import Gpu
from targets.load import load_target, target_names
from targets.model import Target
from toolchain.cli.answer import Answer, pairs, table

HELD: dict[str, tuple[str, str]] = {
    "c": ("the reference evaluator, by emulators or here", "every byte of integers; floats within 1e-5 of the largest"),
    "library": ("the same, here or in QEMU's user mode", "the same"),
    "tflm": ("TensorFlow Lite Micro's interpreter", "every byte of integers"),
    "tflite": ("LiteRT", "reference kernels: within one step; XNNPACK rounds otherwise, KWS 97 % within one step"),
    "onnx": ("ONNX Runtime", "every layer within one step for 99.9 % of integers; floats within 1e-5"),
    "tensorrt": ("the engine's own list of layers", "int8 where asked; results on a GPU only where there is one"),
    "tfjs": ("TF.js in Chromium", "floats within 1e-5, by WebGL 1e-4; integers become floats on the same weights"),
    "litertjs": ("LiteRT.js in Chromium", "LiteRT's very bytes"),
    "savedmodel": ("TensorFlow", "floats within 1e-5; integers become floats on the same weights"),
}
"""What the tests run each format in, and how near it is to the reference."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a target's name or a .toml file; without it all are listed")


def run(arguments: argparse.Namespace) -> Answer:
    """The list of targets or the description of one."""
    return show(load_target(arguments.name)) if arguments.name else list_all()


def list_all() -> Answer:
    """Every target: processor, clock, memories, formats and what runs it; and what each format is held to."""
    known = [load_target(name) for name in target_names()]
    text = table(("target", "core", "MHz", "RAM B", "flash B", "takes", "tested in"), [_row(target) for target in known])
    held = table(("format", "tested in", "how near"), [(name, *facts) for name, facts in HELD.items()])
    document = {name: {"tested_in": place, "how_near": near} for name, (place, near) in HELD.items()}
    return Answer({"targets": [_document(target) for target in known], "formats": document}, f"{text}\n\n{held}")


def _row(target: Target) -> tuple[object, ...]:
    clock = target.clock_hz and target.clock_hz // 1_000_000
    sizes = (target.ram.bytes, target.flash.bytes) if target.takes_c else (target.gpu and target.gpu.memory_bytes, None)
    return (target.name, _processor(target), clock, *sizes, " ".join(target.formats), _runner(target))


def _processor(target: Target) -> str | None:
    if target.gpu is not None:
        return f"SM {target.gpu.sm}"
    return target.core.name if target.takes_c else None


def show(target: Target) -> Answer:
    """One target in full."""
    memories = [(m.name, m.role, f"0x{m.base:08x}", m.bytes, m.wait_states) for m in target.memories]
    facts = pairs(
        (
            ("target", target.name),
            ("description", target.description),
            ("core", f"{target.core.name} ({', '.join(sorted(target.core.features))})" if target.takes_c else None),
            ("GPU", _gpu(target.gpu) if target.gpu else None),
            ("clock", f"{target.clock_hz / 1e6:g} MHz" if target.clock_hz else None),
            ("formats", ", ".join(target.formats)),
            ("runs in", _runner(target)),
            ("flash tool", target.flash_tool.method if target.takes_c else None),
            ("source", target.source),
        )
    )
    text = f"{facts}\n\n{table(('memory', 'role', 'base', 'bytes', 'wait states'), memories)}" if memories else facts
    return Answer(_document(target), text)


def _gpu(gpu: Gpu) -> str:
    where = "when it is compiled" if gpu.engine == "here" else "on the machine that has it"
    return f"SM {gpu.sm}, {gpu.memory_bytes:,} B, its engine is built {where}"


def _runner(target: Target) -> str | None:
    if target.gpu is not None:
        return "TensorRT"
    if not target.takes_c:
        return "Chromium"
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
