"""The format `library`: a bundle's C program as a shared library of Linux, with a Python module that runs it."""

from __future__ import annotations

import importlib.resources
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from firmware.linux import build_library
from firmware.program import CProgram
from targets.model import Linux
from toolchain.api.describing import tensor_info
from toolchain.bundle.manifest import TensorInfo
from toolchain.errors import TargetError
from toolchain.ir.types import DType
from toolchain.pipeline import Compiled

FOLDER = "library"


def with_library(compiled: Compiled) -> Compiled:
    """The compiled graph with its library, where that was asked for.

    Raises TargetError(306) for a target without Linux, EnvironmentFault(401, 402), RunError(504).
    """
    if "library" not in compiled.unbuilt or compiled.program is None:
        return compiled
    target, name, plan = compiled.target, compiled.options.name, compiled.program.plan
    if target.core.linux is None or plan.further:
        what = "a library has one arena and runs on Linux"
        raise TargetError(306, target.name, what, "Choose another --format or target, or leave out --memory")
    section: Any = compiled.sections["c"]
    inputs, outputs = (tuple(map(tensor_info, values)) for values in (compiled.graph.inputs, compiled.graph.outputs))
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        for path, content in compiled.files.items():
            place = Path(folder) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        program = CProgram(
            name=name,
            root=Path(folder),
            header=section["header"],
            sources=tuple(section["sources"]),
            include_dirs=tuple(section["include_dirs"]),
            cflags=tuple(section["cflags"]),
            arena_bytes=plan.arena_bytes,
            arena_align=plan.align,
            input_bytes=tuple(tensor.bytes for tensor in inputs),
            output_bytes=tuple(tensor.bytes for tensor in outputs),
            io=compiled.options.io,
        )
        library = build_library(program, target)
    linux = target.core.linux
    description = _description(program, linux, inputs, outputs)
    files = {f"{FOLDER}/lib{name}.so": library, f"{FOLDER}/{name}.py": _module(name, description).encode()}
    places = {"file": f"{FOLDER}/lib{name}.so", "module": f"{FOLDER}/{name}.py"}
    found = {**places, "machine": linux.machine, "cpu_flags": list(linux.cpu_flags)}
    return replace(compiled, files={**compiled.files, **files}, sections={**compiled.sections, "library": found}, unbuilt=())


def _module(name: str, description: str) -> str:
    """Python that runs the library: what a board's own Strop does it with, and what it has to know of this library."""
    source = importlib.resources.files("runtimes.onboard").joinpath("network.py").read_text(encoding="utf-8")
    return f'''{source}

NETWORK = {description}


class Network(Library):
    """The network `{name}`: `Network().run(inputs)` gives its outputs in real units."""

    def __init__(self) -> None:
        super().__init__(Path(__file__).with_name("lib{name}.so"), NETWORK)


if __name__ == "__main__":
    sys.exit(main(Network(), sys.argv[1:]))
'''


def _description(program: CProgram, linux: Linux, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> str:
    """Python that makes the `Description`."""
    fields = {
        "name": repr(program.name),
        "machine": repr(linux.machine),
        "cpu_flags": repr(linux.cpu_flags),
        "inputs": _tensors(inputs),
        "outputs": _tensors(outputs),
        "arena_bytes": repr(program.arena_bytes),
        "arena_align": repr(program.arena_align),
        "io": repr(program.io),
    }
    return "Description(\n" + "".join(f"    {key}={value},\n" for key, value in fields.items()) + ")"


def _tensors(tensors: Sequence[TensorInfo]) -> str:
    rows = "".join(
        f"        Tensor({t.name!a}, {DType(t.dtype).numpy.name!r}, {t.shape!r}, {t.scale!r}, {t.zero_point or 0}),\n"
        for t in tensors
    )
    return f"(\n{rows}    )"
