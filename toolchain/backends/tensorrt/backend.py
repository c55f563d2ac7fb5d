"""A graph as files of the format `tensorrt`: an engine, or an ONNX model with a script that builds it; and samples to check."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from targets.gpus import Gpu
from targets.model import Target
from toolchain.backends.onnx.builder import LAYER_END
from toolchain.backends.onnx.half import LARGEST_HALF, to_half
from toolchain.backends.onnx.writer import write_onnx
from toolchain.backends.tensorrt import standalone
from toolchain.backends.tensorrt.samples import archive, samples_of
from toolchain.backends.tensorrt.shifted import shifted
from toolchain.backends.tensorrt.standalone import Batch, EngineFault, plan_steps
from toolchain.errors import EnvironmentFault, StropError, TargetError
from toolchain.ir.graph import Graph
from toolchain.ir.types import DType
from toolchain.passes.quantize_rules import WEIGHT_AXIS

FOLDER, SCRIPT, SAMPLES = "tensorrt", "build_engine.py", "samples.npz"
BUILDER = "tensorrt_rtx"
TOLERANCE = 0.02
TIMEOUT_S = 900.0
HALF_ONLY = frozenset({75})
"""SM versions whose matrix products TensorRT-RTX computes in float16 and int8 alone."""

MOST_STEPS = 2 * 255
"""A value and the offset that it is stored with are at most so many of its scales."""

PRODUCT_OPS = tuple(f"{LAYER_END}{op}" for op in ("Conv", "ConvTranspose", "Gemm", "MatMul"))
SMALLEST_HALF = float(np.finfo(np.float16).smallest_normal)


@dataclass(frozen=True, slots=True)
class EmittedTensorRt:
    """Files by path relative to the bundle, and the manifest's object of the format."""

    files: Mapping[str, bytes]
    section: Mapping[str, object]


def emit_tensorrt(graph: Graph, target: Target, name: str, *, batch: Batch | None = None, half: bool = False) -> EmittedTensorRt:
    """What runs a graph on a GPU. batch: samples at a time, None for one. half: real values are float16.

    Raises TargetError(305) that names a layer which TensorRT refuses, (306) for a GPU that it builds no engine for,
    EnvironmentFault(404) where TensorRT-RTX is needed and not installed, (405) for what else it says.
    """
    gpu = _gpu(target)
    real = real_type(graph, gpu, half)
    model = gpu_model(graph, real, batched=batch is not None)
    given, wanted = samples_of(graph)
    description: dict[str, object] = {
        "name": name,
        "samples": SAMPLES,
        "batch": None if batch is None else [batch.least, batch.best, batch.most],
        "tolerance": TOLERANCE,
        "measure": "mean" if any(value.type.quant is not None for value in graph.outputs) else "largest",
    }
    section: dict[str, object] = {"sm": gpu.sm, "real": str(real), "batch": _sizes(batch), "script": f"{FOLDER}/{SCRIPT}"}
    found = {f"{FOLDER}/{SCRIPT}": _script(), f"{FOLDER}/{SAMPLES}": _archive(given, wanted)}
    if gpu.engine == "here":
        version = rtx_version()
        file, content = f"{name}_sm{gpu.sm}.engine", build(model, target, batch)
        description |= {"engine": file, "packages": [BUILDER]}
        section |= {"package": f"{BUILDER} {version}", **counts(content, graph)}
    else:
        file, content = f"{name}.onnx", model
        description |= {"model": file, "packages": ["tensorrt"]}
    found[f"{FOLDER}/{file}"] = content
    found[f"{FOLDER}/{standalone.DESCRIPTION}"] = (json.dumps(description, indent=2, sort_keys=True) + "\n").encode()
    return EmittedTensorRt(found, {"file": f"{FOLDER}/{file}", "engine": section})


def gpu_model(graph: Graph, real: DType, *, batched: bool = False) -> bytes:
    """The ONNX model that TensorRT takes: float32 at its ends, int8 without zero points, `real` for what is not quantized."""
    if real is DType.F16:
        return write_onnx(to_half(shifted(graph, SMALLEST_HALF)), batched=batched, real=real)
    return write_onnx(shifted(graph), batched=batched, real=real)


def real_type(graph: Graph, gpu: Gpu, half: bool) -> DType:
    """What real values are: float16 where asked for, and between the int8 layers of a GPU that has no float32 products."""
    computed = (value.type.quant for value in graph.values() if value.name not in graph.constants)
    scales = [quant.scalar_scale for quant in computed if quant is not None]
    if not scales:
        return DType.F16 if half else DType.F32
    return DType.F16 if gpu.sm in HALF_ONLY and max(scales) * MOST_STEPS <= LARGEST_HALF else DType.F32


