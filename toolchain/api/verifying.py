"""Verify: a bundle's program against the reference evaluator, on real or random inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.data import Taken, load_samples
from calibration.metrics import Accuracy, Comparison
from calibration.rows import to_real
from firmware.compilers import CompilerChoice
from toolchain.api import judging
from toolchain.api.features import check_features
from toolchain.api.inspecting import NO_SHAPES
from toolchain.api.judging import check_metrics, coverage, diagnosis
from toolchain.api.places import as_bytes, run_anywhere, where
from toolchain.api.progress import Progress, silent
from toolchain.api.quantizing import DYNAMIC, precision_of
from toolchain.api.results import VerifyResult
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.errors import UsageError
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType, TensorType
from toolchain.passes.canonical import canonicalize
from toolchain.pipeline import ONNX_FORMATS
from toolchain.reference.evaluator import run as run_reference

RANDOM_SAMPLES = 8
FLOAT_TOLERANCE = 1e-5
HALF_TOLERANCE = 0.02
"""Of float outputs where values are float16 on the way, and on GPUs, whose products of float32 have 10 bits by default."""

SHADER_TOLERANCE = 1e-4
DYNAMIC_TOLERANCE = 0.02
"""Where inputs are quantized at run time, a float that differs in its last bit can come to count one step more."""
FOREIGN_SHARE = 1 / 8
MAX_RANDOM_BYTES = 1 << 28
SMALL_INTEGER = 1 << 15
CLASS_METRICS = frozenset({"top", "accuracy", "f1", "auc"})
"""Metrics whose labels are class numbers."""


def verify(
    bundle: str | Path,
    *,
    place: str | None = None,
    compiler: CompilerChoice = "auto",
    data: str | None = None,
    model: str | Path | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] = NO_SHAPES,
    metrics: Sequence[str] = (),
    layers: bool = False,
    samples: int = RANDOM_SAMPLES,
    seed: int = 0,
    count: bool = False,
    progress: Progress = silent,
) -> VerifyResult:
    """Run a bundle on a place and compare every output byte with the reference evaluator.

    place: of `toolchain.api.places`; None takes the target's. data: DATA to run, with labels for `correct`;
    None takes `samples` random inputs, extremes first. model: the float model, to measure the loss. metrics: names of
    `calibration.scores.make`, on data. layers: also find out what every layer costs, which needs data and model. count: also
    count instructions, or time runs, for the measurement. An extractor of features is held to this machine's.
    A difference raises nothing: the result tells whether it passed.
    Raises DataError (E2xx), RunError (E5xx), EnvironmentFault (E4xx), ModelError (E1xx), UsageError(901).
    """
    opened = read_bundle(Path(bundle))
    graph = opened.graph()
    if data is None:
        _check_samples(graph, samples, seed)
    check_metrics(metrics, graph, data)
    chosen = where(opened, place, compiler)
    real = None if model is None else canonicalize(load_model(Path(model), input_shapes))
    given = load_samples(data, graph.inputs) if data is not None else None
    taken = None if given is None else given.take()
    inputs = random_inputs(graph, samples, np.random.default_rng(seed)) if taken is None else taken.stored
    reals = to_real(inputs, graph.inputs) if taken is None else taken.real
    found = diagnosis(opened, graph, None if model is None else Path(model), real, given, progress) if layers else None
    progress(f"running {opened.manifest.name}")
    ran = run_anywhere(opened, chosen, inputs, count=count)
    made = check_features(opened, chosen, seed)
    expected = reference_outputs(graph, inputs, progress)
    difference = compare(expected, ran.outputs)
    wanted = None if real is None else reference_outputs(real, reals, progress)
    targets = None if taken is None else taken.targets
    return VerifyResult(
        bundle=opened.path,
        place=ran.place,
        samples=len(inputs[0]),
        bit_exact=difference.samples == 0,
        differing_samples=difference.samples,
        largest_difference=difference.largest,
        tolerance=_tolerance(opened, chosen.place, expected, precision_of(graph)),
        measurement=ran.measurement,
        accuracy=accuracy(graph, ran.outputs, _classes(taken, graph, metrics), wanted),
        equal=difference.equal,
        within_one=difference.within_one,
        metrics=judging.metrics(metrics, graph, ran.outputs, reals, wanted, targets),
        coverage=() if taken is None else coverage(opened, graph, reals),
        diagnosis=found,
        features=made,
    )


def _classes(given: Taken | None, graph: Graph, metrics: Sequence[str]) -> Array | None:
    """Class numbers of samples, None where metrics take the labels for something else. Raises DataError(206)."""
    if given is None or any(name.partition(":")[0] not in CLASS_METRICS for name in metrics):
        return None
    labels = given.labels
    fitting = labels is None or labels.max(initial=0) < graph.outputs[0].type.elements
    return labels if fitting or not metrics else None


def _tolerance(bundle: Bundle, place: str, expected: Sequence[Array], precision: str) -> float:
    """What a place may differ by: steps of integers, or a share of the largest float.

    C programs and TFLM are held to every byte of integers. LiteRT, ONNX Runtime and TensorRT round in other places, TF.js
    computes in float, which can add up: an eighth of the type's range, or of the largest output where inputs are quantized at
    run time, tells that from a wrong file.
    """
    foreign = place in ("litert", "litert_reference", "onnxruntime", "gpu") or place.startswith("browser")
    if any(array.dtype.kind == "f" for array in expected):
        alone = set(bundle.manifest.format_names) <= ONNX_FORMATS
        half = place == "gpu" or (place == "onnxruntime" and precision == "float16" and alone)
        dynamic = FOREIGN_SHARE if foreign else DYNAMIC_TOLERANCE
        if precision == DYNAMIC:
            return dynamic
        if half:
            return HALF_TOLERANCE
        return SHADER_TOLERANCE if place in ("browser:webgl", "browser:webgpu") else FLOAT_TOLERANCE
    return FOREIGN_SHARE * min(2.0 ** (8 * array.dtype.itemsize) for array in expected) if foreign else 0.0


def tolerances(bundle: Bundle, graph: Graph, expected: Sequence[Array]) -> tuple[float, ...]:
    """How far each output of a bundle's C program may be from the reference's, in the output's own units; 0 for integers."""
    share = _tolerance(bundle, "host", expected, precision_of(graph))
    largest = [np.abs(array[np.isfinite(array)]).max(initial=0.0) if array.dtype.kind == "f" else 0.0 for array in expected]
    return tuple(float(np.float32(share * most)) for most in largest)


