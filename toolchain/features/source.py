"""Prints the C of a feature extractor: its header, its source with the tables, and the kernels that it includes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.backends.c.kernels import kernel_sources
from toolchain.backends.c.literals import array_rows, floating
from toolchain.features.settings import FeatureSettings
from toolchain.features.tables import FeatureTables, make_tables
from toolchain.ir.types import DType, TensorType

ALIGN = 4
STREAM_BYTES = 16
C_TYPES = {DType.F32: "float", DType.I8: "int8_t", DType.U8: "uint8_t", DType.I16: "int16_t"}
QUANTIZED = {DType.I8: "STROP_S8", DType.U8: "STROP_U8", DType.I16: "STROP_S16"}
SUFFIX = "_features"


@dataclass(frozen=True, slots=True)
class Stored:
    """How features are stored: float32, or int8, uint8 or int16 with scale and zero point."""

    dtype: DType = DType.F32
    scale: float = 1.0
    zero_point: int = 0


REAL = Stored()


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """The C of an extractor. files: text by path relative to the bundle. ram_bytes: of its state, table_bytes: of its tables."""

    files: dict[str, str]
    header: str
    source: str
    ram_bytes: int
    table_bytes: int


def stored_as(type_: TensorType) -> Stored | None:
    """How a network's input stores features, None where it is of no type that features have."""
    if type_.dtype is DType.F32:
        return REAL
    if type_.dtype not in QUANTIZED or type_.quant is None or type_.quant.axis is not None:
        return None
    return Stored(type_.dtype, type_.quant.scalar_scale, type_.quant.scalar_zero_point)


def print_features(
    settings: FeatureSettings, name: str, stored: Stored = REAL, folders: tuple[str, ...] = ("portable",)
) -> FeatureSource:
    """The C of an extractor for the network `name`, a C identifier. folders: of firmware/kernels, those of the target's core."""
    tables, prefix = make_tables(settings), name + SUFFIX
    ram, table = feature_bytes(settings, stored)
    kernels = ["features_f32.h", *(["quantize.h"] if stored.dtype in QUANTIZED else [])]
    files = {
        f"c/{prefix}.h": _header(settings, name, stored, ram),
        f"c/{prefix}.c": _source(settings, tables, name, stored),
        **{f"c/strop/{file}": text for file, text in kernel_sources(kernels, folders).items()},
    }
    return FeatureSource(files, f"c/{prefix}.h", f"c/{prefix}.c", ram, table)


def feature_bytes(settings: FeatureSettings, stored: Stored) -> tuple[int, int]:
    """What an extractor takes: bytes of RAM, its state, and of tables in flash."""
    return _ram_bytes(settings, stored), make_tables(settings).bytes


def _history(settings: FeatureSettings) -> int:
    """Samples that are kept: with preemphasis the one before the window, too."""
    return settings.window + (settings.preemphasis > 0)


def _ram_bytes(settings: FeatureSettings, stored: Stored) -> int:
    element = stored.dtype.bits // 8
    size = 4 * (settings.points + 1) + STREAM_BYTES + 2 * _history(settings)
    size += -size % element + settings.frames * settings.width * element
    return size + -size % ALIGN


def _header(settings: FeatureSettings, name: str, stored: Stored, ram_bytes: int) -> str:
    prefix, upper = name + SUFFIX, (name + SUFFIX).upper()
    clip = f"{settings.frames} frames of {settings.width}"
    return f"""/* {prefix}: features of sound for the network {name}, {clip}, by Strop. See features.toml. */
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_RAM_BYTES {ram_bytes} /* all RAM but the stack */
#define {upper}_RAM_ALIGN {ALIGN}
#define {upper}_RATE {settings.rate} /* samples a second */
#define {upper}_WINDOW {settings.window} /* samples of a frame */
#define {upper}_HOP {settings.hop} /* samples from frame to frame */
#define {upper}_FRAMES {settings.frames} /* that the network sees */
#define {upper}_WIDTH {settings.width} /* numbers of a frame */

#define {upper}_ERROR_STATE 1 /* the state is null or not aligned */

typedef {C_TYPES[stored.dtype]} {prefix}_type;

/* Begins with silence and no frames. state: {upper}_RAM_BYTES bytes. Returns 0, or the error code above. */
int {prefix}_init(void *state);
/* Takes samples, as many or few as there are. Returns how many frames came: one with sample number {settings.window}, then one
 * every {settings.hop}. */
int32_t {prefix}_push(void *state, const int16_t *pcm, int32_t count);
/* The last frame; valid until the next push. */
const {prefix}_type *{prefix}_last(const void *state);
/* Writes the last {settings.frames} frames, the oldest first, as the network's input takes them. Returns 0; while frames are
 * missing their number, and nothing is written. */
int32_t {prefix}_read(const void *state, {prefix}_type *out);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _table(prefix: str, name: str, tables: FeatureTables) -> str:
    data = tables.arrays[name]
    kind = "float" if data.dtype.kind == "f" else "uint16_t"
    rows = "\n".join(array_rows(data))
    return f"static const {kind} {prefix}_{name}[{data.size}] = {{\n{rows}\n}};\n"


def _shape(settings: FeatureSettings, tables: FeatureTables, prefix: str) -> str:
    """The initialiser of the extractor's constants."""
    members = {
        "window": settings.window,
        "history": _history(settings),
        "fft": settings.points,
        "first": tables.first,
        "last": tables.last,
        "mels": settings.mels,
        "coefficients": settings.width,
        "squared": "true" if settings.power == 2 else "false",
        "preemphasis": floating(_single(settings.preemphasis)),
        "offset": floating(_single(settings.log_offset)),
        "floor": floating(_single(settings.log_floor)),
        "dct": "NULL",
        **{name: f"{prefix}_{name}" for name in tables.arrays},
    }
    return "{" + ", ".join(f".{name} = {value}" for name, value in members.items()) + "}"


