/* Softmax over rows of int8, to int8 with scale 1/256 and zero point -128 or to int16 with 1/65536 and -32768.
 * The exponentials are computed twice instead of being stored: no scratch. Cost: about 220 instructions per element. */
#ifndef STROP_SOFTMAX_H
#define STROP_SOFTMAX_H

#include "fixed_point.h"

/* mantissa, shift: bring a difference of inputs to Q5.26; smaller differences than smallest_difference count as zero.
 * depth: at most 4095, as the sum has 12 integer bits. */
typedef struct {
    int32_t rows, depth, mantissa, shift, smallest_difference;
} strop_softmax_shape;

/* exp of x <= 0 in Q5.26 as Q0.31; long enough to be there once. */
STROP_SHARED int32_t strop_exp_q5(int32_t x) { return strop_exp_on_negative(x, 5); }

/* exp of a difference of inputs as Q0.31. */
STROP_KERNEL int32_t strop_softmax_power(int32_t difference, const strop_softmax_shape *s) {
    return strop_exp_q5(strop_doubling_high_mul(strop_shift_left(difference, s->shift), s->mantissa));
}

STROP_KERNEL int32_t strop_softmax_top(const int8_t *restrict in, int32_t depth) {
    int32_t top = INT8_MIN;
    for (int32_t i = 0; i < depth; ++i) {
        top = strop_max(top, in[i]);
    }
    return top;
}

/* Sum of one row's exponentials in Q12.19. */
STROP_KERNEL int32_t strop_softmax_sum(const int8_t *restrict in, int32_t top, const strop_softmax_shape *s) {
    int32_t sum = 0;
    for (int32_t i = 0; i < s->depth; ++i) {
        if (in[i] - top >= s->smallest_difference) {
            sum += strop_rounding_shift_right(strop_softmax_power(in[i] - top, s), 12);
        }
    }
    return sum;
}

/* One probability as 0 ... 2^bits. */
STROP_KERNEL int32_t strop_softmax_share(int32_t difference, strop_reciprocal inverse, int32_t bits, const strop_softmax_shape *s) {
    const int32_t right = inverse.over + 31 - bits;
    if (difference < s->smallest_difference || right > 31) {
        return 0;
    }
    return strop_rounding_shift_right(strop_doubling_high_mul(inverse.factor, strop_softmax_power(difference, s)), right);
}

STROP_KERNEL void strop_softmax_s8(const int8_t *restrict in, int8_t *restrict out, const strop_softmax_shape *s) {
    for (int32_t row = 0; row < s->rows; ++row, in += s->depth, out += s->depth) {
        const int32_t top = strop_softmax_top(in, s->depth);
        const strop_reciprocal inverse = strop_reciprocal_of(strop_softmax_sum(in, top, s), 12);
        for (int32_t i = 0; i < s->depth; ++i) {
            out[i] = (int8_t)strop_min(strop_softmax_share(in[i] - top, inverse, 8, s) + INT8_MIN, INT8_MAX);
        }
    }
}

STROP_KERNEL void strop_softmax_s8_s16(const int8_t *restrict in, int16_t *restrict out, const strop_softmax_shape *s) {
    for (int32_t row = 0; row < s->rows; ++row, in += s->depth, out += s->depth) {
        const int32_t top = strop_softmax_top(in, s->depth);
        const strop_reciprocal inverse = strop_reciprocal_of(strop_softmax_sum(in, top, s), 12);
        for (int32_t i = 0; i < s->depth; ++i) {
            out[i] = (int16_t)strop_min(strop_softmax_share(in[i] - top, inverse, 16, s) + INT16_MIN, INT16_MAX);
        }
    }
}

#endif