def _check_samples(graph: Graph, samples: int, seed: int) -> None:
    """Raise UsageError(901) for a number of random samples that is none or would not fit the memory, and for a wrong seed."""
    most = MAX_RANDOM_BYTES // max(1, sum(value.type.bytes for value in graph.inputs))
    if not 1 <= samples <= most:
        raise UsageError(901, "--samples", f"{samples:,} random inputs were asked for", f"Use 1 to {most:,}")
    if seed < 0:
        raise UsageError(901, "--seed", f"it is {seed:,}", "Use 0 or more")


def accuracy(
    graph: Graph, outputs: Sequence[Array], labels: Array | None = None, wanted: Sequence[Array] | None = None
) -> Accuracy:
    """How right the first output is: against labels, and against what the float model gave on the same inputs.

    outputs: stored arrays (samples, *shape); wanted: real ones. Raises DataError(201, 206).
    """
    found = to_real(tuple(outputs[:1]), graph.outputs[:1])[0]
    comparison = Comparison(graph.name)
    for index, output in enumerate(found):
        label = None if labels is None else int(labels[index])
        comparison.add(output, None if wanted is None else wanted[0][index], label)
    return comparison.result()


def random_inputs(graph: Graph, samples: int, rng: np.random.Generator) -> tuple[Array, ...]:
    """Inputs (samples, *shape): all lowest, all highest, alternating, zero, then uniform over the stored type.

    Float inputs are standard normal with extremes of ±4; integers without quantization stay below 2**15.
    """
    return tuple(np.stack([_sample(value.type, index, rng) for index in range(samples)]) for value in graph.inputs)


def _sample(type_: TensorType, index: int, rng: np.random.Generator) -> Array:
    dtype, shape = type_.dtype, type_.shape
    low, high, zero = _span(type_)
    if index < 2:
        return np.full(shape, (low, high)[index], dtype.numpy)
    if index == 2:
        return np.where(np.arange(type_.elements) % 2, high, low).astype(dtype.numpy).reshape(shape)
    if index == 3:
        return np.full(shape, zero, dtype.numpy)
    if dtype.is_float:
        return rng.standard_normal(shape).astype(dtype.numpy)
    return rng.integers(low, high, shape, dtype=dtype.numpy, endpoint=True)


def _span(type_: TensorType) -> tuple[int, int, int]:
    """Lowest, highest and zero value to try."""
    if type_.dtype.is_float:
        return -4, 4, 0
    if type_.dtype is DType.BOOL:
        return 0, 1, 0
    low, high = type_.dtype.limits
    if type_.quant is not None:
        return low, high, type_.quant.scalar_zero_point
    return max(low, -SMALL_INTEGER), min(high, SMALL_INTEGER), 0


def reference_outputs(graph: Graph, inputs: Sequence[Array], progress: Progress = silent) -> list[Array]:
    """Outputs (samples, *shape) of the reference evaluator."""
    rows: list[tuple[Array, ...]] = []
    for index in range(len(inputs[0])):
        progress("reference", index, len(inputs[0]))
        rows.append(run_reference(graph, [array[index] for array in inputs]))
    return [np.stack(column) for column in zip(*rows, strict=True)]


@dataclass(frozen=True, slots=True)
class Difference:
    """samples: how many differ in any byte. largest: largest step of integers, or difference over the largest float.

    equal, within_one: shares of elements (0 to 1) that are the same, or at most one step of integers off.
    """

    samples: int
    largest: float
    equal: float = 1.0
    within_one: float = 1.0


def compare(expected: Sequence[Array], given: Sequence[Array]) -> Difference:
    """How far outputs (samples, *shape) are from the reference; NaN in both is equal, NaN in one is infinitely far."""
    differing = np.zeros(len(expected[0]), bool)
    largest, elements, equal, near = 0.0, 0, 0, 0
    for reference, output in zip(expected, given, strict=True):
        differing |= (as_bytes(reference) != as_bytes(output)).any(axis=1)
        largest = max(largest, _distance(reference, output))
        steps = _steps(reference, output)
        elements, equal = elements + steps.size, equal + int((steps == 0).sum())
        near += int((steps <= (1 if reference.dtype.kind in "iu" else 0)).sum())
    return Difference(int(differing.sum()), largest, equal / max(elements, 1), near / max(elements, 1))


def _steps(reference: Array, output: Array) -> Array:
    """How far every element is from the reference, infinitely where one alone is NaN."""
    wide, other = reference.astype(np.float64), output.astype(np.float64)
    equal = (wide == other) | (np.isnan(wide) & np.isnan(other))
    steps = np.where(equal, 0.0, np.abs(wide - other))
    return np.where(np.isnan(steps), np.inf, steps)


def _distance(reference: Array, output: Array) -> float:
    if reference.size == 0:
        return 0.0
    worst = float(_steps(reference, output).max())
    if reference.dtype.kind != "f":
        return worst
    wide = reference.astype(np.float64)
    scale = float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))
    return worst / scale if scale > 0 else worst
