/* Rows of int8 divided by their length, output scale 1/128 and zero point 0.
 * No scratch. Cost: about 35 instructions per element. */
#ifndef STROP_L2_NORM_S8_H
#define STROP_L2_NORM_S8_H

#include "fixed_point.h"

typedef struct {
    int32_t rows, depth, in_offset;
} strop_l2_norm_shape;

STROP_KERNEL void strop_l2_norm_s8(const int8_t *restrict in, int8_t *restrict out, const strop_l2_norm_shape *s) {
    for (int32_t row = 0; row < s->rows; ++row, in += s->depth, out += s->depth) {
        int32_t sum = 0;
        for (int32_t i = 0; i < s->depth; ++i) {
            sum += (in[i] + s->in_offset) * (in[i] + s->in_offset);
        }
        const strop_factor inverse = strop_inverse_sqrt(sum);
        for (int32_t i = 0; i < s->depth; ++i) {
            const int32_t y = strop_multiply(in[i] + s->in_offset, inverse.mantissa, inverse.shift + 7);
            out[i] = (int8_t)strop_clamp(y, INT8_MIN, INT8_MAX);
        }
    }
}

#endif
