"""What the functions of the API return. `as_json()` of each has the keys that `--json` prints and others build on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calibration.coverage import Coverage
from calibration.debugger.findings import Diagnosis
from calibration.metrics import Accuracy
from calibration.scores.make import MetricResult
from runtimes.base import Measurement
from toolchain.api.features import FeatureCheck
from toolchain.bundle.codec import encode
from toolchain.bundle.manifest import Manifest
from toolchain.errors import StropError
from toolchain.ir.types import Array
from toolchain.lowering.program import MemoryPlan


@dataclass(frozen=True, slots=True)
class CompileResult:
    """A bundle that was written and what is predicted of it; no C compiler has run. plan: its arena, None without a program.

    warnings: formats that nobody named and that cannot hold the model, what looks wrong in the calibration data.
    """

    bundle: Path
    manifest: Manifest
    plan: MemoryPlan | None = None
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """`bundle`, `name`, `target`, `precision`, `formats`, `macs`, `ram`, `flash`, `predicted`; null where not predicted.

        With what there was to choose from also `plans`, of an already quantized model `adjustments` where parameters could not
        be kept, with an extractor `features`. `tflm_tensors`: by format, bytes of tensors in TFLM's arena, also by its
        own plan, and whether the file has a plan.
        """
        found = self.manifest
        keys = ("tensor_bytes", "tensor_bytes_own_plan", "offline_plan")
        tflm = {name: _object(file, *keys) for name, file in sorted(found.formats.items()) if file.tensor_bytes is not None}
        plans: dict[str, object] = {"plans": [encode(plan) for plan in found.plans]} if found.plans else {}
        changed: dict[str, object] = {"adjustments": [encode(each) for each in found.adjustments]} if found.adjustments else {}
        changed |= {"features": encode(found.features)} if found.features else {}
        return (
            plans
            | changed
            | {
                "bundle": str(self.bundle),
                "name": found.name,
                "target": found.target,
                "precision": found.precision,
                "formats": list(found.format_names),
                "macs": found.macs,
                "ram": _object(found.ram, "arena_bytes", "stack_bytes"),
                "flash": _object(found.flash, "code_bytes", "weight_bytes"),
                "predicted": _object(found.predicted, "instructions", "cycles", "latency_ms"),
                "tflm_tensors": tflm,
                "warnings": list(self.warnings),
            }
        )


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One node of a model: its name, operation, output shape, MACs, and bytes of the constants it reads."""

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str
    macs: int
    constant_bytes: int


@dataclass(frozen=True, slots=True)
class TargetFit:
    """What a target would need for the model as it is. fault: what it lacks, None when it fits."""

    target: str
    arena_bytes: int | None
    weight_bytes: int | None
    fault: StropError | None


@dataclass(frozen=True, slots=True)
class InspectResult:
    """A model as Strop reads it. text: the whole graph in its text form."""

    name: str
    format: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    parameters: int
    constant_bytes: int
    layers: tuple[LayerFacts, ...]
    targets: tuple[TargetFit, ...]
    text: str

    @property
    def operations(self) -> dict[str, int]:
        """How many nodes there are of each operation, by name."""
        counts: dict[str, int] = {}
        for layer in self.layers:
            counts[layer.op] = counts.get(layer.op, 0) + 1
        return dict(sorted(counts.items()))

    def as_json(self) -> dict[str, object]:
        """All fields but the text; `targets` by name with `fits`, `arena_bytes`, `weight_bytes` and the `error`, if any."""
        return {
            "name": self.name,
            "format": self.format,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "macs": self.macs,
            "parameters": self.parameters,
            "constant_bytes": self.constant_bytes,
            "operations": self.operations,
            "layers": [encode(layer) for layer in self.layers],
            "targets": {fit.target: _fit_json(fit) for fit in self.targets},
        }


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What holding a program to the reference evaluator gave.

    differing_samples: samples with any differing byte. largest_difference: in steps of the integer outputs, or relative to
    the largest float output. tolerance: what is allowed of it (0 for integers). measurement: of the same run,
    None from the engine of another format. accuracy: `correct` with labels, the loss with a float model. equal, within_one:
    shares of output elements (0 to 1) that are the reference's, or at most one step off. metrics, coverage, diagnosis: what was
    asked for; coverage wherever the bundle tells what it was calibrated on. features: of a bundle with an extractor, on
    places that run C.
    """

    bundle: Path
    place: str
    samples: int
    bit_exact: bool
    differing_samples: int
    largest_difference: float
    tolerance: float
    measurement: Measurement | None
    accuracy: Accuracy
    equal: float = 1.0
    within_one: float = 1.0
    metrics: tuple[MetricResult, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    diagnosis: Diagnosis | None = None
    features: FeatureCheck | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Where the data leaves what calibration covered: inputs, and layers where they were looked at."""
        layers = () if self.diagnosis is None else self.diagnosis.coverage
        return tuple(each.warning for each in (*self.coverage, *layers) if each.warning is not None)

    @property
    def passed(self) -> bool:
        """True when no output differs by more than the tolerance, and no byte of the features."""
        return self.largest_difference <= self.tolerance and (self.features is None or self.features.passed)

    def as_json(self) -> dict[str, object]:
        """Flat: `bit_exact`, `samples`, `correct`, `agreement`, `kl`, `mse`, `sqnr_db` (null where unknown) and the rest.

        `metrics`, `coverage` and `warnings` are lists; `diagnosis` is there where layers were looked at, `features` where an
        extractor was.
        """
        more: dict[str, object] = {} if self.diagnosis is None else {"diagnosis": encode(self.diagnosis)}
        more |= {} if self.features is None else {"features": encode(self.features)}
        return more | {
            "bundle": str(self.bundle),
            "place": self.place,
            "samples": self.samples,
            "bit_exact": self.bit_exact,
            "passed": self.passed,
            "differing_samples": self.differing_samples,
            "largest_difference": self.largest_difference,
            "equal": self.equal,
            "within_one": self.within_one,
            "correct": self.accuracy.correct,
            "agreement": self.accuracy.agreement,
            "kl": self.accuracy.kl,
            "mse": self.accuracy.mse,
            "sqnr_db": self.accuracy.sqnr_db,
            "metrics": [metric.as_json() for metric in self.metrics],
            "coverage": [encode(each) for each in self.coverage],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class OutputData:
    """One output over all samples, (samples, *shape). real: in real units, equal to stored for unquantized outputs."""

    name: str
    stored: Array
    real: Array


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """What a program gave for the samples."""

    bundle: Path
    place: str
    outputs: tuple[OutputData, ...]
    outputs_sha256: str

    @property
    def samples(self) -> int:
        """How many samples were run."""
        return len(self.outputs[0].stored)

    def as_json(self) -> dict[str, object]:
        """`outputs` by name as nested lists in real units, `outputs_sha256` of the stored bytes."""
        values = {output.name: output.real.tolist() for output in self.outputs}
        return {"bundle": str(self.bundle), "place": self.place, "outputs": values, "outputs_sha256": self.outputs_sha256}


def _object(part: object | None, *keys: str) -> dict[str, object] | None:
    return None if part is None else {key: getattr(part, key) for key in keys}


def _fit_json(fit: TargetFit) -> dict[str, object]:
    facts: dict[str, object] = {"fits": fit.fault is None, "arena_bytes": fit.arena_bytes, "weight_bytes": fit.weight_bytes}
    return facts | (fit.fault.as_json() if fit.fault else {})
