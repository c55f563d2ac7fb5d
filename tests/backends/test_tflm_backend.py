"""The TFLM project: its arena figures, its registrations, its C++."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtimes.tflm_engine import run_tflite_micro
from tests.support.mlperf import MLPERF, MODELS, needs_mlperf
from toolchain.backends.tflite.packer import pack
from toolchain.backends.tflite.planned import unplanned, with_offsets
from toolchain.backends.tflite.planner import Lifetime, greedy_bytes, lifetimes
from toolchain.backends.tflite.writer import export_graph, write_tflite
from toolchain.backends.tflm.arena import measure_arena, open_interpreter, smallest_arena
from toolchain.backends.tflm.backend import emit_tflm
from toolchain.backends.tflm.resolver import method_of, registrations
from toolchain.errors import EnvironmentFault, TargetError
from toolchain.frontends.tflite.load import load_tflite
from toolchain.ir.attrs import ActivationAttrs, SliceAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import f32, i8, per_tensor

pytest.importorskip("tflite_micro")
# TFLM's arena_used_bytes with CMSIS-NN on a Cortex-M4, measured on the converter's files.
M4_ARENA_BYTES = {"ic": 54_996, "vww": 100_708, "kws": 22_820, "ad": 2_580}
# Bytes that TFLM's recording allocator reports for the head of the arena, that is for the tensors.
HEAD_BYTES = {"ic": 49_152, "vww": 73_728, "kws": 16_000, "ad": 768}


@needs_mlperf
@pytest.mark.parametrize("model", MODELS)
def test_the_arena_runs_and_sixteen_bytes_less_do_not(model: str) -> None:
    graph = load_tflite(MLPERF / f"{model}_int8.tflite")
    emitted = emit_tflm(graph, model)
    data = emitted.files[f"tflm/{model}.tflite"]
    arena: Any = emitted.section["arena_bytes_host"]
    x = np.zeros(graph.inputs[0].type.shape, np.int8)
    wanted = run_tflite_micro((MLPERF / f"{model}_int8.tflite").read_bytes(), [x])[0]
    np.testing.assert_array_equal(run_tflite_micro(data, [x], arena_bytes=arena)[0], wanted)
    with pytest.raises(EnvironmentFault) as fault:
        run_tflite_micro(data, [x], arena_bytes=arena - 16)
    assert fault.value.number == 405
    reference: Any = emitted.section["arena_bytes_32bit"]
    assert reference <= arena


@needs_mlperf
@pytest.mark.parametrize("model", MODELS)
def test_the_arena_on_a_target_is_a_close_bound(model: str) -> None:
    graph = load_tflite(MLPERF / f"{model}_int8.tflite")
    cmsis_nn = measure_arena(unplanned(graph, compact=True, signature=False), graph).cmsis_nn
    assert M4_ARENA_BYTES[model] <= cmsis_nn <= M4_ARENA_BYTES[model] * 1.1 + 1200


@needs_mlperf
@pytest.mark.parametrize("model", MODELS)
def test_the_planner_is_that_of_tflm(model: str) -> None:
    file = export_graph(load_tflite(MLPERF / f"{model}_int8.tflite"), compact=False, signature=True)
    assert greedy_bytes(lifetimes(file).values()) == HEAD_BYTES[model]


def test_greedy_plan_by_hand() -> None:
    assert greedy_bytes([]) == 0
    assert greedy_bytes([Lifetime(64, 0, 1), Lifetime(32, 1, 2), Lifetime(64, 2, 3)]) == 96
    assert greedy_bytes([Lifetime(16, 0, 0), Lifetime(16, 1, 1)]) == 16


def slice_graph() -> Graph:
    """A model whose kernel follows a null pointer when the arena is a little too small."""
    x = Value("x", i8((1, 8, 8, 4), 0.5))
    node = make_node("slice", [x], ["y"], SliceAttrs((0, 7, 0, 0), (1, -1, 8, 4), (1, -1, 2, 1)))
    return Graph("slice", (x,), node.outputs, (node,))


def test_a_kernel_that_crashes_in_a_small_arena_is_measured_all_the_same() -> None:
    data = write_tflite(slice_graph(), compact=True)
    arena = smallest_arena(data, 1 << 16, "slice")
    x = np.arange(256, dtype=np.int16).astype(np.int8).reshape(1, 8, 8, 4)
    np.testing.assert_array_equal(run_tflite_micro(data, [x], arena_bytes=arena)[0], x[:, ::-1, ::2])
    assert arena < 2048


def test_a_model_that_does_not_fit_the_limit() -> None:
    with pytest.raises(TargetError) as fault:
        smallest_arena(write_tflite(slice_graph()), 256, "slice")
    assert (fault.value.number, fault.value.place) == (305, "slice")


def test_an_offline_plan_is_obeyed() -> None:
    x = Value("x", f32(1, 64))
    first = make_node("abs", [x], ["a"])
    second = make_node("neg", [first.output], ["y"])
    graph = Graph("plan", (x,), second.outputs, (first, second))
    sample = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)
    file = export_graph(graph, compact=True, signature=False)
    tight, loose = (pack(with_offsets(file, dict(enumerate(offsets)))) for offsets in ((0, 256, 0), (0, 4096, 8192)))
    for data in (tight, loose):
        np.testing.assert_array_equal(run_tflite_micro(data, [sample])[0], -np.abs(sample))
    assert 7500 < smallest_arena(loose, 1 << 16, "plan") - smallest_arena(tight, 1 << 16, "plan") < 8500


@pytest.mark.parametrize(
    ("builtin", "method"),
    [
        ("CONV_2D", "AddConv2D"),
        ("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D"),
        ("FULLY_CONNECTED", "AddFullyConnected"),
        ("AVERAGE_POOL_2D", "AddAveragePool2D"),
        ("RELU6", "AddRelu6"),
        ("RESIZE_NEAREST_NEIGHBOR", "AddResizeNearestNeighbor"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM"),
        ("L2_NORMALIZATION", "AddL2Normalization"),
        ("ARG_MAX", "AddArgMax"),
        ("TILE", None),
    ],
)
def test_methods_of_the_resolver(builtin: str, method: str | None) -> None:
    assert method_of(builtin) == method


def test_registrations_are_typed_only_where_all_agree() -> None:
    x, z = Value("x", i8((1, 4), 0.5)), Value("z", f32(1, 4))
    small = make_node("add", [x, x], ["y"], ActivationAttrs(), per_tensor(1.0))
    large = make_node("add", [z, z], ["w"], ActivationAttrs())
    typed = Graph("one", (x,), small.outputs, (small,))
    mixed = Graph("two", (x, z), (*small.outputs, *large.outputs), (small, large))
    assert registrations(export_graph(typed, compact=True, signature=False), "m") == ("AddAdd(tflite::Register_ADD_INT8())",)
    assert registrations(export_graph(mixed, compact=True, signature=False), "m") == ("AddAdd()",)


def test_an_operator_that_tflm_lacks() -> None:
    x = Value("x", f32(1, 4))
    node = make_node("sign", [x], ["y"])
    with pytest.raises(TargetError) as fault:
        emit_tflm(Graph("signs", (x,), node.outputs, (node,)), "signs")
    assert fault.value.number == 305
    assert "SIGN" in fault.value.message


@needs_mlperf
def test_the_same_model_gives_the_same_files() -> None:
    graph = load_tflite(MLPERF / "ad_int8.tflite")
    assert emit_tflm(graph, "ad") == emit_tflm(graph, "ad")


STUBS = {
    "tensorflow/lite/micro/micro_mutable_op_resolver.h": """#pragma once
        enum TfLiteStatus { kTfLiteOk, kTfLiteError };
        struct TFLMRegistration { int code; };
        namespace tflite {
        inline TFLMRegistration Register_ADD_INT8() { return {1}; }
        inline TFLMRegistration Register_FULLY_CONNECTED_INT8() { return {2}; }
        template <unsigned int n> struct MicroMutableOpResolver {
          TfLiteStatus AddAdd(const TFLMRegistration &) { return kTfLiteOk; }
          TfLiteStatus AddFullyConnected(const TFLMRegistration &) { return kTfLiteOk; }
        };
        }""",
    "tensorflow/lite/micro/micro_interpreter.h": """#pragma once
        #include <cstddef>
        #include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
        #include "tensorflow/lite/schema/schema_generated.h"
        struct TfLiteTensor { struct { void *data; } data; };
        namespace tflite {
        struct MicroInterpreter {
          template <class R> MicroInterpreter(const Model *, const R &, unsigned char *, std::size_t size) : used(size) {}
          TfLiteStatus AllocateTensors() { return kTfLiteOk; }
          TfLiteStatus Invoke() { return kTfLiteOk; }
          TfLiteTensor *input(std::size_t) { return &tensor; }
          TfLiteTensor *output(std::size_t) { return &tensor; }
          std::size_t arena_used_bytes() const { return used; }
          TfLiteTensor tensor{}; std::size_t used;
        };
        }""",
    "tensorflow/lite/schema/schema_generated.h": """#pragma once
        constexpr unsigned TFLITE_SCHEMA_VERSION = 3;
        namespace tflite {
        struct Model { unsigned version() const { return 3; } };
        inline const Model *GetModel(const void *data) { return static_cast<const Model *>(data); }
        }""",
    **{
        f"tensorflow/lite/micro/kernels/{name}.h": "#pragma once\n"
        for name in ("add", "conv", "depthwise_conv", "fully_connected", "mul", "pooling", "softmax", "transpose_conv")
    },
}
MAIN = """#include <cstdio>
#include "ad_model.h"
#include "ad_tflm.h"
int main() {
  if (ad_init() != 0 || ad_run() != 0) return 1;
  std::printf("%zu %zu %d", ad_model_bytes, ad_arena_used(), ad_model[4] == 'T' && ad_model[7] == '3');
}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the ad model beside headers that stand for TFLM's."""
    emitted = emit_tflm(load_tflite(MLPERF / "ad_int8.tflite"), "ad")
    for path, data in emitted.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    for path, text in STUBS.items():
        (tmp_path / "stubs" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "stubs" / path).write_text(text)
    return tmp_path


