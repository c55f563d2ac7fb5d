"""What a compiled graph is and costs, as the bundle's manifest says it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from calibration.mixed import Option
from calibration.prepare import Quantized
from calibration.refine import LayerRounding
from toolchain.api.quantizing import AUTO, Converted, precision_of
from toolchain.bundle.codec import decode
from toolchain.bundle.graph_files import CONSTANTS_NAME, EVENED_NAME, TEXT_NAME
from toolchain.bundle.manifest import (
    Adjustment,
    Asked,
    Buffer,
    Calibration,
    CFiles,
    Flash,
    FormatFile,
    FurtherArena,
    GraphFiles,
    Layer,
    Manifest,
    PlanFigures,
    PrecisionFigures,
    Predicted,
    Ram,
    RangeChoice,
    RoundingChoice,
    RunnerUp,
    SeenValues,
    SourceModel,
    StripFigures,
    TensorInfo,
)
from toolchain.ir.calibration_table import ValueRange
from toolchain.ir.graph import Value
from toolchain.ir.optable import macs
from toolchain.lowering.frontier import Offer
from toolchain.lowering.moves import UNCOMPUTED
from toolchain.lowering.overlaps import steps_of
from toolchain.lowering.plans import latency_ms
from toolchain.lowering.program import Choice, KernelCall, Program
from toolchain.lowering.timeline import lives
from toolchain.passes.qdq.notes import Note
from toolchain.pipeline import Compiled, CompileOptions


def describe_bundle(
    compiled: Compiled, source: SourceModel, converted: Converted | None = None, notes: Sequence[Note] = ()
) -> Manifest:
    """The manifest of a compiled graph, without its list of files.

    converted: how the graph came about, where it was float. notes: parameters of the model that could not be kept.
    """
    graph, program, sections = compiled.graph, compiled.program, dict(compiled.sections)
    evened = EVENED_NAME if converted is not None and converted.quantized is not None else None
    c_section = sections.pop("c", None)
    return Manifest(
        name=compiled.options.name,
        target=compiled.target.name,
        precision=precision_of(graph),
        source=source,
        graph=GraphFiles(TEXT_NAME, CONSTANTS_NAME, evened),
        inputs=tuple(map(tensor_info, graph.inputs)),
        outputs=tuple(map(tensor_info, graph.outputs)),
        macs=compiled.macs,
        versions=_versions("ziglang" if "library" in sections else ""),
        ram=_ram(program) if program else None,
        flash=Flash(program.weight_bytes, program.code_bytes) if program else None,
        predicted=_predicted(program) if program else None,
        asked=_asked(compiled.options) if program else None,
        calibration=None if converted is None else _calibration(converted),
        plans=tuple(map(_plan, compiled.offers)),
        adjustments=tuple(Adjustment(note.place, note.found, note.done) for note in notes),
        buffers=_buffers(program) if program else (),
        layers=_layers(program) if program else (),
        c=decode(CFiles, c_section) if c_section is not None else None,
        formats={name: decode(FormatFile, section) for name, section in sections.items()},
    )


def _calibration(converted: Converted) -> Calibration | None:
    """What samples told, None where there were none."""
    if converted.fitted is not None:
        return Calibration("none", "optimal", converted.fitted.samples, layers=_roundings(converted.fitted.layers))
    return None if converted.quantized is None else _ranges(converted.quantized)


def _roundings(layers: Sequence[LayerRounding]) -> tuple[RoundingChoice, ...]:
    return tuple(RoundingChoice(layer.name, layer.error_nearest, layer.error, layer.ridge) for layer in layers)


def _ranges(quantized: Quantized) -> Calibration:
    recipe = quantized.recipe
    losses = {name: choice.losses for choice in quantized.choices for name in choice.members}
    rows = quantized.table.ranges.items()
    tensors = tuple(RangeChoice(name, row.method, row.low, row.high, losses.get(name, {}), _seen(row)) for name, row in rows)
    layers = _roundings(quantized.layers)
    asked = AUTO if recipe.ranges is None else str(recipe.ranges)
    options = tuple(map(_option, quantized.options))
    return Calibration(asked, recipe.rounding, quantized.table.samples, tensors, layers, options)


def _option(option: Option) -> PrecisionFigures:
    price = option.price
    if price is None:
        return PrecisionFigures(option.wide, option.loss)
    figures = (price.weight_bytes, price.code_bytes, price.arena_bytes, price.latency_ms)
    return PrecisionFigures(option.wide, option.loss, *figures, option.allowed, option.chosen)


def _seen(row: ValueRange) -> SeenValues:
    """Over all channels: every index of the last axis was seen equally often."""
    mean = float(np.mean(row.mean)) if row.mean else 0.0
    square = float(np.mean(np.square(row.rms))) if row.rms else 0.0
    return SeenValues(row.minimum, row.maximum, mean, math.sqrt(max(square - mean * mean, 0.0)))


def tensor_info(value: Value) -> TensorInfo:
    """An input or output of a graph as the manifest has it."""
    type_ = value.type
    scalar = type_.quant is not None and type_.quant.axis is None
    scale = type_.quant.scalar_scale if type_.quant and scalar else None
    zero_point = type_.quant.scalar_zero_point if type_.quant and scalar else None
    return TensorInfo(value.name, str(type_.dtype), type_.shape, type_.bytes, scale, zero_point)


def _ram(program: Program) -> Ram:
    plan, memory = program.plan, program.target.ram
    bound, memory_bytes = plan.lower_bound_bytes, memory.bytes
    further = tuple(FurtherArena(bank.memory, bank.bytes) for bank in plan.further)
    waits = (round(plan.waits), round(plan.least_waits)) if plan.waits else (None, None)
    return Ram(plan.arena_bytes, plan.align, None, bound, memory.name, memory_bytes, further, *waits)


def _predicted(program: Program) -> Predicted:
    latency = latency_ms(program.target, program.cycles or program.instructions)
    return Predicted(program.instructions, program.cycles, latency)


def _asked(options: CompileOptions) -> Asked:
    limits = options.limits
    return Asked(options.objective, limits.ram_bytes, limits.flash_bytes, limits.latency_ms)


def _plan(offer: Offer) -> PlanFigures:
    plan, found = offer.plan, offer.plan.figures
    figures = (found.arena_bytes, found.flash_bytes, found.instructions)
    strips = tuple(StripFigures(each.first, each.last, each.count, each.macs, each.again) for each in plan.strips)
    return PlanFigures(*figures, plan.by_rows, offer.chosen, found.cycles, plan.latency_ms, offer.options, strips)


def _buffers(program: Program) -> tuple[Buffer, ...]:
    found: list[Buffer] = []
    for life in lives(program):
        first, last = min(block[2] for block in life.blocks), max(block[3] for block in life.blocks)
        blocks = () if life.blocks == ((0, life.bytes, first, last),) else life.blocks
        found.append(Buffer(life.name, life.offset, life.bytes, first, last, life.kind, blocks))
    return tuple(found)


def _layers(program: Program) -> tuple[Layer, ...]:
    """One entry per call; a node that needs several calls has its MACs at the first. In a streamed segment one per node."""
    found: list[Layer] = []
    for choice in program.choices:
        if choice.calls[0].segment is None:
            found += (_layer(choice, (call,), first=index == 0) for index, call in enumerate(choice.calls))
        else:
            found.append(_layer(choice, choice.calls, first=True))
    return tuple(found)


def _layer(choice: Choice, calls: Sequence[KernelCall], *, first: bool) -> Layer:
    """What calls of a node are and cost together."""
    node, cycles = calls[0].node, [call.cycles for call in calls if call.cycles is not None]
    constants = {o.constant.key: o.constant.bytes for call in calls for o in call.operands if o.constant is not None}
    return Layer(
        name=node.name,
        op=node.op,
        kernel=calls[0].variant,
        macs=macs(node) if first and node.op not in UNCOMPUTED else 0,
        instructions=sum(call.instructions for call in calls),
        weight_bytes=sum(constants.values()),
        scratch_bytes=max(sum(operand.scratch_bytes for operand in call.operands) for call in calls),
        cycles=sum(cycles) if len(cycles) == len(calls) else None,
        runner_up=None if choice.runner_up is None else RunnerUp(*choice.runner_up),
        segment=calls[0].segment,
        steps=sum(map(steps_of, calls)),
    )


def _versions(compiler: str) -> dict[str, str]:
    """Versions that shape a bundle's bytes. compiler: the package of the one that was used, or empty."""
    found: dict[str, str] = {}
    for package in filter(None, ("strop", "numpy", "onnx", "ai-edge-litert", compiler)):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
