/* Quantized addition and subtraction, int8, with broadcasting. Cost: about 45 instructions per element. No scratch. */
#ifndef STROP_ADD_H
#define STROP_ADD_H

#include "broadcast.h"
#include "fixed_point.h"

/* Both inputs are centred, shifted left, scaled to a common scale, summed and scaled to the output. sign: 1 adds, -1 subtracts. */
typedef struct {
    strop_broadcast loops;
    int32_t a_offset, b_offset, out_offset, left_shift, sign;
    int32_t a_mantissa, a_shift, b_mantissa, b_shift, out_mantissa, out_shift, act_min, act_max;
} strop_add_shape;

STROP_KERNEL int8_t strop_add_element(int32_t a, int32_t b, const strop_add_shape *s) {
    const int32_t x = strop_multiply((a + s->a_offset) * (1 << s->left_shift), s->a_mantissa, s->a_shift);
    const int32_t y = strop_multiply((b + s->b_offset) * (1 << s->left_shift), s->b_mantissa, s->b_shift);
    const int32_t sum = strop_multiply(x + s->sign * y, s->out_mantissa, s->out_shift) + s->out_offset;
    return (int8_t)strop_clamp(sum, s->act_min, s->act_max);
}

STROP_KERNEL void strop_add_s8(const int8_t *a, const int8_t *b, int8_t *out, const strop_add_shape *s) {
    const int32_t rows = strop_broadcast_rows(&s->loops);
    const int32_t inner = STROP_LOOPS - 1;
    for (int32_t row = 0; row < rows; ++row) {
        const strop_offsets at = strop_broadcast_row(&s->loops, row);
        const int8_t *x = a + at.a, *y = b + at.b;
        for (int32_t i = 0; i < s->loops.size[inner]; ++i, x += s->loops.a[inner], y += s->loops.b[inner]) {
            *out++ = strop_add_element(*x, *y, s);
        }
    }
}

#endif