@needs_mlperf
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_sources_compile_without_warnings_and_carry_the_model(project: Path) -> None:
    (project / "main.cc").write_text(MAIN)
    sources = [project / "tflm" / "ad_model.cc", project / "tflm" / "ad_tflm.cc", project / "main.cc"]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{project / 'stubs'}", f"-I{project / 'tflm'}"]
    subprocess.run(["g++", *flags, *map(str, sources), "-o", str(project / "run")], check=True, timeout=120)
    said = subprocess.run([str(project / "run")], check=True, capture_output=True, text=True, timeout=60).stdout.split()
    assert said[0] == str((project / "tflm" / "ad.tflite").stat().st_size)
    emitted = emit_tflm(load_tflite(MLPERF / "ad_int8.tflite"), "ad")
    assert (said[1], said[2]) == (str(emitted.section["arena_bytes_host"]), "1")


@needs_mlperf
@pytest.mark.skipif(shutil.which("arm-none-eabi-g++") is None, reason="the Arm GCC is not installed")
@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (("-mcpu=cortex-m4",), "arena_bytes_32bit"),
        (("-mcpu=cortex-m4", "-DCMSIS_NN"), "arena_bytes_32bit_cmsis_nn"),
        (("-mcpu=cortex-m55", "-mfloat-abi=hard", "-DCMSIS_NN"), "arena_bytes_32bit_cmsis_nn_mve"),
    ],
)
def test_the_arena_follows_the_target(project: Path, flags: tuple[str, ...], key: str) -> None:
    wanted = emit_tflm(load_tflite(MLPERF / "ad_int8.tflite"), "ad").section[key]
    library = project / "library"  # Debian's compiler comes without the C++ library
    library.mkdir(exist_ok=True)
    (library / "cstddef").write_text("#include <stddef.h>\nnamespace std { using ::size_t; }\n")
    (library / "cstdint").write_text("#include <stdint.h>\nnamespace std { using ::uint8_t; }\n")
    check = f'#include "ad_model.h"\nstatic_assert(AD_TFLM_ARENA_BYTES == {wanted}, "arena");\n'
    command = [
        "arm-none-eabi-g++",
        "-std=c++17",
        *flags,
        "-fsyntax-only",
        f"-I{project / 'tflm'}",
        f"-isystem{library}",
        "-x",
        "c++",
        "-",
    ]
    subprocess.run(command, input=check, text=True, check=True, timeout=60)


