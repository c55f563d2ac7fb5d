"""SavedModels: TensorFlow runs them and comes to the evaluator's numbers; they load again as what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.property.cases import CELLS, FLOAT32, INT8, random_case
from tests.support.float_cases import assert_close
from tests.support.float_graphs import random_network
from toolchain.backends.savedmodel.writer import FILE, write_savedmodel
from toolchain.backends.tfjs.table import EMITTERS
from toolchain.errors import TargetError
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.ir.quantization import dequantize_array, quant_of
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import run

tf: Any = pytest.importorskip("tensorflow")
# Ties go elsewhere, orders of equals are open, and what is quantized comes out in real units.
LOOSE = {"round", "top_k", "quantize"}
OPS = sorted(op for op in EMITTERS if FLOAT32 in CELLS.get(op, ()))


def saved(graph: Graph, folder: Path) -> Path:
    files = write_savedmodel(graph)
    assert list(files) == [FILE]
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(files[FILE])
    return folder


def outputs(folder: Path, graph: Graph, sample: Sequence[Array]) -> list[Array]:
    """What TensorFlow gives, in the graph's order."""
    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    # Whole numbers are int32 there, as in TF.js.
    arrays = [array.astype(np.int32) if array.dtype.kind in "iu" else array for array in sample]
    found = function(**{value.name: tf.constant(array) for value, array in zip(graph.inputs, arrays, strict=True)})
    return [found[value.name].numpy() for value in graph.outputs]


@pytest.mark.parametrize("op", OPS)
def test_every_op_in_tensorflow(op: str, tmp_path: Path) -> None:
    for seed in range(4):
        case = random_case(op, FLOAT32, seed)
        if not case.graph.inputs:
            continue
        try:
            folder = saved(case.graph, tmp_path / str(seed))
        except TargetError as fault:
            assert fault.number == 305
            continue
        for found, wanted in zip(outputs(folder, case.graph, case.samples), run(case.graph, case.samples), strict=True):
            if op not in LOOSE:
                assert_close(found.astype(wanted.dtype), wanted, f"{op} {seed}")


@pytest.mark.parametrize("seed", range(5))
def test_networks_load_again_as_what_was_written(seed: int, tmp_path: Path) -> None:
    graph = canonicalize(random_network(seed))
    folder = saved(graph, tmp_path / "net")
    sample = [np.random.default_rng(seed).standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs]
    assert_close(outputs(folder, graph, sample)[0], run(graph, sample)[0], str(seed))
    again = canonicalize(load_model(folder))
    assert_close(run(again, sample)[0].reshape(graph.outputs[0].type.shape), run(graph, sample)[0], str(seed))


def test_equal_graphs_give_equal_bytes() -> None:
    graph = canonicalize(random_network(3))
    assert write_savedmodel(graph) == write_savedmodel(graph)


@pytest.mark.parametrize("op", ["conv_2d", "depthwise_conv_2d", "fully_connected"])
def test_quantized_layers_are_float_on_their_quantized_weights(op: str, tmp_path: Path) -> None:
    """What is left of the integers are the weights that they stand for: within a step of the output, where none saturates."""
    for seed in range(4):
        case = random_case(op, INT8, seed)
        graph = case.graph
        folder = saved(graph, tmp_path / str(seed))
        real = [dequantize_array(array, quant_of(v.type)) for v, array in zip(graph.inputs, case.samples, strict=True)]
        stored, quant = run(graph, case.samples)[0], quant_of(graph.outputs[0].type)
        inside = (stored > -128) & (stored < 127)
        steps = np.abs(outputs(folder, graph, real)[0] - dequantize_array(stored, quant)) / quant.scalar_scale
        assert steps[inside].max(initial=0) <= 1.0, seed


def test_what_tensorflow_js_cannot_say_is_named() -> None:
    refused = next(op for op in sorted(CELLS) if op not in EMITTERS and FLOAT32 in CELLS[op])
    with pytest.raises(TargetError, match="E305"):
        write_savedmodel(random_case(refused, FLOAT32, 0).graph)