def rtx_version() -> str:
    """The version of TensorRT-RTX. Raises EnvironmentFault(404)."""
    try:
        return str(standalone.load_package((BUILDER,)).__version__)
    except EngineFault as fault:
        hint = "pip install 'strop[tensorrt]', or compile for a target whose engine is built where it runs"
        raise EnvironmentFault(404, fault.place, fault.message, hint) from fault


def build(model: bytes, target: Target, batch: Batch | None = None, timeout_s: float = TIMEOUT_S) -> bytes:
    """The engine for a target, built in a process of its own: after a build that failed the next one gives other bytes.

    Raises as `emit_tensorrt`, EnvironmentFault(405) also where the builder crashes or takes longer than timeout_s.
    """
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        place = Path(folder)
        (place / "model.onnx").write_bytes(model)
        command = [sys.executable, str(place / SCRIPT), "--build", "model.onnx", "-o", "made.engine", "--package", BUILDER]
        command += ["--sm", str(_gpu(target).sm)]
        command += ["--batch", *map(str, _sizes(batch))] if batch is not None else []
        (place / SCRIPT).write_bytes(_script())
        try:
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as fault:
            raise EnvironmentFault(405, BUILDER, f"building took longer than {timeout_s:g} s", "Use a smaller model") from fault
        if done.returncode == 0:
            return (place / "made.engine").read_bytes()
        report = place / "made.json"
        if report.is_file():
            raise _coded(EngineFault(*json.loads(report.read_text())), target, model)
        what = f"the builder ended with status {done.returncode}: {done.stderr.strip()[-200:]}"
        raise EnvironmentFault(405, BUILDER, what, "Compile with --format onnx and report this with the model")


def counts(engine: bytes, graph: Graph) -> dict[str, object]:
    """Kernels of an engine, layers of the graph that multiply by weights, and how many of these run on int8."""
    layers = {node.name for node in graph.nodes if node.op in WEIGHT_AXIS}
    steps = plan_steps(engine)
    integer = [step for step in steps if step.is_product and step.computes == "int8"]
    found = {place.partition(LAYER_END)[0] for step in integer for place in step.layers if place.endswith(PRODUCT_OPS)}
    return {"kernels": len(steps), "layers": len(layers), "int8_layers": len(found & layers)}


def _gpu(target: Target) -> Gpu:
    if target.gpu is None:
        raise TargetError(306, target.name, "format 'tensorrt' needs a GPU", "Choose a target with a [gpu] table")
    return target.gpu


RECURRENT = ("LSTM", "GRU", "RNN")
_LOOP = re.compile(r"^\$\$myelin\$\$\(Unnamed Loop[^)]*\)\^")
_HINTS = {
    "FP32 GEMM": "Use --precision float16, or --calibrate DATA for int8",
    "FP16": "Use --precision float32",
    "BF16": "Use --precision float16",
    "INT8": "Use --precision float16",
}


def _coded(fault: EngineFault, target: Target, model: bytes) -> StropError:
    """A fault of the builder as a coded error, with the choice that is nearest to what was asked for."""
    if fault.kind == "target":
        return TargetError(306, target.name, fault.message, "Choose a target whose engine is built where it runs")
    if fault.kind in ("layer", "operator"):
        place = _layer(fault, model)
        hint = next((hint for said, hint in _HINTS.items() if said in fault.message), "Use another precision, or --format onnx")
        return TargetError(305, place, f"{target.name} (SM {_gpu(target).sm}): {fault.message}", hint)
    return EnvironmentFault(405, fault.place, fault.message, "Compile with --format onnx and report this with the model")


def _layer(fault: EngineFault, model: bytes) -> str:
    """The layer that a fault is about: of the operator it names, or the first recurrent one where it names a part of a loop."""
    place = _LOOP.sub("", fault.place)
    operators = (place,) if fault.kind == "operator" else RECURRENT if place.startswith("(Unnamed Layer") else ()
    nodes = onnx.load_from_string(model).graph.node
    return next((node.name for node in nodes if node.op_type in operators), place).partition(LAYER_END)[0]


def _sizes(batch: Batch | None) -> list[int]:
    return [1, 1, 1] if batch is None else [batch.least, batch.best, batch.most]


def _script() -> bytes:
    return (files("toolchain.backends.tensorrt") / "standalone.py").read_bytes()


def _archive(given: Sequence[Any], wanted: Sequence[Any]) -> bytes:
    arrays = {f"input_{index}": array for index, array in enumerate(given)}
    arrays |= {f"output_{index}": array for index, array in enumerate(wanted)}
    return archive(arrays)
