/* A function of int16 by 513 samples, one per 128 steps, with linear interpolation.
 * Cost: about 20 instructions per element. No scratch; may run in place. */
#ifndef STROP_LUT_S16_H
#define STROP_LUT_S16_H

#include "common.h"

typedef struct {
    int32_t elements;
} strop_lut_s16_shape;

/* The table's value at a stored input. */
STROP_KERNEL int32_t strop_interpolate(const int16_t *restrict table, int32_t x) {
    const int16_t *const at = table + (x >> 7) + 256;
    return at[0] + (((at[1] - at[0]) * (x & 127) + 64) >> 7);
}

STROP_KERNEL void strop_lut_s16(const int16_t *in, const int16_t *restrict table, int16_t *out, const strop_lut_s16_shape *s) {
    for (int32_t i = 0; i < s->elements; ++i) {
        out[i] = (int16_t)strop_clamp(strop_interpolate(table, in[i]), INT16_MIN, INT16_MAX);
    }
}

#endif
