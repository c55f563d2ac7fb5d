"""Show what a model is: inputs, operations, MACs, parameters, and which targets it fits as it is.

MODEL is a .onnx, .tflite, .keras, .h5, .pb or .pt2 file, a SavedModel folder, or a bundle.

examples:
  strop inspect kws.tflite
  strop inspect kws.tflite --layers --target rp2040_pico
  strop inspect kws.tflite --text > kws.strop
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer, pairs, table
from toolchain.cli.options import add_input_shape, input_shapes

if TYPE_CHECKING:
    from toolchain.api import InspectResult

NAME_WIDTH = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("model", metavar="MODEL", help="a model file, SavedModel folder or bundle")
    parser.add_argument("--layers", action="store_true", help="also list every layer")
    parser.add_argument("--text", action="store_true", help="print the whole graph in its text form instead")
    parser.add_argument("--target", action="append", metavar="T", help="try these targets only; may be repeated")
    add_input_shape(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Facts about the model."""
    from toolchain.api import inspect

    found = inspect(arguments.model, targets=arguments.target, input_shapes=input_shapes(arguments.input_shape))
    if arguments.text:
        return Answer(found.as_json() | {"text": found.text}, found.text.rstrip("\n"))
    facts = (
        ("model", f"{found.name} ({found.format})"),
        *(("input", text) for text in found.inputs),
        *(("output", text) for text in found.outputs),
        ("MACs", found.macs),
        ("parameters", found.parameters),
        ("constant bytes", found.constant_bytes),
        ("operations", ", ".join(f"{count} {name}" for name, count in found.operations.items())),
    )
    rows = [(f.target, f.fault is None, f.arena_bytes, f.weight_bytes, f.fault.code if f.fault else "") for f in found.targets]
    parts = [pairs(facts), table(("target", "fits", "arena B", "weight B", "lacks"), rows)]
    parts += [text] if (text := _lacking(found)) else []
    if arguments.layers:
        layers = [(_short(x.name), x.op, "x".join(map(str, x.shape)), x.dtype, x.macs, x.constant_bytes) for x in found.layers]
        parts.append(table(("layer", "operation", "output", "type", "MACs", "constant B"), layers))
    return Answer(found.as_json(), "\n\n".join(parts))


def _lacking(found: InspectResult) -> str:
    """What targets lack, each text once with the targets it is true of."""
    texts: dict[str, list[str]] = {}
    for fit in found.targets:
        if fit.fault is not None:
            where = _short(fit.fault.place.removeprefix(fit.target).strip())
            texts.setdefault(f"{fit.fault.code} {where}: {fit.fault.message}".replace(" :", ":"), []).append(fit.target)
    return "\n".join(f"{text} ({', '.join(names)})" for text, names in texts.items())


def _short(name: str) -> str:
    return name if len(name) <= NAME_WIDTH else f"…{name[1 - NAME_WIDTH :]}"
