"""Test support: ONNX's own node tests, the part of them that a small device can meet.

The part: static shapes, element types float32, int8 to int64, uint8 and bool, operators of the default domain, not the
expanded twins of other tests. Shapes must be known at import, so operands that decide one (Reshape's shape, axes, k …)
become constants of the model when the importer says that it needs them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from toolchain.errors import ModelError
from toolchain.frontends.onnx.load import import_onnx
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array

ELEMENT_TYPES = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.BOOL,
    }
)


@dataclass(frozen=True, slots=True)
class NodeCase:
    """One node test: a model, arrays by input name, expected outputs in order, and ONNX's tolerances."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, Array]
    expected: tuple[Array, ...]
    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class ImportedCase:
    """A node test as a graph: the inputs it is left with, and the names of those that became constants."""

    graph: Graph
    inputs: tuple[Array, ...]
    frozen: tuple[str, ...]


@cache
def node_cases() -> tuple[NodeCase, ...]:
    """All cases of the part; about 1,070 of onnx 1.23's 1,880. Takes seconds."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return tuple(_case(each) for each in found if each.model is not None and _belongs(each.name, each.model))


def _belongs(name: str, model: onnx.ModelProto) -> bool:
    if "_expanded" in name or any(node.domain not in ("", "ai.onnx") for node in model.graph.node):
        return False
    for value in (*model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or tensor.elem_type not in ELEMENT_TYPES:
            return False
        if any(not dim.HasField("dim_value") for dim in tensor.shape.dim):
            return False
    return True


def _case(found: Any) -> NodeCase:
    inputs, outputs = found.data_sets[0]
    values = list(inputs.values()) if isinstance(inputs, dict) else list(inputs)
    results = list(outputs.values()) if isinstance(outputs, dict) else list(outputs)
    names = [value.name for value in found.model.graph.input]
    return NodeCase(
        found.name,
        found.model,
        dict(zip(names, map(_array, values), strict=False)),
        tuple(map(_array, results)),
        found.rtol or 1e-3,
        found.atol or 1e-7,
    )


def _array(value: Any) -> Array:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def import_case(case: NodeCase) -> ImportedCase:
    """The graph of a case. Raises ModelError where the importer refuses it."""
    model, frozen = case.model, []
    while True:
        try:
            graph = import_onnx(model, case.name, Path())
            return ImportedCase(graph, tuple(case.inputs[value.name] for value in graph.inputs), tuple(frozen))
        except ModelError as fault:
            wanted = re.search(r"is '([^']+)', which is only known at run time", fault.message)
            if fault.number != 105 or wanted is None or wanted[1] not in case.inputs or wanted[1] in frozen:
                raise
            frozen.append(wanted[1])
            model = _with_constant(model, wanted[1], case.inputs[wanted[1]])


def _with_constant(model: onnx.ModelProto, name: str, array: Array) -> onnx.ModelProto:
    """The model with an input as a stored tensor."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    kept = [value for value in changed.graph.input if value.name != name]
    del changed.graph.input[:]
    changed.graph.input.extend(kept)
    changed.graph.initializer.append(numpy_helper.from_array(array, name))
    return changed


def differences(case: NodeCase, outputs: tuple[Array, ...]) -> Iterator[str]:
    """What is wrong with computed outputs, in words; nothing when they are right.

    ONNX's own tolerance, widened to 1e-6 of the largest element: some expected zeros are float32 noise of an FFT.
    """
    if len(outputs) != len(case.expected):
        yield f"{len(outputs)} outputs for {len(case.expected)}"
    for index, (got, want) in enumerate(zip(outputs, case.expected, strict=False)):
        if got.shape != want.shape or got.dtype != want.dtype:
            yield f"output {index} is {got.dtype} {got.shape}, not {want.dtype} {want.shape}"
            continue
        largest = float(np.abs(want[np.isfinite(want)]).max(initial=0)) if want.dtype.kind == "f" else 0.0
        if not np.allclose(got, want, rtol=case.rtol, atol=max(case.atol, 1e-6 * largest), equal_nan=True):
            yield f"output {index} differs"
