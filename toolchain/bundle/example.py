"""The C program that a bundle's README builds: samples from standard input, outputs to standard output."""

from __future__ import annotations

from toolchain.bundle.manifest import Manifest, TensorInfo
from toolchain.ir.types import DType

EXAMPLE_NAME = "example/main.c"


def example_c(manifest: Manifest) -> str:
    """The program, for a bundle whose C program takes its inputs in any of the ways there are."""
    name, upper, io = manifest.name, manifest.name.upper(), manifest.c.io if manifest.c else "arena"
    inputs, outputs = (range(len(tensors)) for tensors in (manifest.inputs, manifest.outputs))
    size = f"{upper}_INPUT_0_ROW_BYTES" if io == "rows" else f"{upper}_INPUT_{{}}_BYTES"
    read = " && ".join(f"fread({_place(name, io, 'input', i)}, {size.format(i)}, 1, stdin) == 1" for i in inputs)
    write = " && ".join(f"fwrite({_place(name, io, 'output', i)}, {upper}_OUTPUT_{i}_BYTES, 1, stdout) == 1" for i in outputs)
    if io == "rows":
        step, failed = f"const int left = {name}_push_row(arena);", f"left < 0 || (left == 0 && !({write}))"
    else:
        given = [*(f"input_{i}" for i in inputs), *(f"output_{i}" for i in outputs)] if io == "caller" else []
        step, failed = f"const int status = {name}_run({', '.join(['arena', *given])});", f"status != 0 || !({write})"
    return f"""/* Samples from standard input, outputs to standard output, both as stored: {name} < input.bin > output.bin */
#include "{name}.h"

#include <stdio.h>

static _Alignas({upper}_ARENA_ALIGN) unsigned char arena[{upper}_ARENA_BYTES];
{_buffers(manifest) if io == "caller" else ""}
int main(void)
{{
    if ({name}_init(arena) != 0) {{
        return 1;
    }}
    while ({read}) {{
        {step}
        if ({failed}) {{
            return 1;
        }}
    }}
    return 0;
}}
"""


def _place(name: str, io: str, way: str, index: int) -> str:
    """C that names a buffer."""
    return f"{way}_{index}" if io == "caller" else f"{name}_{way}_{index}(arena)"


def _buffers(manifest: Manifest) -> str:
    """Arrays of the caller for inputs and outputs."""
    ways = (("input", manifest.inputs), ("output", manifest.outputs))
    rows = ((f"{way}_{index}", tensor) for way, tensors in ways for index, tensor in enumerate(tensors))
    return "".join(f"static {_c_type(t)} {buffer}[{max(t.bytes, 1)} / sizeof({_c_type(t)})];\n" for buffer, t in rows)


def _c_type(tensor: TensorInfo) -> str:
    return {"f32": "float", "bool": "uint8_t"}.get(tensor.dtype, f"{DType(tensor.dtype).numpy.name}_t")
