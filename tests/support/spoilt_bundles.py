"""Test support: a bundle in good order whose network has one layer with a range far too narrow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from calibration.debugger.patches import tied, with_range
from targets.load import load_target
from toolchain.api.describing import describe_bundle
from toolchain.bundle.graph_files import EVENED_NAME, evened_file, graph_files
from toolchain.bundle.read import read_bundle
from toolchain.bundle.write import write_bundle
from toolchain.ir.graph import Graph, Value
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import per_tensor
from toolchain.pipeline import CompileOptions, compile_model


def spoil_range(source: Path, place: Path, pick: Callable[[Graph], Value], share: float) -> str:
    """Compile a bundle's graph anew with the picked value's range cut to a share; the name of that value."""
    opened = read_bundle(source)
    graph, plan = opened.graph(), opened.manifest
    value = pick(graph)
    quant = quant_of(value.type)
    narrow = per_tensor(quant.scalar_scale * share, quant.scalar_zero_point)
    changed = with_range(graph, tied(graph, value.name), narrow)
    assert changed is not None
    compiled = compile_model(changed, load_target(plan.target), CompileOptions(plan.name, plan.format_names))
    manifest = replace(describe_bundle(compiled, plan.source), calibration=plan.calibration, graph=plan.graph)
    files = {**graph_files(compiled.graph), **compiled.files, EVENED_NAME: evened_file(compiled.graph, opened.evened())}
    write_bundle(place, files, manifest)
    return value.name
