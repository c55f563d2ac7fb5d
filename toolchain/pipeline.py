"""The pipeline from a typed graph to the files of a bundle. To add an output format, give it an entry in FORMATS."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from targets.model import Target
from toolchain.backends.tensorrt.standalone import Batch
from toolchain.errors import TargetError, UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.optable import macs
from toolchain.ir.verifier import verify
from toolchain.lowering.banks import rooms_of
from toolchain.lowering.frontier import Offer, offers
from toolchain.lowering.limits import Limits, choose_plan
from toolchain.lowering.lower import InterfaceMode, plans_of
from toolchain.lowering.program import Program
from toolchain.lowering.variants import Objective

NO_MEMORIES: Mapping[str, int | None] = MappingProxyType({})
NO_OPERATOR = 305
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,40}")


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """What a user may ask of a compilation. name: prefix of C symbols and files. formats: empty takes the target's default ones,
    or all of its formats but for those in ON_REQUEST. explain: also find the plans that there were to choose from.

    memories: RAM to use by name, with the most bytes of it or None for all; the default RAM always is.
    copy_weights: constants are copied to RAM where that spares wait states. batch: samples at a time of `onnx` and `tensorrt`.
    half: these two formats compute in float16, unless there are others in the bundle, which compute the same.
    """

    name: str
    formats: tuple[str, ...] = ()
    io: InterfaceMode = "arena"
    limits: Limits = field(default_factory=Limits)
    objective: Objective = "balanced"
    explain: bool = False
    memories: Mapping[str, int | None] = field(default_factory=dict)
    copy_weights: bool = False
    batch: Batch | None = None
    half: bool = False


@dataclass(frozen=True, slots=True)
class Emitted:
    """Files of one format by path relative to the bundle, and that format's object in the manifest."""

    files: Mapping[str, bytes]
    section: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled graph. program: None when no format needed one. sections: the manifest's object of each format.

    unbuilt: formats asked for that a compiler makes of the files of another one; `toolchain.api` has it do so.
    left_out: why formats that nobody named are not there.
    """

    graph: Graph
    target: Target
    options: CompileOptions
    program: Program | None
    files: Mapping[str, bytes]
    sections: Mapping[str, Mapping[str, object]]
    offers: tuple[Offer, ...] = ()
    unbuilt: tuple[str, ...] = ()
    left_out: Mapping[str, TargetError] = field(default_factory=dict[str, TargetError])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(macs(node) for node in self.graph.nodes)


Emitter = Callable[[Graph, Program | None, CompileOptions, Target], Emitted]


def _emit_c(graph: Graph, program: Program | None, options: CompileOptions, target: Target) -> Emitted:
    from toolchain.backends.c.backend import print_c

    if program is None:
        raise UsageError(902, options.name, "the C format was reached without a program", "Report this")
    printed = print_c(program, options.name, options.io, small=options.objective == "size")
    section: dict[str, object] = {
        "header": printed.header,
        "sources": list(printed.sources),
        "include_dirs": list(printed.include_dirs),
        "cflags": list(printed.cflags),
        "io": options.io,
    }
    return Emitted({path: text.encode() for path, text in printed.files.items()}, section)


def _emit_tflite(graph: Graph, program: Program | None, options: CompileOptions, target: Target) -> Emitted:
    from toolchain.backends.tflite.packer import pack
    from toolchain.backends.tflite.planned import planned, tensor_section

    path, file = f"{options.name}.tflite", planned(graph, compact=False, signature=True)
    return Emitted({path: pack(file.model)}, {"file": path, **tensor_section(file)})


def _emit_tflm(graph: Graph, program: Program | None, options: CompileOptions, target: Target) -> Emitted:
    from toolchain.backends.tflm.backend import emit_tflm

    emitted = emit_tflm(graph, options.name)
    return Emitted(emitted.files, emitted.section)


def _emit_onnx(graph: Graph, program: Program | None, options: CompileOptions, target: Target) -> Emitted:
    from toolchain.backends.onnx.half import to_half
    from toolchain.backends.onnx.writer import write_onnx

    path = f"{options.name}.onnx"
    model = write_onnx(to_half(graph) if options.half else graph, batched=options.batch is not None)
    return Emitted({path: model}, {"file": path})


def _emit_tensorrt(graph: Graph, program: Program | None, options: CompileOptions, target: Target) -> Emitted:
    from toolchain.backends.tensorrt.backend import emit_tensorrt

    emitted = emit_tensorrt(graph, target, options.name, batch=options.batch, half=options.half)
    return Emitted(emitted.files, emitted.section)


def _emit_tfjs(graph: Graph, program: Program | None, options: CompileOptions, target: Target) -> Emitted:
    from toolchain.backends.web.backend import emit_tfjs

    emitted = emit_tfjs(graph, options.name)
    return Emitted(emitted.files, emitted.section)


def _emit_litertjs(graph: Graph, program: Program | None, options: CompileOptions, target: Target) -> Emitted:
    from toolchain.backends.web.backend import emit_litertjs

    emitted = emit_litertjs(graph, options.name)
    return Emitted(emitted.files, emitted.section)


def _emit_savedmodel(graph: Graph, program: Program | None, options: CompileOptions, target: Target) -> Emitted:
    from toolchain.backends.savedmodel.writer import FOLDER, write_savedmodel

    files = write_savedmodel(graph)
    return Emitted({f"{FOLDER}/{name}": data for name, data in files.items()}, {"file": f"{FOLDER}/{next(iter(files))}"})


FORMATS: dict[str, Emitter] = {
    "c": _emit_c,
    "tflite": _emit_tflite,
    "tflm": _emit_tflm,
    "onnx": _emit_onnx,
    "tensorrt": _emit_tensorrt,
    "tfjs": _emit_tfjs,
    "litertjs": _emit_litertjs,
    "savedmodel": _emit_savedmodel,
}
ONNX_FORMATS = frozenset({"onnx", "tensorrt"})
"""Formats that take several samples at a time, and compute in float16 where asked and no other is beside them."""
NEEDS_PROGRAM = frozenset({"c"})
# Formats that a C compiler makes, and the format that they are made of.
MADE_OF = {"library": "c"}
# Made by packages that are optional and take seconds: tflite-micro measures TFLM's arena, TensorFlow writes SavedModels.
ON_REQUEST = frozenset({"tflm", "savedmodel"})


def compile_model(graph: Graph, target: Target, options: CompileOptions) -> Compiled:
    """All files of the formats asked for; where none are named, of those of the target that can hold the graph.

    graph: canonical and, for integer targets, quantized. Raises TargetError(306) for a format that the target does not
    take, UsageError(901) for a bad name, and whatever lowering and the backends raise.
    """
    if not _IDENTIFIER.fullmatch(options.name):
        hint = "Give --name with lower-case letters, digits and underscores, a letter first"
        raise UsageError(901, "--name", f"{options.name!r} cannot be the prefix of C names", hint)
    formats = formats_of(target, options)
    for name in formats:
        if name not in (*FORMATS, *MADE_OF) or name not in target.formats:
            what = f"format {name!r} is not taken; it takes {', '.join(target.formats)}"
            raise TargetError(306, target.name, what, "Choose another --format or target")
    if options.batch is not None and not ONNX_FORMATS & set(formats):
        what = f"{', '.join(formats)} take one sample at a time"
        raise UsageError(901, "--batch", what, f"Add one of --format {', '.join(sorted(ONNX_FORMATS))}")
    verify(graph)
    program, found = _lowered(graph, target, options) if NEEDS_PROGRAM & set(formats) else (None, ())
    if program is None and options.limits.asked:
        what = f"no limit can be kept: of {', '.join(formats)} nothing is predicted"
        raise UsageError(901, options.limits.asked[0], what, "Add --format c, or leave it out")
    options = replace(options, half=options.half and set(formats) <= ONNX_FORMATS)
    files: dict[str, bytes] = {}
    sections: dict[str, Mapping[str, object]] = {}
    left_out: dict[str, TargetError] = {}
    for name in formats:
        if name in MADE_OF:
            continue
        try:
            emitted = FORMATS[name](graph, program, options, target)
        except TargetError as fault:
            if options.formats or fault.number != NO_OPERATOR:
                raise
            left_out[name] = fault
            continue
        files.update(emitted.files)
        sections[name] = emitted.section
    if not sections:
        raise next(iter(left_out.values()))
    unbuilt = tuple(name for name in formats if MADE_OF.get(name) in sections)
    return Compiled(graph, target, options, program, files, sections, found, unbuilt, left_out)


def formats_of(target: Target, options: CompileOptions) -> tuple[str, ...]:
    """The formats to make: those asked for or the target's default ones, and what these are made of."""
    quick = tuple(name for name in target.formats if name not in ON_REQUEST)
    asked = options.formats or target.default_formats or quick
    return tuple(dict.fromkeys((*(MADE_OF[name] for name in asked if name in MADE_OF), *asked)))


def program_of(graph: Graph, target: Target, options: CompileOptions) -> Program | None:
    """The program that `compile_model` would print of a graph, None where no format needs one. Raises TargetError (E3xx)."""
    formats = formats_of(target, options)
    return _lowered(graph, target, replace(options, explain=False))[0] if NEEDS_PROGRAM & set(formats) else None


def _lowered(graph: Graph, target: Target, options: CompileOptions) -> tuple[Program, tuple[Offer, ...]]:
    """The program, and where `explain` asks for it what else there was to choose from."""
    rooms = rooms_of(target, options.memories, copies=options.copy_weights)
    plans = plans_of(graph, target, options.io, options.objective, rooms=rooms)
    plan = choose_plan(plans, options.limits, options.objective)
    return plan.program, offers(plans, plan) if options.explain else ()
