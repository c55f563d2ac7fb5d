/* Softmax over rows of int16 by two tables: exp over [-10, 0] and 1 / (1 + x) over [0, 1], both of 513 samples in Q0.15.
 * The output holds the exponentials until their sum is known: no scratch. Cost: about 40 instructions per element. */
#ifndef STROP_SOFTMAX_S16_H
#define STROP_SOFTMAX_S16_H

#include "fixed_point.h"
#include "lut_s16.h"

/* mantissa, shift: scale differences of inputs so that 65535 stand for 10. depth: at most 65535. */
typedef struct {
    int32_t rows, depth, mantissa, shift;
} strop_softmax_s16_shape;

/* Exponentials of one row into out; returns their sum. */
STROP_KERNEL int32_t strop_softmax_powers_s16(const int16_t *restrict in, const int16_t *restrict exp_table,
                                              int16_t *restrict out, const strop_softmax_s16_shape *s) {
    int32_t top = INT16_MIN;
    for (int32_t i = 0; i < s->depth; ++i) {
        top = strop_max(top, in[i]);
    }
    int32_t sum = 0;
    for (int32_t i = 0; i < s->depth; ++i) {
        const int32_t scaled = strop_multiply(in[i] - top, s->mantissa, s->shift);
        const int32_t power = strop_interpolate(exp_table, strop_max(scaled, INT16_MIN - INT16_MAX) + INT16_MAX);
        out[i] = (int16_t)power;
        sum += power;
    }
    return sum;
}

STROP_KERNEL void strop_softmax_s16(const int16_t *restrict in, const int16_t *restrict exp_table,
                                    const int16_t *restrict inverse_table, int16_t *restrict out,
                                    const strop_softmax_s16_shape *s) {
    for (int32_t row = 0; row < s->rows; ++row, in += s->depth, out += s->depth) {
        const int32_t sum = strop_softmax_powers_s16(in, exp_table, out, s);
        const int32_t headroom = strop_leading_zeros((uint32_t)sum);
        const int32_t shifted = (int32_t)(((uint32_t)sum << (headroom - 1)) + (1U << 13)) >> 14;
        const int32_t at = strop_clamp(shifted - (1 << 15) - (1 << 16), INT16_MIN, INT16_MAX);
        const int32_t inverse = strop_interpolate(inverse_table, at);
        for (int32_t i = 0; i < s->depth; ++i) {
            const int32_t y = (out[i] * inverse + (1 << (30 - headroom))) >> (31 - headroom);
            out[i] = (int16_t)strop_clamp(y, 0, INT16_MAX);
        }
    }
}

#endif
