"""Files with stored weights read back: the same numbers, blocks of any length, and integers kept where a kernel reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.float_cases import assert_close
from tests.support.stored_graphs import samples_of, stored_layers, written_out
from toolchain.api.quantizing import precision_of
from toolchain.backends.onnx.writer import write_onnx
from toolchain.backends.tflite.writer import write_tflite
from toolchain.frontends.load import load_model
from toolchain.ir.types import DType
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import run


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_files_read_back_mean_the_same(suffix: str, seed: int, tmp_path: Path) -> None:
    """Transposed convolutions aside, which other tests read."""
    graph = stored_layers(seed, ops=("conv_2d", "fully_connected", "depthwise_conv_2d"))
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(write_onnx(graph) if suffix == "onnx" else write_tflite(graph))
    sample = samples_of(graph, seed)
    read = canonicalize(load_model(path))
    for output, found, wanted in zip(graph.outputs, run(read, sample), run(written_out(graph), sample), strict=True):
        assert_close(found, wanted, f"{output.name} of seed {seed}")


def test_int8_of_an_onnx_file_stays_int8(tmp_path: Path) -> None:
    graph = stored_layers(1, (DType.I8,), ("conv_2d", "depthwise_conv_2d"), blocks=(None,))
    (tmp_path / "model.onnx").write_bytes(write_onnx(graph))
    read = canonicalize(load_model(tmp_path / "model.onnx"))
    assert precision_of(read) == precision_of(graph) == "w8"
    kept = [node for node in read.nodes if node.op == "dequantize"]
    assert len(kept) == len(graph.outputs)
    assert {node.inputs[0].type.dtype for node in kept} == {DType.I8}