def _source(settings: FeatureSettings, tables: FeatureTables, name: str, stored: Stored) -> str:
    prefix, upper = name + SUFFIX, (name + SUFFIX).upper()
    quantized = stored.dtype in QUANTIZED
    listed = "\n".join(_table(prefix, each, tables) for each in tables.arrays)
    include = '#include "strop/quantize.h"\n' if quantized else ""
    store = _quantize(settings, stored) if quantized else f"    memcpy(slot, found, {upper}_WIDTH * sizeof *slot);"
    return f"""#include "{prefix}.h"

#include "strop/features_f32.h"
{include}
{listed}
typedef struct {{
    float work[{settings.points + 1}];
    strop_features_stream stream;
    int16_t ring[{_history(settings)}]; /* begins at a word, as fast copies want it */
    {prefix}_type frames[{upper}_FRAMES * {upper}_WIDTH];
}} {prefix}_state;

_Static_assert(sizeof({prefix}_state) == {upper}_RAM_BYTES, "the state is as large as the header says");

/* On its own, so that how features are stored changes nothing in it. */
static STROP_NOINLINE const float *{prefix}_compute(const int16_t *restrict ring, int32_t oldest, float *restrict work) {{
    static const strop_features_shape shape = {_shape(settings, tables, prefix)};
    return strop_features_frame(ring, oldest, work, &shape);
}}

static void {prefix}_frame({prefix}_state *restrict x) {{
    const float *const found = {prefix}_compute(x->ring, x->stream.at, x->work);
    {prefix}_type *const slot = x->frames + x->stream.slot * {upper}_WIDTH;
{store}
    strop_features_advance(&x->stream, {upper}_HOP, {upper}_FRAMES);
}}

{_functions(settings, prefix, upper)}"""


def _functions(settings: FeatureSettings, prefix: str, upper: str) -> str:
    """The functions of the header."""
    return f"""int {prefix}_init(void *state) {{
    if (state == NULL || (uintptr_t)state % {upper}_RAM_ALIGN != 0) {{
        return {upper}_ERROR_STATE;
    }}
    {prefix}_state *const x = state;
    memset(x, 0, sizeof *x);
    x->stream.due = {upper}_WINDOW;
    x->stream.missing = {upper}_FRAMES;
    return 0;
}}

int32_t {prefix}_push(void *state, const int16_t *pcm, int32_t count) {{
    {prefix}_state *const x = state;
    int32_t frames = 0;
    while (count > 0) {{
        const int32_t taken = strop_features_take(&x->stream, x->ring, pcm, count, {_history(settings)});
        pcm += taken;
        count -= taken;
        if (x->stream.due == 0) {{
            {prefix}_frame(x);
            ++frames;
        }}
    }}
    return frames;
}}

const {prefix}_type *{prefix}_last(const void *state) {{
    const {prefix}_state *const x = state;
    return x->frames + (x->stream.slot == 0 ? {upper}_FRAMES - 1 : x->stream.slot - 1) * {upper}_WIDTH;
}}

int32_t {prefix}_read(const void *state, {prefix}_type *out) {{
    const {prefix}_state *const x = state;
    if (x->stream.missing == 0) {{
        const int32_t older = x->stream.slot * {upper}_WIDTH, newer = {upper}_FRAMES * {upper}_WIDTH - older;
        memcpy(out, x->frames + older, (size_t)newer * sizeof *out);
        memcpy(out + newer, x->frames, (size_t)older * sizeof *out);
    }}
    return x->stream.missing;
}}
"""


def _quantize(settings: FeatureSettings, stored: Stored) -> str:
    """Statements that store the coefficients as the network's input has them."""
    low, high = stored.dtype.limits
    shape = f".elements = {settings.width}, .zero_point = {stored.zero_point}, .act_min = {low}, .act_max = {high}"
    shape += f", .scale = {floating(_single(stored.scale))}, .type = {QUANTIZED[stored.dtype]}"
    return f"    static const strop_quantize_shape stored = {{{shape}}};\n    strop_quantize(found, slot, &stored);"


def _single(value: float) -> float:
    """The float32 next to a number."""
    return float(np.float32(value))
