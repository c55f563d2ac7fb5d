"""Files for TensorFlow Lite Micro: the model, its operators, its arena, and a CMake project that builds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.backends.tflite.packer import FileModel, pack
from toolchain.backends.tflite.planned import Planned, planned, tensor_section, unplanned
from toolchain.backends.tflm.arena import ArenaBytes, measure_arena
from toolchain.backends.tflm.resolver import registrations
from toolchain.backends.tflm.templates import CMAKE, MODEL_HEADER, MODEL_SOURCE, OPS_HEADER, RUN_HEADER, RUN_SOURCE
from toolchain.ir.graph import Graph

BYTES_PER_LINE = 20
FOLDER = "tflm"


@dataclass(frozen=True, slots=True)
class EmittedTflm:
    """Files by path relative to the bundle, and the manifest's object of the format."""

    files: Mapping[str, bytes]
    section: Mapping[str, object]


def emit_tflm(graph: Graph, name: str) -> EmittedTflm:
    """The TFLM project of a graph. name: a C identifier, prefix of files and symbols.

    Raises TargetError(305) for what TFLM cannot run, EnvironmentFault(404) without the tflite-micro package, which measures
    the arena.
    """
    file, arena = _measured(graph)
    calls = registrations(file.model, graph.name)
    data = pack(file.model)
    words = _words(name, data, arena, calls, file.model)
    texts = {
        f"{name}_model.h": MODEL_HEADER,
        f"{name}_model.cc": MODEL_SOURCE,
        f"{name}_ops.h": OPS_HEADER,
        f"{name}_tflm.h": RUN_HEADER,
        f"{name}_tflm.cc": RUN_SOURCE,
        "CMakeLists.txt": CMAKE,
    }
    files = {f"{FOLDER}/{path}": _fill(text, words).encode() for path, text in texts.items()}
    files[f"{FOLDER}/{name}.tflite"] = data
    return EmittedTflm(files, {**_section(name, arena, calls), **tensor_section(file)})


def _measured(graph: Graph) -> tuple[Planned, ArenaBytes]:
    """The file and its arena; with TFLM's own plan where its interpreter then takes less than with ours."""
    file = planned(graph, compact=True, signature=False)
    arena = measure_arena(file, graph)
    if file.bytes != file.own:
        plain = unplanned(graph, compact=True, signature=False)
        own = measure_arena(plain, graph)
        if own.host < arena.host:
            return plain, own
    return file, arena


def _section(name: str, arena: ArenaBytes, calls: tuple[str, ...]) -> dict[str, object]:
    return {
        "file": f"{FOLDER}/{name}.tflite",
        "header": f"{FOLDER}/{name}_tflm.h",
        "sources": [f"{FOLDER}/{name}_model.cc", f"{FOLDER}/{name}_tflm.cc"],
        "project": f"{FOLDER}/CMakeLists.txt",
        "registrations": list(calls),
        "arena_bytes_host": arena.host,
        "arena_bytes_32bit": arena.reference,
        "arena_bytes_32bit_cmsis_nn": arena.cmsis_nn,
        "arena_bytes_32bit_cmsis_nn_mve": arena.cmsis_nn_mve,
    }


def _words(name: str, data: bytes, arena: ArenaBytes, calls: tuple[str, ...], model: FileModel) -> dict[str, str]:
    """What the templates' places stand for."""
    return {
        "name": name,
        "NAME": name.upper(),
        "model_bytes": str(len(data)),
        "model_rows": _rows(data),
        "op_count": str(len(calls)),
        "op_calls": "\n".join(f"  if (resolver.{call} != kTfLiteOk) return kTfLiteError;" for call in calls),
        "arena_host": str(arena.host),
        "arena_reference": str(arena.reference),
        "arena_cmsis_nn": str(arena.cmsis_nn),
        "arena_cmsis_nn_mve": str(arena.cmsis_nn_mve),
        "input_count": str(len(model.inputs)),
        "output_count": str(len(model.outputs)),
    }


def _rows(data: bytes) -> str:
    rows = (data[start : start + BYTES_PER_LINE] for start in range(0, len(data), BYTES_PER_LINE))
    return "\n".join("    " + "".join(f"{byte}," for byte in row) for row in rows)


def _fill(text: str, words: Mapping[str, str]) -> str:
    """Replace every `@word@`."""
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text
