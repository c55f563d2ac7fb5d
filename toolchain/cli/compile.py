"""Compile a model for a target into a bundle: a folder with the program, its graph and a manifest.

Nothing is built with a C compiler; sizes and instructions are predictions. `strop bench` measures them.

examples:
  strop compile kws_int8.tflite --target nucleo_l4r5zi -o build/kws
  strop compile kws.onnx --target esp32c3 --calibrate samples.npz -o build/kws
  strop compile kws_int8.tflite --target rp2040_pico --format c --name kws --max-ram 64KiB -o build/kws
  strop compile resnet.onnx --target rtx_4090 --precision float16 --batch 1:8:32 -o build/resnet
  strop compile kws.tflite --target nucleo_l4r5zi --features kws_features.toml -o build/kws
  strop compile kws_int8.tflite --target nucleo_l4r5zi --max-ram 8k --max-latency 50ms --explain -o build/kws
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer, pairs, warn
from toolchain.cli.explained import adjusted, arena, explained, offered, precisions
from toolchain.cli.options import (
    add_calibration,
    add_input_shape,
    byte_count,
    input_shapes,
    memories,
    milliseconds,
    sample_counts,
)
from toolchain.cli.progress import shown_progress
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.api.results import CompileResult
    from toolchain.bundle.manifest import EngineFacts, FeatureFacts, FormatFile
    from toolchain.ir.graph import Graph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("model", metavar="MODEL", help="a model file or SavedModel folder")
    parser.add_argument("--target", required=True, metavar="T", help="a name of `strop targets`, or a .toml file")
    note = "folder to write; an older bundle there is replaced"
    parser.add_argument("-o", "--output", required=True, metavar="BUNDLE", help=note)
    note = "c, tflite, tflm, onnx, …; may be repeated; by default all that the target takes and that can hold the model"
    parser.add_argument("--format", action="append", metavar="F", help=note)
    note = "samples that set the ranges: .npy, .npz, .csv, a folder of images, module:function; FILE[a:b] takes a part"
    parser.add_argument("--calibrate", metavar="DATA", help=note)
    note = (
        "auto (default): with --calibrate int8, and int16 where that gains most for at most a tenth more flash, RAM and time "
        "(or within the limits given); else the types of the file. int8, int16x8, float32; of weights alone float16 (of all "
        "where onnx and tensorrt are the only formats), w8 or w4, "
        "w4:64 for blocks of 64 that share a scale (default 32; of w8 a channel); dynamic: int8 weights, and the inputs of "
        "layers quantized at run time"
    )
    parser.add_argument("--precision", metavar="P", default="auto", help=note)
    add_calibration(parser)
    note = "what kernels are chosen for; balanced (default): least RAM at no more than 5 %% more work"
    parser.add_argument("--optimize", choices=("balanced", "speed", "ram", "size"), default="balanced", help=note)
    parser.add_argument("--io", choices=("arena", "caller", "rows"), default="arena", help="where inputs and outputs live")
    parser.add_argument("--name", metavar="N", help="prefix of C names and files; by default from the model's file name")
    parser.add_argument("--max-ram", type=byte_count, metavar="N", help="most bytes of the arena, for example 64KiB or 64k")
    parser.add_argument("--max-flash", type=byte_count, metavar="N", help="most bytes of weights and code, for example 1MiB")
    note = "most predicted time of one inference, for example 20, 20ms or 500us: cycles (instructions where they are not known)"
    parser.add_argument("--max-latency", type=milliseconds, metavar="MS", help=f"{note} at the target's clock")
    note = "RAM of the target to use besides its default one, and the most bytes of it; the default one may be named to limit it"
    parser.add_argument("--memory", action="append", metavar="NAME[=N]", help=f"{note}; may be repeated")
    note = "copy weights from flash to RAM at the start, where there is room and flash has wait states"
    parser.add_argument("--copy-weights", action="store_true", help=note)
    note = "samples at a time of the formats onnx and tensorrt: fewest, what the engine is tuned for, most; by default one"
    parser.add_argument("--batch", metavar="MIN:OPT:MAX", help=note)
    note = "a .toml file of what the input is made of, whose extractor in C is put beside the network (docs/features.md)"
    parser.add_argument("--features", metavar="FILE", help=note)
    add_input_shape(parser)
    note = (
        "show the plans that there were to choose from, the memory over time, and for every layer its kernel, its predicted cost"
    )
    parser.add_argument("--explain", action="store_true", help=f"{note} and the kernel that came second; takes longer")
    note = "leave out a pass of toolchain/passes/canonical.py, `drop_dead_channels` for example; may be repeated"
    parser.add_argument("--skip", action="append", metavar="PASS", help=note)
    note = "print the graph after a pass to standard error: `quantize`, `store_weights` or one of toolchain/passes/canonical.py"
    parser.add_argument("--print-after", metavar="PASS", help=note)


def run(arguments: argparse.Namespace) -> Answer:
    """Compile and summarise the bundle."""
    from toolchain.api import compile
    from toolchain.api.memory_map import memory_map
    from toolchain.cli.memory_text import memory_text
    from toolchain.features.settings import load_features

    features = None if arguments.features is None else load_features(arguments.features)
    with shown_progress() as progress:
        result = compile(
            arguments.model,
            arguments.target,
            arguments.output,
            name=arguments.name,
            formats=tuple(arguments.format or ()),
            precision=arguments.precision,
            calibrate=arguments.calibrate,
            ranges=arguments.ranges,
            rounding=arguments.rounding,
            optimize=arguments.optimize,
            io=arguments.io,
            max_ram_bytes=arguments.max_ram,
            max_flash_bytes=arguments.max_flash,
            max_latency_ms=arguments.max_latency,
            memories=memories(arguments.memory),
            copy_weights=arguments.copy_weights,
            input_shapes=input_shapes(arguments.input_shape),
            progress=progress,
            after=None if arguments.print_after is None else _printer(arguments.print_after),
            skip=[_pass_name("--skip", name) for name in arguments.skip or ()],
            explain=arguments.explain,
            batch=sample_counts(arguments.batch),
            features=features,
        )
    found = result.manifest
    warn(result.warnings)
    text = _facts(result)
    if arguments.explain:
        layers = [asdict(layer) for layer in found.layers]
        parts = [text]
        if result.plan is not None:
            drawn = memory_map(found)
            parts += [offered(found.plans), arena(result.plan), *([memory_text(drawn)] if drawn else [])]
        if found.calibration is not None and found.calibration.precisions:
            parts.append(precisions(found.calibration.precisions))
        if found.adjustments:
            parts.append(adjusted(found.adjustments))
        return Answer(result.as_json() | {"layers": layers}, "\n\n".join([*parts, explained(found.layers)]))
    return Answer(result.as_json(), text)


def _facts(result: CompileResult) -> str:
    """What a bundle needs, one fact a line."""
    found = result.manifest
    facts = (
        ("bundle", str(result.bundle)),
        ("target", found.target),
        ("precision", found.precision),
        ("parameters adjusted", len(found.adjustments) or None),
        ("formats", ", ".join(found.format_names)),
        ("MACs", found.macs),
        ("arena bytes", found.ram.arena_bytes if found.ram else None),
        ("weight bytes", found.flash.weight_bytes if found.flash else None),
        ("code bytes", found.flash.code_bytes if found.flash else None),
        ("predicted instructions", found.predicted.instructions if found.predicted else None),
        ("predicted cycles", found.predicted.cycles if found.predicted else None),
        ("predicted ms", found.predicted.latency_ms if found.predicted else None),
        ("features", found.features and _features(found.features)),
        *((f"TFLM tensors, {name}", _tensors(file)) for name, file in sorted(found.formats.items())),
        *(("TensorRT engine", _engine(file.engine)) for file in found.formats.values() if file.engine is not None),
    )
    return pairs(facts)


def _features(facts: FeatureFacts) -> str:
    """What makes a network's input of sound."""
    clip = f"{facts.kind}, {facts.frames} frames of {facts.width} at {facts.rate:,} Hz"
    return f"{clip}; {facts.ram_bytes:,} B of RAM, {facts.table_bytes:,} B of tables"


