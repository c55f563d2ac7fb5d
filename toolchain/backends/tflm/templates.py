"""Texts of the TFLM project; `@word@` is replaced by the backend."""

from __future__ import annotations

MODEL_HEADER = """/* The model @name@ as a .tflite file, and the arena it needs in TensorFlow Lite Micro. */
#ifndef @NAME@_MODEL_H
#define @NAME@_MODEL_H

#include <cstddef>
#include <cstdint>

extern const unsigned char @name@_model[];
extern const std::size_t @name@_model_bytes;

/* 64-bit hosts: measured, the smallest that allocates with reference kernels. 32-bit targets: upper bounds, derived
 * from it; with CMSIS-NN the scratch buffers of its kernels are planned in. */
#if UINTPTR_MAX > 0xFFFFFFFFu
constexpr std::size_t @NAME@_TFLM_ARENA_BYTES = @arena_host@;
#elif defined(CMSIS_NN) && defined(__ARM_FEATURE_MVE)
constexpr std::size_t @NAME@_TFLM_ARENA_BYTES = @arena_cmsis_nn_mve@;
#elif defined(CMSIS_NN)
constexpr std::size_t @NAME@_TFLM_ARENA_BYTES = @arena_cmsis_nn@;
#else
constexpr std::size_t @NAME@_TFLM_ARENA_BYTES = @arena_reference@;
#endif
constexpr std::size_t @NAME@_TFLM_ARENA_ALIGN = 16;

#endif
"""

MODEL_SOURCE = """#include "@name@_model.h"

extern const std::size_t @name@_model_bytes = @model_bytes@;
alignas(16) extern const unsigned char @name@_model[@model_bytes@] = {
@model_rows@
};
"""

OPS_HEADER = """/* The operators that the model @name@ uses, and no others. */
#ifndef @NAME@_OPS_H
#define @NAME@_OPS_H

#include "tensorflow/lite/micro/kernels/add.h"
#include "tensorflow/lite/micro/kernels/conv.h"
#include "tensorflow/lite/micro/kernels/depthwise_conv.h"
#include "tensorflow/lite/micro/kernels/fully_connected.h"
#include "tensorflow/lite/micro/kernels/mul.h"
#include "tensorflow/lite/micro/kernels/pooling.h"
#include "tensorflow/lite/micro/kernels/softmax.h"
#include "tensorflow/lite/micro/kernels/transpose_conv.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

constexpr unsigned int @NAME@_TFLM_OP_COUNT = @op_count@;
using @name@_op_resolver = tflite::MicroMutableOpResolver<@NAME@_TFLM_OP_COUNT>;

inline TfLiteStatus @name@_register_ops(@name@_op_resolver &resolver) {
@op_calls@
  return kTfLiteOk;
}

#endif
"""

RUN_HEADER = """/* Runs the model @name@ with TensorFlow Lite Micro: init once, fill the inputs, run, read the outputs. */
#ifndef @NAME@_TFLM_H
#define @NAME@_TFLM_H

#include <cstddef>

constexpr std::size_t @NAME@_TFLM_INPUT_COUNT = @input_count@;
constexpr std::size_t @NAME@_TFLM_OUTPUT_COUNT = @output_count@;

/* 0, or 1: the schema version differs, 2: an operator is not registered, 3: the arena is too small. */
int @name@_init();
void *@name@_input(std::size_t index);
const void *@name@_output(std::size_t index);
/* 0, or 4: a kernel failed. */
int @name@_run();
/* Bytes of the arena in use after @name@_init. */
std::size_t @name@_arena_used();

#endif
"""

RUN_SOURCE = """#include "@name@_tflm.h"

#include "@name@_model.h"
#include "@name@_ops.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {
alignas(@NAME@_TFLM_ARENA_ALIGN) unsigned char arena[@NAME@_TFLM_ARENA_BYTES];
tflite::MicroInterpreter *interpreter = nullptr;
}  // namespace

int @name@_init() {
  const tflite::Model *model = tflite::GetModel(@name@_model);
  if (model->version() != TFLITE_SCHEMA_VERSION) return 1;
  static @name@_op_resolver resolver;
  static const TfLiteStatus registered = @name@_register_ops(resolver);
  if (registered != kTfLiteOk) return 2;
  static tflite::MicroInterpreter instance(model, resolver, arena, @NAME@_TFLM_ARENA_BYTES);
  if (instance.AllocateTensors() != kTfLiteOk) return 3;
  interpreter = &instance;
  return 0;
}

void *@name@_input(std::size_t index) { return interpreter->input(index)->data.data; }

const void *@name@_output(std::size_t index) { return interpreter->output(index)->data.data; }

int @name@_run() { return interpreter->Invoke() == kTfLiteOk ? 0 : 4; }

std::size_t @name@_arena_used() { return interpreter->arena_used_bytes(); }
"""

