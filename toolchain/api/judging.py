"""What verify says beyond bytes: metrics by labels, drift from calibration, and the diagnosis of layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from calibration.coverage import Coverage, input_coverage
from calibration.data import Samples
from calibration.debugger.diagnose import Told, diagnose
from calibration.debugger.findings import Diagnosis
from calibration.rows import to_real
from calibration.scores.make import MetricResult, make_score, measure
from calibration.scores.score import Scored
from runtimes.onnxruntime_engine import float_executor
from toolchain.api.compiling import source_digest
from toolchain.bundle.read import Bundle
from toolchain.errors import UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.passes.split_layers import split_layers


def check_metrics(specs: Sequence[str], graph: Graph, data: str | None) -> None:
    """Raise UsageError(901) for metrics that there are not, or without DATA, before anything runs."""
    for spec in specs:
        make_score(spec, [value.name for value in graph.outputs])
    if specs and data is None:
        raise UsageError(901, "--metric", "metrics need samples, none were given", "Give --data DATA")


def metrics(
    specs: Sequence[str],
    graph: Graph,
    outputs: Sequence[Array],
    inputs: Sequence[Array],
    wanted: Sequence[Array] | None,
    labels: Sequence[Array] | None,
) -> tuple[MetricResult, ...]:
    """The figures of metrics. outputs: stored, of the bundle. inputs, wanted: real, what the float model gave. E205, E207."""
    if not specs:
        return ()
    names = [value.name for value in graph.outputs]

    def each(arrays: Sequence[Array]) -> Iterator[Scored]:
        for index in range(len(inputs[0])):
            label = None if labels is None else labels[index]
            yield Scored(index, [array[index] for array in arrays], [array[index] for array in inputs], label)

    return measure(specs, names, each(to_real(tuple(outputs), graph.outputs)), None if wanted is None else each(wanted))


def coverage(bundle: Bundle, graph: Graph, inputs: Sequence[Array]) -> tuple[Coverage, ...]:
    """How inputs (real units) compare with what the bundle was calibrated on; empty where it tells nothing."""
    found = bundle.manifest.calibration
    return () if found is None else input_coverage(found.tensors, [value.name for value in graph.inputs], inputs)


def diagnosis(
    bundle: Bundle, graph: Graph, model: Path | None, real: Graph | None, data: Samples | None, told: Told
) -> Diagnosis:
    """Every layer of a bundle beside its float model. Raises UsageError(901) without model or data, DataError(201)."""
    if model is None or real is None or data is None:
        what = "layers are compared with the float model on samples"
        raise UsageError(901, "--layers", what, "Give --model MODEL and --data DATA")
    if all(value.type.quant is None for value in graph.values()):
        raise UsageError(901, "--layers", f"{bundle.manifest.name} is not quantized", "Compile it with --calibrate DATA")
    if any(value.type.quant is not None for value in real.values()):
        raise UsageError(901, "--model", f"{model.name} is quantized already", "Give the float model that it was made from")
    factors = bundle.evened()
    if factors and source_digest(model) != bundle.manifest.source.sha256:
        what = f"{model.name} is not the file that the bundle was compiled from, {bundle.manifest.source.file}"
        raise UsageError(901, "--model", what, "Give that file, as channels were scaled by it")
    known = bundle.manifest.calibration
    choices = () if known is None else known.tensors
    return diagnose(graph, split_layers(real), data.real, data.count, float_executor, factors, choices, told)
