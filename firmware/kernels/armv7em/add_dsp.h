/* Quantized addition and subtraction of two int8 tensors of one shape. Each operand's 256 scaled values are a table made
 * offline, so an element is two loads, an addition and one requantization. Tables: indexed by the value + 128, doubled.
 * Cost: 15 instructions per element. No scratch. */
#ifndef STROP_ADD_DSP_H
#define STROP_ADD_DSP_H

#include "dsp.h"

/* addend: rounding and zero point before the right shift. */
typedef struct {
    int32_t elements, mantissa, addend, shift, act_min, act_max;
} strop_add_dsp_shape;

STROP_KERNEL int8_t strop_add_one_dsp(int32_t a, int32_t b, const int32_t *a_values, const int32_t *b_values,
                                      const strop_add_dsp_shape *s) {
    const int32_t high = strop_smmulr(a_values[a + 128] + b_values[b + 128], s->mantissa);
    const int32_t y = (high + (high >> 31) + s->addend) >> s->shift;
    if (s->act_min == INT8_MIN && s->act_max == INT8_MAX) {
        return (int8_t)strop_saturate_s8(y);
    }
    return (int8_t)strop_clamp(y, s->act_min, s->act_max);
}

STROP_KERNEL void strop_add_dsp(const int8_t *a, const int8_t *b, const int32_t *restrict a_values,
                                const int32_t *restrict b_values, int8_t *out, const strop_add_dsp_shape *s) {
    const int8_t *const last_4 = a + s->elements / 4 * 4;
    for (; a != last_4; a += 4, b += 4, out += 4) {
        out[0] = strop_add_one_dsp(a[0], b[0], a_values, b_values, s);
        out[1] = strop_add_one_dsp(a[1], b[1], a_values, b_values, s);
        out[2] = strop_add_one_dsp(a[2], b[2], a_values, b_values, s);
        out[3] = strop_add_one_dsp(a[3], b[3], a_values, b_values, s);
    }
    for (int32_t i = 0; i < s->elements % 4; ++i) {
        out[i] = strop_add_one_dsp(a[i], b[i], a_values, b_values, s);
    }
}

#endif
