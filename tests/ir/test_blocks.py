"""Scales for blocks of a channel: their meaning against loops written out by hand, their text, and what the verifier refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.stored_graphs import samples_of, stored_layers, written_out
from toolchain.bundle.graph_files import CONSTANTS_NAME, TEXT_NAME, graph_files, read_graph
from toolchain.errors import ModelError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.text import print_type
from toolchain.ir.types import DType, Quant, TensorType
from toolchain.ir.verifier import verify
from toolchain.reference.evaluator import run


def by_hand(stored: np.ndarray, quant: Quant) -> np.ndarray:
    """Channel by channel: the channel's elements in order, each times the scale of its block."""
    real = np.zeros(stored.shape, np.float32)
    scales = list(quant.scale)
    assert quant.axis is not None
    assert quant.block is not None
    for channel in range(stored.shape[quant.axis]):
        row = np.take(stored, channel, axis=quant.axis).reshape(-1)
        out = np.zeros(len(row), np.float32)
        for start in range(0, len(row), quant.block):
            out[start : start + quant.block] = row[start : start + quant.block] * np.float32(scales.pop(0))
        place = tuple(channel if axis == quant.axis else slice(None) for axis in range(stored.ndim))
        real[place] = out.reshape(real[place].shape)
    assert not scales
    return real


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple), st.data())
def test_blocks_are_counted_along_the_rest_of_a_channel(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis, block = data.draw(st.integers(0, len(shape) - 1)), data.draw(st.integers(1, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rest = int(np.prod(shape)) // shape[axis]
    count = shape[axis] * -(-rest // block)
    quant = Quant(tuple(rng.uniform(0.1, 9, count).astype(np.float32).tolist()), (0,) * count, axis, block)
    stored = rng.integers(-8, 8, shape).astype(np.int8)
    real = dequantize_array(stored, quant)
    np.testing.assert_array_equal(real, by_hand(stored, quant))
    np.testing.assert_array_equal(quantize_array(real, DType.I4, quant), stored)


def test_the_text_says_blocks() -> None:
    quant = Quant((0.5, 0.25, 1.0, 2.0), (0,) * 4, 0, 3)
    wanted = "i4[2,5] quant(axis=0, block=3, scale=(0.5, 0.25, 1.0, 2.0), zero_point=0)"
    assert print_type(TensorType((2, 5), DType.I4, quant)) == wanted


def test_a_bundle_keeps_stored_weights(tmp_path: Path) -> None:
    graph = stored_layers(8, each=1)
    for name, content in graph_files(graph).items():
        (tmp_path / name).write_bytes(content)
    read = read_graph(tmp_path / TEXT_NAME, tmp_path / CONSTANTS_NAME)
    assert read.nodes == graph.nodes
    sample = samples_of(graph, 1)
    for found, wanted in zip(run(read, sample), run(written_out(graph), sample), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("quant", "said"),
    [
        (Quant((0.5,) * 3, (0,) * 3, 0, 3), "3 scales and 3 zero points for 4 blocks"),
        (Quant((0.5,), (0,), None, 3), "blocks of 3 with axis None"),
        (Quant((0.5,) * 4, (0,) * 4, 0, 0), "blocks of 0 with axis 0"),
        (Quant((0.5,) * 4, (0, 0, 1, 0), 0, 3), "zero points (0, 0, 1, 0)"),
        (Quant((0.5,) * 4, (0,) * 4, 2, 3), "4 scales and 4 zero points for -1 blocks"),
    ],
)
def test_wrong_blocks_are_refused(quant: Quant, said: str) -> None:
    weights = Value("w", TensorType((2, 5), DType.I4, quant))
    node = make_node("dequantize", (weights,), ("y",))
    with pytest.raises(ModelError) as caught:
        verify(Graph("g", (), node.outputs, (node,), {"w": np.zeros((2, 5), np.int8)}))
    assert caught.value.code == "E111"
    assert said in str(caught.value)
