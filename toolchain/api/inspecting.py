"""Inspect: what a model is, and which targets it fits as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from targets.load import load_target, target_names
from targets.model import Target
from toolchain.api.results import InspectResult, LayerFacts, TargetFit
from toolchain.bundle.manifest import MANIFEST_NAME
from toolchain.bundle.read import read_bundle
from toolchain.errors import StropError
from toolchain.frontends.load import load_model, model_format
from toolchain.ir.graph import Graph, Node
from toolchain.ir.optable import macs
from toolchain.ir.text import print_graph
from toolchain.ir.verifier import describe
from toolchain.lowering.lower import lower
from toolchain.passes.canonical import canonicalize

NO_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def inspect(
    model: str | Path, *, targets: Sequence[str] | None = None, input_shapes: Mapping[str, tuple[int, ...]] = NO_SHAPES
) -> InspectResult:
    """Facts about a model file, SavedModel folder or bundle.

    targets: names to try the model on; None tries all. Raises ModelError (E1xx), TargetError(303, 304), RunError(504).
    """
    path = Path(model)
    if os.path.isfile(path / MANIFEST_NAME):
        graph, kind = read_bundle(path).graph(), "bundle"
    else:
        kind = model_format(path)
        graph = canonicalize(load_model(path, input_shapes))
    layers = tuple(_layer(graph, node) for node in graph.nodes)
    return InspectResult(
        name=graph.name or path.stem,
        format=kind,
        inputs=tuple(f"{value.name} {describe(value.type)}" for value in graph.inputs),
        outputs=tuple(f"{value.name} {describe(value.type)}" for value in graph.outputs),
        macs=sum(layer.macs for layer in layers),
        parameters=sum(array.size for array in graph.constants.values()),
        constant_bytes=sum(array.nbytes for array in graph.constants.values()),
        layers=layers,
        targets=tuple(_fit(graph, load_target(name)) for name in (target_names() if targets is None else targets)),
        text=print_graph(graph),
    )


def _layer(graph: Graph, node: Node) -> LayerFacts:
    constants = {value.name: graph.constants[value.name].nbytes for value in node.inputs if value.name in graph.constants}
    output = node.output.type
    return LayerFacts(node.name, node.op, output.shape, str(output.dtype), macs(node), sum(constants.values()))


def _fit(graph: Graph, target: Target) -> TargetFit:
    """Try to lower the graph for the target; the first thing that it lacks is kept. Of targets without C nothing is told."""
    if "c" not in target.formats:
        return TargetFit(target.name, None, None, None)
    try:
        program = lower(graph, target)
    except StropError as fault:
        return TargetFit(target.name, None, None, fault)
    return TargetFit(target.name, program.plan.arena_bytes, program.weight_bytes, None)
