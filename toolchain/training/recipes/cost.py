"""What a network would take on a target, before it is trained: the compiler's own predictions for its int8 program."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from calibration.prepare import Recipe as Quantization
from calibration.prepare import quantize_with
from calibration.ranges import parse_method
from runtimes.onnxruntime_engine import float_executor
from targets.load import load_target
from toolchain.api.features import beside_features
from toolchain.errors import TargetError
from toolchain.features.settings import FeatureSettings
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.lowering.limits import Limits
from toolchain.lowering.plans import latency_ms
from toolchain.passes.canonical import canonicalize
from toolchain.pipeline import CompileOptions, program_of
from toolchain.training.recipes.recipe import CompilePart

SAMPLES = 4
LIMITS = ("ram", "flash", "latency", "program")


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes of arena and of flash, with those of features, milliseconds of an inference; fits: all limits can be kept at once."""

    ram_bytes: int
    flash_bytes: int
    latency_ms: float
    fits: bool

    def excess(self, part: CompilePart) -> dict[str, float]:
        """Per limit of LIMITS how far it is exceeded, as a share of it; 0 or less where it is kept."""
        pairs = {
            "ram": (self.ram_bytes, part.max_ram_bytes),
            "flash": (self.flash_bytes, part.max_flash_bytes),
            "latency": (self.latency_ms, part.max_latency_ms),
        }
        over = {name: value / limit - 1 for name, (value, limit) in pairs.items() if limit is not None}
        # Each limit alone may be kept and yet no one plan keep them all.
        together = 0.0 if self.fits or any(share > 0 for share in over.values()) else 0.01
        return {**over, "program": together}


def layers_digest(graph: Graph) -> str:
    """SHA-256 of a network's operations, their attributes, operands and shapes; not of names or weights."""
    numbers: dict[str, int] = {}
    layers = [
        (
            node.op,
            node.attrs,
            [(numbers.setdefault(value.name, len(numbers)), value.type) for value in (*node.inputs, *node.outputs)],
        )
        for node in graph.nodes
    ]
    return hashlib.sha256(repr(layers).encode()).hexdigest()


def predict(graph: Graph, samples: Array, part: CompilePart, features: FeatureSettings | None = None) -> Cost:
    """The cost of a float graph's int8 program. samples: (N, …) real inputs; a few of them set the ranges.

    features: what the inputs are made of on the target.
    Raises TargetError E303 to E308 for what the target cannot run at all, ModelError E1xx.
    """
    real = canonicalize(graph)
    shape = real.inputs[0].type.shape
    rows = [(np.ascontiguousarray(sample.reshape(shape)),) for sample in samples[:SAMPLES]]
    found = quantize_with(real, rows, float_executor, Quantization(parse_method("minmax"), "nearest"))
    integer, target = canonicalize(found.graph), load_target(part.target)
    limits = beside_features(Limits(part.max_ram_bytes, part.max_flash_bytes, part.max_latency_ms), integer, features)
    try:
        program, fits = program_of(integer, target, CompileOptions("net", ("c",), "arena", limits, part.optimize)), True
    except TargetError as fault:
        if fault.number not in (301, 302, 307):
            raise
        program, fits = (
            program_of(integer, target, CompileOptions("net", ("c",), "arena", Limits(None, None, None), "ram")),
            False,
        )
    if program is None:
        raise TargetError(306, part.target, "it takes no C program, so nothing is predicted", "Name a microcontroller")
    milliseconds = latency_ms(target, program.cycles or program.instructions)
    ram, flash = program.plan.arena_bytes, program.weight_bytes + (program.code_bytes or 0)
    return Cost(ram + limits.features_ram_bytes, flash + limits.features_flash_bytes, milliseconds or 0.0, fits)