CMAKE = """# Builds the model @name@ as a static library on TensorFlow Lite Micro.
#   cmake -S . -B build -DTFLM_DIR=<tree> [-DTFLM_LIBRARY=<libtensorflow-microlite.a>] [-DCMAKE_TOOLCHAIN_FILE=...]
# TFLM_DIR is a tree made by TFLM's create_tflm_tree.py, or a checkout after `make third_party_downloads`.
# TFLM_LIBRARY is a library built from it; without one TFLM's reference kernels are built here.
# Define CMSIS_NN (-DTFLM_DEFINITIONS=CMSIS_NN) when that library has CMSIS-NN's kernels.
cmake_minimum_required(VERSION 3.16)
project(@name@_tflm CXX C)

set(TFLM_DIR "" CACHE PATH "Source tree of TensorFlow Lite Micro")
set(TFLM_LIBRARY "" CACHE FILEPATH "Built TensorFlow Lite Micro library")
set(TFLM_DEFINITIONS "" CACHE STRING "Preprocessor definitions that the library was built with")
if(NOT EXISTS "${TFLM_DIR}/tensorflow/lite/micro/micro_interpreter.h")
  message(FATAL_ERROR "TFLM_DIR='${TFLM_DIR}' holds no TensorFlow Lite Micro; give -DTFLM_DIR=<tree>")
endif()

set(third_party "${TFLM_DIR}/third_party")
if(NOT EXISTS "${third_party}/flatbuffers/include")
  set(third_party "${TFLM_DIR}/tensorflow/lite/micro/tools/make/downloads")
endif()
add_library(@name@ STATIC @name@_model.cc @name@_tflm.cc)
set_target_properties(@name@ PROPERTIES CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON)
target_compile_definitions(@name@ PUBLIC TF_LITE_STATIC_MEMORY ${TFLM_DEFINITIONS})
target_include_directories(@name@ PUBLIC
  "${CMAKE_CURRENT_SOURCE_DIR}" "${TFLM_DIR}" "${third_party}/flatbuffers/include" "${third_party}/gemmlowp" "${third_party}/ruy")
if(TFLM_LIBRARY)
  target_link_libraries(@name@ PUBLIC "${TFLM_LIBRARY}")
else()
  file(GLOB tflm_sources
    "${TFLM_DIR}/tensorflow/lite/micro/*.cc"
    "${TFLM_DIR}/tensorflow/lite/micro/arena_allocator/*.cc"
    "${TFLM_DIR}/tensorflow/lite/micro/kernels/*.cc"
    "${TFLM_DIR}/tensorflow/lite/micro/memory_planner/*.cc"
    "${TFLM_DIR}/tensorflow/lite/micro/tflite_bridge/*.cc"
    "${TFLM_DIR}/tensorflow/lite/core/c/*.cc"
    "${TFLM_DIR}/tensorflow/lite/core/api/*.cc"
    "${TFLM_DIR}/tensorflow/lite/kernels/*.cc"
    "${TFLM_DIR}/tensorflow/lite/kernels/internal/*.cc"
    "${TFLM_DIR}/tensorflow/lite/kernels/internal/reference/*.cc"
    "${TFLM_DIR}/tensorflow/compiler/mlir/lite/core/api/*.cc"
    "${TFLM_DIR}/tensorflow/compiler/mlir/lite/schema/*.cc"
    "${TFLM_DIR}/tensorflow/lite/schema/*.cc")
  list(FILTER tflm_sources EXCLUDE REGEX "_test\\\\.cc$|test_helpers|test_util")
  target_sources(@name@ PRIVATE ${tflm_sources})
endif()
"""
