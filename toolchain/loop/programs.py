"""Scores of bundles' C programs on this machine: the bytes that devices give."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.rows import to_real
from toolchain.api.places import Where, run_samples, stored_outputs
from toolchain.bundle.read import read_bundle
from toolchain.ir.quantization import quantize_array
from toolchain.ir.types import Array

HOST = "host"


def device_scores(bundle: Path, x: Array) -> Array:
    """(n, classes) real scores of samples x (n, …). bundle: of any target; its twin for this machine, `host`, lies beside it."""
    return host_scores(bundle.parent / HOST, x)


def host_scores(bundle: Path, x: Array) -> Array:
    """(n, classes) real scores of samples x (n, …) by a bundle that was compiled for this machine."""
    opened = read_bundle(bundle)
    graph = opened.graph()
    first = graph.inputs[0].type
    if not len(x):
        return np.zeros((0, graph.outputs[0].type.elements), np.float32)
    rows = np.ascontiguousarray(x.reshape(len(x), *first.shape))
    stored = rows if first.quant is None else quantize_array(rows, first.dtype, first.quant)
    ran = run_samples(opened, Where("host"), [stored])
    found = to_real(tuple(stored_outputs(opened, ran.outputs)[:1]), graph.outputs[:1])[0]
    return found.reshape(len(found), -1)