@needs_mlperf
@pytest.mark.skipif(shutil.which("cmake") is None or shutil.which("g++") is None, reason="CMake or g++ is not installed")
def test_the_cmake_project(project: Path) -> None:
    build, source = project / "build", project / "tflm"
    refused = subprocess.run(["cmake", "-S", source, "-B", build], capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode != 0
    assert "TFLM_DIR" in refused.stderr
    (project / "empty.cc").write_text("int tflm_stub() { return 0; }\n")
    subprocess.run(["g++", "-c", "empty.cc", "-o", "empty.o"], cwd=project, check=True, timeout=60)
    subprocess.run(["ar", "rcs", "libtflm.a", "empty.o"], cwd=project, check=True, timeout=60)
    options = [f"-DTFLM_DIR={project / 'stubs'}", f"-DTFLM_LIBRARY={project / 'libtflm.a'}"]
    subprocess.run(["cmake", "-S", source, "-B", build, *options], check=True, capture_output=True, timeout=120)
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True, timeout=240)
    assert (build / "libad.a").is_file()


def test_the_interpreter_that_refuses_leaves_its_words() -> None:
    x = Value("x", f32(1, 64))
    node = make_node("abs", [x], ["y"])
    log: list[str] = []
    assert all(open_interpreter(write_tflite(Graph("a", (x,), node.outputs, (node,))), size, log) is None for size in (16, 768))
    assert "".join(log).strip()
