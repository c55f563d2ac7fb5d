"""From trained parameters back to an integer graph and a file, and the proof that they compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from calibration.rows import to_real, to_stored
from toolchain.errors import ModelError, RunError, VerificationError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array, Quant, per_tensor
from toolchain.ir.verifier import verify
from toolchain.passes.quantize_parameters import bias_quant
from toolchain.passes.quantize_rules import BIAS
from toolchain.reference.batched import batched
from toolchain.reference.evaluator import run
from toolchain.training.plan import Plan, is_layer


def trained_graph(plan: Plan, stored: Mapping[str, Array], scales: Mapping[str, Array]) -> Graph:
    """The plan's graph with other stored constants (by name) and scales (by group). Raises ModelError E106, E111."""
    graph = plan.graph
    for name, array in (*stored.items(), *scales.items()):
        if not np.isfinite(array).all():
            raise ModelError(106, name, "training made it NaN or infinite", "Lower the learning rate")
    quants = {
        name: _with_scale(value, scales[plan.groups[name]]) for name, value in _quantized(graph).items() if name in plan.groups
    }
    for node in graph.nodes:
        if is_layer(node) and len(node.inputs) > BIAS and node.inputs[BIAS].name in stored:
            x, w, bias = node.inputs
            quants[bias.name] = bias_quant(quants[x.name].scalar_scale, np.array(quants[w.name].scale, np.float32))

    def typed(value: Value) -> Value:
        return Value(value.name, replace(value.type, quant=quants[value.name])) if value.name in quants else value

    types = {value.name: value.type for value in graph.values()}
    constants = {name: array.astype(types[name].dtype.numpy) for name, array in stored.items()}
    changed = graph.map_values(typed)
    return verify(replace(changed, constants=MappingProxyType({**changed.constants, **constants})))


def _quantized(graph: Graph) -> dict[str, Value]:
    return {value.name: value for value in graph.values() if value.type.quant is not None}


def _with_scale(value: Value, scale: Array) -> Quant:
    quant = quant_of(value.type)
    if quant.axis is None:
        return per_tensor(float(scale), quant.scalar_zero_point)
    return Quant(tuple(scale.astype(np.float32).tolist()), quant.zero_point, quant.axis)


def save_tflite(graph: Graph, path: str | Path) -> Path:
    """Write the graph as a .tflite file, which `strop compile` takes without calibration. Raises RunError E505."""
    from toolchain.backends.tflite.packer import pack
    from toolchain.backends.tflite.planned import planned

    place = Path(path)
    data = pack(planned(graph, compact=False, signature=True).model)
    new = place.with_name(f"{place.name}.new")
    try:
        new.write_bytes(data)
        new.replace(place)
    except OSError as fault:
        with suppress(OSError):
            new.unlink()
        raise RunError(505, str(place), f"the file cannot be written ({fault.strerror})", "Check the folder") from fault
    return place


def reference_outputs(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Outputs in real units of the reference evaluator for samples on axis 0, in real units."""
    stored = to_stored(inputs, graph.inputs)
    count = len(inputs[0])
    whole = graph if count == 1 else batched(graph, count)
    if whole is not None:
        found = list(run(whole, stored))
    else:
        rows = [run(graph, [array[index : index + 1] for array in stored]) for index in range(count)]
        joined = [np.stack(parts) for parts in zip(*rows, strict=True)]
        found = [a.reshape(-1, *a.shape[2:]) if a.shape[1:2] == (1,) else a for a in joined]
    return list(to_real(found, graph.outputs))


def check_outputs(graph: Graph, inputs: Sequence[Array], forward: Callable[[Sequence[Array]], Sequence[Array]]) -> int:
    """Hold a framework's outputs to the evaluator's; the number of samples. Raises VerificationError E601."""
    for value, found, wanted in zip(graph.outputs, forward(inputs), reference_outputs(graph, inputs), strict=True):
        wrong = int(np.sum(np.asarray(found) != wanted))
        if wrong or np.shape(found) != wanted.shape:
            what = f"{wrong:,} of {wanted.size:,} elements differ from the reference evaluator"
            hint = "Turn off reduced precision (TF32) and compilers that fuse operations"
            raise VerificationError(601, value.name, what, hint)
    return len(inputs[0])
