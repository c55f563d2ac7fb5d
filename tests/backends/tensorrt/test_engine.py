"""Engines that TensorRT-RTX builds here: for every GPU, in every precision, their int8 layers, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from jsonschema import validate

from targets.load import load_target, load_target_file
from tests.property.cases import FLOAT32, random_case
from tests.support.calibrated import executor
from tests.support.mlperf import MLPERF, needs_mlperf
from tests.support.tensorrt import SMS, needs_rtx, small_float_graph
from toolchain.api import compile, verify
from toolchain.backends.tensorrt import backend
from toolchain.backends.tensorrt.backend import build, emit_tensorrt
from toolchain.backends.tensorrt.standalone import Batch, Step, plan_steps
from toolchain.bundle.read import read_bundle
from toolchain.errors import EnvironmentFault, TargetError, UsageError
from toolchain.ir.graph import Graph
from toolchain.passes.canonical import canonicalize

SCHEMA = Path(__file__).parents[3] / "toolchain" / "bundle" / "manifest.schema.json"


def int8_graph() -> Graph:
    from calibration.prepare import quantize_with

    rng = np.random.default_rng(5)
    samples = [(rng.standard_normal((1, 5, 6, 4)).astype(np.float32),) for _ in range(3)]
    return canonicalize(quantize_with(small_float_graph(), samples, executor).graph)


@needs_rtx
@pytest.mark.parametrize("target", SMS)
def test_engines_for_every_gpu(target: str) -> None:
    for graph, half, real in ((small_float_graph(), True, "f16"), (int8_graph(), False, "f16" if SMS[target] == 75 else "f32")):
        emitted = emit_tensorrt(graph, load_target(target), "net", half=half)
        facts = emitted.section["engine"]
        assert isinstance(facts, dict)
        assert emitted.section["file"] == f"tensorrt/net_sm{SMS[target]}.engine"
        assert (facts["sm"], facts["real"], facts["batch"], facts["layers"]) == (SMS[target], real, [1, 1, 1], 2)
        assert facts["int8_layers"] == (0 if half else 1 if SMS[target] == 75 else 2)
        assert facts["kernels"] > facts["layers"]
        assert facts["package"].startswith("tensorrt_rtx ")


@needs_rtx
@pytest.mark.parametrize(
    ("op", "seed", "target", "said"),
    [
        ("lstm", 1, "rtx_2080", r"E305 y0: rtx_2080 \(SM 75\): FP32 GEMM is not supported\. Use --precision float16"),
        ("rnn", 1, "rtx_2080", r"E305 y0: rtx_2080 \(SM 75\): FP32 GEMM is not supported"),
        ("scatter_nd", 0, "a100", r"E305 y0: a100 \(SM 80\): ScatterND is refused: .* reduction is not supported\. Use"),
        ("scatter_elements", 0, "a100", r"E305 y0: a100 \(SM 80\): ScatterElements is refused: Unsupported reduction type"),
    ],
)
def test_refused_layers_are_named_as_the_graph_names_them(op: str, seed: int, target: str, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        emit_tensorrt(random_case(op, FLOAT32, seed).graph, load_target(target), "net")


@needs_rtx
def test_the_same_graph_gives_the_same_bytes() -> None:
    first, again = (emit_tensorrt(int8_graph(), load_target("rtx_4090"), "net").files for _ in range(2))
    assert first == again


@needs_rtx
def test_float32_products_are_refused_on_turing_by_the_layers_name() -> None:
    with pytest.raises(TargetError) as fault:
        emit_tensorrt(small_float_graph(), load_target("rtx_2080"), "net")
    said = "rtx_2080 (SM 75): FP32 GEMM is not supported. Use --precision float16, or --calibrate DATA for int8."
    assert str(fault.value) == f"E305 logits: {said}"
    assert emit_tensorrt(small_float_graph(), load_target("a100"), "net").files


@needs_rtx
def test_a_build_that_failed_does_not_change_the_next() -> None:
    first = emit_tensorrt(small_float_graph(), load_target("a100"), "net", half=True).files
    with pytest.raises(TargetError):
        emit_tensorrt(small_float_graph(), load_target("rtx_2080"), "net")
    assert emit_tensorrt(small_float_graph(), load_target("a100"), "net", half=True).files == first


@needs_rtx
def test_a_builder_that_crashes_or_hangs_is_a_coded_error(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("a100")
    with pytest.raises(EnvironmentFault, match=r"E405 tensorrt_rtx: building took longer than 0.001 s"):
        build(b"", target, timeout_s=0.001)
    with pytest.raises(EnvironmentFault, match=r"E405 TensorRT: the model is refused: .*Failed to parse the ONNX model"):
        build(b"no model", target)
    monkeypatch.setattr(backend, "_script", lambda: b"import os; os.abort()")
    with pytest.raises(EnvironmentFault, match=r"E405 tensorrt_rtx: the builder ended with status -6"):
        build(b"", target)


@needs_rtx
def test_batches() -> None:
    emitted = emit_tensorrt(int8_graph(), load_target("a10_rtx3090"), "net", batch=Batch(1, 8, 32))
    facts = emitted.section["engine"]
    assert isinstance(facts, dict)
    assert facts["batch"] == [1, 8, 32]
    assert facts["int8_layers"] == 2
    assert json.loads(emitted.files["tensorrt/engine.json"])["batch"] == [1, 8, 32]


@needs_rtx
def test_a_gpu_that_the_package_does_not_know(tmp_path: Path) -> None:
    board = (Path(__file__).parents[3] / "targets" / "boards" / "rtx_4090.toml").read_text()
    (tmp_path / "gpu.toml").write_text(board.replace('"8.9"', '"6.1"'))
    with pytest.raises(
        TargetError, match=r"E306 rtx_4090: tensorrt_rtx .* does not build for it; it builds for SM 75, 80, 86, 89"
    ):
        emit_tensorrt(small_float_graph(), load_target_file(tmp_path / "gpu.toml"), "net", half=True)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EnvironmentFault, match=r"E404 tensorrt_rtx: .* pip install 'strop\[tensorrt\]'"):
        emit_tensorrt(small_float_graph(), load_target("rtx_4090"), "net", half=True)
    assert emit_tensorrt(small_float_graph(), load_target("h100"), "net", half=True).section["file"] == "tensorrt/net.onnx"


def test_a_target_without_a_gpu_is_refused() -> None:
    with pytest.raises(TargetError, match="E306 host: format 'tensorrt' needs a GPU"):
        emit_tensorrt(small_float_graph(), load_target("host"), "net")


@needs_mlperf
@pytest.mark.parametrize("target", ["jetson_orin_nano_gpu", pytest.param("dgx_spark", marks=needs_rtx)])
def test_a_bundle_is_complete_and_runs_on_a_gpu_alone(target: str, tmp_path: Path) -> None:
    compile(MLPERF / "kws_int8.tflite", target, tmp_path / "b", name="kws", batch=Batch(1, 4, 16))
    bundle = read_bundle(tmp_path / "b")
    document = json.loads((tmp_path / "b" / "manifest.json").read_text())
    validate(document, json.loads(SCHEMA.read_text()))
    facts = bundle.manifest.formats["tensorrt"].engine
    assert facts is not None
    assert facts.batch == (1, 4, 16)
    assert (facts.int8_layers, facts.layers) == ((10, 10) if target == "dgx_spark" else (None, None))
    assert {"tensorrt/build_engine.py", "tensorrt/engine.json", "tensorrt/samples.npz"} < set(bundle.manifest.files)
    with pytest.raises(EnvironmentFault, match=r"E40[34] (gpu|pycuda|tensorrt)"):
        verify(tmp_path / "b")


@needs_mlperf
def test_batches_are_for_formats_that_have_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="E901 --batch: c take one sample at a time"):
        compile(MLPERF / "kws_int8.tflite", "host", tmp_path / "b", formats=("c",), batch=Batch(1, 4, 16))


PLAN = b"""...\n  tensor={ dims={ 1 4 } name="a" type=int8 }
  tensor={ name="w" offset=2 type=int8 }
  tensor={ name="b" type=float }
  sub_tensor={ base="a" name="c" type=half }
main {
 label bb1:
  function={ name=__myl_Mul fqn=x args={ "b" "a" } input_args={ "b" } output_args={ "a" } }
  corrltn={ name="conv::Conv" output={"b" } input={"a" "w" "b" } stream=0 layers="[ONNX Layer: conv::Conv]
[ONNX Layer: conv::Dequantize]" }
  avgpool={ name="pool" output={"c" } input={"c" } }
}
main is over\n}"""


def test_the_text_of_a_plan_tells_its_kernels() -> None:
    steps = plan_steps(PLAN)
    assert steps == (
        Step("__myl_Mul", "function", ("float",)),
        Step("conv::Conv", "corrltn", ("int8", "int8", "float"), ("conv::Conv", "conv::Dequantize")),
        Step("pool", "avgpool", ("half",)),
    )
    assert [step.is_product for step in steps] == [False, True, False]
    assert plan_steps(b"no text") == plan_steps(b"\nmain { cut") == ()
