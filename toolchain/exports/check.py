"""C that every export carries: arenas for those who want none of their own, and a check that runs the stored sample."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from toolchain.exports.network import Network, c_type

LINE_BYTES = 16


def arena_header(network: Network) -> str:
    """NAME_arena.h."""
    arrays = "\n".join(f"extern unsigned char {array}[{size}];" for array, size, _ in network.arenas)
    return f"""/* Memory for {network.name}, in .bss or in the linker section that {network.upper}_ARENA_SECTION names.
 * {_memories(network)}It costs nothing where it is not used: {network.name}_init takes any memory of this size and alignment. */
#ifndef {network.upper}_ARENA_H
#define {network.upper}_ARENA_H

#include "{network.name}.h"

#ifdef __cplusplus
extern "C" {{
#endif

{arrays}

#ifdef __cplusplus
}}
#endif

#endif
"""


def _memories(network: Network) -> str:
    """Where further arenas are best, as lines of a comment."""
    rows = enumerate(network.program.further, 1)
    return "".join(f"{network.name}_arena_{number} was planned for {_word(memory)}.\n * " for number, (memory, _) in rows)


def _word(text: str) -> str:
    return re.sub(r"\W", "_", text)[:64]


def arena_source(network: Network) -> str:
    """NAME_arena.c."""
    places = "\n".join(_place_macro(section, number) for number, (_, _, section) in enumerate(network.arenas))
    arrays = "\n".join(
        f"PLACE_{number} _Alignas({network.upper}_ARENA_ALIGN) unsigned char {array}[{size}];"
        for number, (array, size, _) in enumerate(network.arenas)
    )
    return f"""#include "{network.name}_arena.h"

{places}
{arrays}
"""


def _place_macro(section: str, number: int) -> str:
    """C that puts an arena where the user says."""
    macro = f"PLACE_{number}"
    return f"#ifdef {section}\n#define {macro} __attribute__((section({section})))\n#else\n#define {macro}\n#endif\n"


def check_header(network: Network) -> str:
    """NAME_check.h."""
    return f"""/* Runs one stored sample. 0: its outputs are the reference's; 1: they differ; 2: the network gave an error. */
#ifndef {network.upper}_CHECK_H
#define {network.upper}_CHECK_H

#ifdef __cplusplus
extern "C" {{
#endif

int {network.name}_check(void);
/* The same in a word: equal, different or failed. */
const char *{network.name}_check_word(void);

#ifdef __cplusplus
}}
#endif

#endif
"""


def check_source(network: Network) -> str:
    """NAME_check.c."""
    name, sample = network.name, network.sample
    ways = (("input", sample.inputs), ("output", sample.outputs))
    data = "\n".join(_array(f"sample_{way}_{index}", raw) for way, raws in ways for index, raw in enumerate(raws))
    floats = _FLOAT_COMPARISON if any(sample.tolerances) else ""
    arenas = ", ".join(array for array, _, _ in network.arenas)
    wrong = "".join(f"    wrong |= {_differs(network, index)};\n" for index in range(len(sample.outputs)))
    buffers = _buffers(network) if network.program.io == "caller" else ""
    return f"""#include "{name}_check.h"

#include "{name}_arena.h"

#include <stddef.h>
#include <string.h>

{data}
{buffers}{floats}
int {name}_check(void)
{{
    int wrong = 0;
    if ({name}_init({arenas}) != 0) {{
        return 2;
    }}
{_run(network)}{wrong}    return wrong;
}}

const char *{name}_check_word(void)
{{
    static const char *const words[] = {{"equal", "different", "failed"}};
    return words[{name}_check()];
}}
"""


_FLOAT_COMPARISON = """
/* Floats may be off by what rounding in another order comes to; NaN is equal to the same NaN alone. */
static int differ(const void *found, const unsigned char *expected, size_t bytes, float tolerance)
{
    for (size_t at = 0; at < bytes; at += sizeof(float)) {
        float is, should;
        memcpy(&is, (const unsigned char *)found + at, sizeof is);
        memcpy(&should, expected + at, sizeof should);
        const float distance = is < should ? should - is : is - should;
        if (memcmp(&is, &should, sizeof is) != 0 && !(distance <= tolerance)) {
            return 1;
        }
    }
    return 0;
}
"""


def _array(name: str, raw: bytes) -> str:
    rows = [raw[start : start + LINE_BYTES] for start in range(0, len(raw), LINE_BYTES)] or [b"\0"]
    lines = ",\n".join(f"    {', '.join(map(str, row))}" for row in rows)
    return f"static const unsigned char {name}[{max(len(raw), 1)}] = {{\n{lines}}};\n"


def _place(network: Network, way: str, index: int) -> str:
    """C that names a buffer."""
    return f"given_{way}_{index}" if network.program.io == "caller" else f"{network.name}_{way}_{index}({network.arenas[0][0]})"


def _buffers(network: Network) -> str:
    """Arrays of the caller for inputs and outputs."""
    ways = (("input", network.manifest.inputs), ("output", network.manifest.outputs))
    rows = ((f"given_{way}_{index}", tensor) for way, tensors in ways for index, tensor in enumerate(tensors))
    return "".join(f"static _Alignas(16) {c_type(t)} {name}[{max(t.bytes, 1)} / sizeof({c_type(t)})];\n" for name, t in rows)


def _run(network: Network) -> str:
    """Statements that fill the inputs and run."""
    name, program, arena = network.name, network.program, network.arenas[0][0]
    if program.io == "rows":
        row_bytes = f"{network.upper}_INPUT_0_ROW_BYTES"
        return _indented(f"""
            int left = {program.input_rows};
            for (int row = 0; row < {program.input_rows} && left >= 0; ++row) {{
                memcpy({name}_input_0({arena}), sample_input_0 + row * {row_bytes}, {row_bytes});
                left = {name}_push_row({arena});
            }}
            if (left != 0) {{
                return 2;
            }}
            """)
    places = [_place(network, "input", index) for index in range(len(program.input_bytes))]
    fills = [f"memcpy({place}, sample_input_{index}, {program.input_bytes[index]});" for index, place in enumerate(places)]
    given = [*places, *(_place(network, "output", i) for i in range(len(program.output_bytes)))] if program.io == "caller" else []
    return _indented("\n".join([*fills, f"if ({name}_run({', '.join([arena, *given])}) != 0) {{", "    return 2;", "}"]))


def _indented(text: str) -> str:
    return textwrap.indent(textwrap.dedent(text).strip("\n"), "    ") + "\n"


def _differs(network: Network, index: int) -> str:
    place, size, tolerance = (
        _place(network, "output", index),
        network.program.output_bytes[index],
        network.sample.tolerances[index],
    )
    if not tolerance:
        return f"memcmp({place}, sample_output_{index}, {size}) != 0"
    return f"differ({place}, sample_output_{index}, {size}, {tolerance!r}f)"


def include_files(network: Network, folder: str = "include/") -> dict[str, str]:
    """Public headers."""
    own = {f"{network.name}.h": network.header, f"{network.name}_arena.h": arena_header(network), **network.further}
    return {f"{folder}{name}": text for name, text in own.items()}


def check_files(network: Network, folder: str) -> dict[str, str]:
    """The check and its header."""
    return {f"{folder}{network.name}_check.c": check_source(network), f"{folder}{network.name}_check.h": check_header(network)}


def source_names(network: Network, folder: str = "src/") -> Sequence[str]:
    """What is compiled, in order."""
    return [*(f"{folder}{name}" for name in sorted(network.sources)), f"{folder}{network.name}_arena.c"]
