/* Softmax over rows of int8, output scale 1/256 and zero point -128. The exponentials are computed twice instead of
 * being stored: no scratch. Cost: about 120 instructions per element. */
#ifndef STROP_SOFTMAX_H
#define STROP_SOFTMAX_H

#include "fixed_point.h"

/* mantissa, shift: bring a difference of inputs to Q5.26; smaller differences than smallest_difference count as zero. */
typedef struct {
    int32_t rows, depth, mantissa, shift, smallest_difference;
} strop_softmax_shape;

STROP_KERNEL int32_t strop_softmax_power(int32_t difference, const strop_softmax_shape *s) {
    return strop_exp_on_negative(strop_doubling_high_mul(strop_shift_left(difference, s->shift), s->mantissa), 5);
}

STROP_KERNEL void strop_softmax_s8(const int8_t *restrict in, int8_t *restrict out, const strop_softmax_shape *s) {
    for (int32_t row = 0; row < s->rows; ++row, in += s->depth, out += s->depth) {
        int32_t top = INT8_MIN;
        for (int32_t i = 0; i < s->depth; ++i) {
            top = strop_max(top, in[i]);
        }
        int32_t sum = 0;
        for (int32_t i = 0; i < s->depth; ++i) {
            if (in[i] - top >= s->smallest_difference) {
                sum += strop_rounding_shift_right(strop_softmax_power(in[i] - top, s), 12);
            }
        }
        const strop_reciprocal inverse = strop_reciprocal_of(sum, 12);
        for (int32_t i = 0; i < s->depth; ++i) {
            int32_t y = INT8_MIN;
            if (in[i] - top >= s->smallest_difference) {
                const int32_t power = strop_softmax_power(in[i] - top, s);
                y += strop_rounding_shift_right(strop_doubling_high_mul(inverse.factor, power), inverse.over + 31 - 8);
            }
            out[i] = (int8_t)strop_clamp(y, INT8_MIN, INT8_MAX);
        }
    }
}

#endif
