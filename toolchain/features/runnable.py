"""A feature extractor as a program that the harnesses run: its input is a clip, its output the features."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from firmware.program import CProgram
from toolchain.ir.types import Array

GUARD_ALIGN = 16


def raw_pcm(pcm: Array) -> Array:
    """Clips (n, samples) int16 as the program's input, (n, bytes) uint8."""
    return np.ascontiguousarray(pcm, "<i2").view(np.uint8)


@contextmanager
def runnable(extractor: CProgram, samples: int, frames: int, frame_bytes: int) -> Generator[CProgram]:
    """An extractor with the entry points of a network. samples: of its input. frames: of the extractor, or 1 for the last one.

    extractor: its name is the prefix of the functions, its arena the state.
    """
    prefix, name = extractor.name, f"{extractor.name}_run"
    at = _padded(extractor.arena_bytes)
    out, size = at + _padded(2 * samples), frames * frame_bytes
    copy = f"memcpy(out, {prefix}_last(arena), {size});" if frames == 1 else f"left = {prefix}_read(arena, out);"
    text = f"""#include "{name}.h"
#include "{prefix}.h"
#include <string.h>
int {name}_init(void *arena) {{ return {prefix}_init(arena); }}
void *{name}_input_0(void *arena) {{ return (uint8_t *)arena + {at}; }}
const void *{name}_output_0(const void *arena) {{ return (const uint8_t *)arena + {out}; }}
int {name}_run(void *arena) {{
    void *const out = (uint8_t *)arena + {out};
    int32_t left = {prefix}_init(arena);
    (void){prefix}_push(arena, (const int16_t *){name}_input_0(arena), {samples});
    {copy}
    return (int)left;
}}
"""
    header = f"""#include <stdint.h>
int {name}_init(void *arena);
void *{name}_input_0(void *arena);
int {name}_run(void *arena);
const void *{name}_output_0(const void *arena);
"""
    own = Path(extractor.header).parent
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        shutil.copytree(extractor.root / own, Path(folder) / own)
        (Path(folder) / own / f"{name}.c").write_text(text, encoding="utf-8")
        (Path(folder) / own / f"{name}.h").write_text(header, encoding="utf-8")
        yield replace(
            extractor,
            name=name,
            root=Path(folder),
            header=(own / f"{name}.h").as_posix(),
            sources=((own / f"{name}.c").as_posix(), *extractor.sources),
            arena_bytes=out + size,
            arena_align=GUARD_ALIGN,
            input_bytes=(2 * samples,),
            output_bytes=(size,),
        )


def _padded(size: int) -> int:
    return -(-size // GUARD_ALIGN) * GUARD_ALIGN