def _engine(facts: EngineFacts) -> str:
    """What a bundle has for a GPU."""
    least, best, most = facts.batch
    batch = f"{most} at a time" if least == most else f"{least} to {most} at a time, tuned for {best}"
    if facts.package is None:
        return f"SM {facts.sm}, {batch}; to be built where it runs: {facts.script}"
    layers = f"{facts.int8_layers} of {facts.layers} layers on int8, {facts.kernels} kernels"
    return f"SM {facts.sm}, {batch}; {layers}, by {facts.package}"


def _tensors(file: FormatFile) -> str | None:
    """What the tensors of a file take in TFLM's arena, None for formats that TFLM does not read."""
    if file.tensor_bytes is None:
        return None
    plan = "the file's" if file.offline_plan else "TFLM's"
    return f"{file.tensor_bytes:,} B by {plan} plan, {file.tensor_bytes_own_plan:,} B in the model's order by TFLM's"


def _pass_name(option: str, name: str, more: tuple[str, ...] = ()) -> str:
    """The name of a canonical pass, or one of `more`. Raises UsageError(901) when there is none."""
    from toolchain.passes.canonical import PASSES

    known = [*more, *sorted({each.__name__ for each in PASSES})]
    if name not in known:
        raise UsageError(901, option, f"there is no pass {name!r}", f"Use one of: {', '.join(known)}")
    return name


def _printer(wanted: str) -> Callable[[str, Graph], None]:
    """Prints the graph after the passes of a name. Raises UsageError(901) when there is none."""
    from toolchain.ir.text import print_graph

    _pass_name("--print-after", wanted, ("quantize", "store_weights"))

    def after(name: str, graph: Graph) -> None:
        if name == wanted:
            print(f"# after {name}\n{print_graph(graph)}", file=sys.stderr)

    return after
