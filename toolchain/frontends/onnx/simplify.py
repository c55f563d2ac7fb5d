"""Tries onnxsim on a model; its result counts only where ONNX Runtime computes the same with it."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from toolchain.frontends.apart import run_apart

LIMIT_SECONDS = 120.0
MAX_MODEL_BYTES = 2**29
LOG = logging.getLogger("strop.onnx")
KEPT = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
"""Operators whose stored integers a simplifier may not turn into floats."""


@dataclass(frozen=True, slots=True)
class Simplified:
    """What became of a try. model: the simpler model, or the given one. reason: why the given one was kept, else empty."""

    model: onnx.ModelProto
    nodes_before: int
    nodes_after: int
    reason: str = ""


def simplify(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None = None, limit_seconds: float = LIMIT_SECONDS
) -> Simplified:
    """The model after onnxsim, in a process of its own with a time limit.

    shapes: static shape by input name. The result is taken when it loads, is no larger, and ONNX Runtime's outputs for
    random inputs agree to 1e-5 of the largest. Never raises for what a model holds.
    """
    count = len(model.graph.node)
    reason = _unfit(model)
    if not reason:
        with tempfile.TemporaryDirectory(prefix="strop-") as folder:
            found = _run(model, shapes or {}, Path(folder), limit_seconds)
            if isinstance(found, onnx.ModelProto):
                LOG.info("onnxsim: %d nodes became %d", count, len(found.graph.node))
                return Simplified(found, count, len(found.graph.node))
            reason = found
    LOG.debug("onnxsim: not used, %s", reason)
    return Simplified(model, count, count, reason)


def _unfit(model: onnx.ModelProto) -> str:
    """Why a model is not tried; empty when it is."""
    if importlib.util.find_spec("onnxsim") is None:
        return "onnxsim is not installed"
    if any(node.op_type in KEPT or node.op_type.startswith("QLinear") for node in model.graph.node):
        return "the model is quantized"
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        return "the model has external data"
    size = model.ByteSize()
    return f"the model has {size:,} B" if size > MAX_MODEL_BYTES else ""


def _run(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], folder: Path, limit_seconds: float
) -> onnx.ModelProto | str:
    """The simplified model, or why there is none."""
    source, result = folder / "model.onnx", folder / "simple.onnx"
    source.write_bytes(model.SerializeToString())
    (folder / "shapes.json").write_text(json.dumps({name: list(shape) for name, shape in shapes.items()}))
    try:
        done = run_apart("toolchain.frontends.onnx.simplify_worker", folder, limit_seconds)
    except subprocess.TimeoutExpired:
        return f"it took more than {limit_seconds:g} s"
    except OSError as fault:
        return f"no process could be started: {fault}"
    if done.returncode != 0:
        return f"it ended with status {done.returncode}: {done.stderr.strip()[-200:]}"
    try:
        return onnx.ModelProto.FromString(result.read_bytes())
    except (OSError, DecodeError) as fault:
        return f"its result cannot be read: {fault}"
