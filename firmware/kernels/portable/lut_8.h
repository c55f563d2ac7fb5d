/* Any function of one byte by a table of 256 bytes, indexed by the byte's bits (0 ... 127, then -128 ... -1 for int8).
 * Cost: about 4 instructions per element. No scratch; may run in place. */
#ifndef STROP_LUT_8_H
#define STROP_LUT_8_H

#include "common.h"

typedef struct {
    int32_t elements;
} strop_lut_8_shape;

STROP_KERNEL void strop_lut_8(const void *in, const uint8_t *restrict table, void *out, const strop_lut_8_shape *s) {
    const uint8_t *x = in;
    uint8_t *y = out;
    for (int32_t i = 0; i < s->elements; ++i) {
        y[i] = table[x[i]];
    }
}

#endif
