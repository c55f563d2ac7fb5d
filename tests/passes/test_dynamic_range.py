"""Which layers compute on integers with inputs quantized at run time, and how near they come."""

from __future__ import annotations

import numpy as np

from tests.support.float_graphs import random_network
from tests.support.stored_graphs import samples_of, stored_layers
from toolchain.ir.types import DType
from toolchain.passes.canonical import canonicalize
from toolchain.passes.dynamic_range import with_dynamic_range
from toolchain.passes.store_weights import parse_form, store_weights
from toolchain.reference.evaluator import run


def test_every_layer_that_has_a_form_takes_it() -> None:
    graph = with_dynamic_range(stored_layers(2, (DType.I8,), blocks=(None,)))
    ops = [node.op for node in graph.nodes]
    assert ops.count("dequantize") == ops.count("transpose_conv_2d") == 3
    assert {op for op in ops if op not in ("dequantize", "transpose_conv_2d")} == {
        "dynamic_conv_2d",
        "dynamic_fully_connected",
        "dynamic_depthwise_conv_2d",
    }


def test_blocks_and_int4_stay_real() -> None:
    for dtype, block in ((DType.I8, 2), (DType.I4, None)):
        graph = stored_layers(4, (dtype,), ("fully_connected",), blocks=(block,))
        kept = [node for node in graph.nodes if node.op == "fully_connected" and node.inputs[0].type.shape[-1] > 2]
        assert kept
        made = {node.name: node.op for node in with_dynamic_range(graph).nodes}
        assert all(made[node.name] == "fully_connected" for node in kept), "scales of blocks are not factors of a sum"


def test_random_networks_stay_close_to_float() -> None:
    form = parse_form("w8")
    assert form is not None
    for seed in range(12):
        real = canonicalize(random_network(seed, softmax=False))
        graph = with_dynamic_range(store_weights(real, form))
        sample = samples_of(real, seed)
        for found, wanted in zip(run(graph, sample), run(real, sample), strict=True):
            assert np.abs(found - wanted).max() <= 0.05 * max(float(np.abs(wanted).max()), 1e-6), seed
