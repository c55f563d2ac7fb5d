/* Quantized addition and subtraction of two int8 tensors of one shape. Each operand's 256 scaled values are a table made
 * offline, so an element is two loads, an addition and one requantization. Tables: indexed by the value + 128, doubled.
 * Cost: 10.3 instructions per element, 1 more where sums below the zero point count. No scratch. */
#ifndef STROP_ADD_DSP_H
#define STROP_ADD_DSP_H

#include "dsp.h"

/* addend: rounding and zero point before the right shift. floored: no output is below the zero point, which hides the
 * difference in rounding of negative halves. */
typedef struct {
    int32_t elements, mantissa, addend, shift, act_min, act_max;
    bool floored;
} strop_add_dsp_shape;

/* values[i] by one instruction; compilers add the address first where the table is known to them. */
STROP_KERNEL int32_t strop_value_at(const int32_t *values, int32_t i) {
    int32_t value;
    __asm__("ldr %0, [%1, %2, lsl #2]" : "=r"(value) : "r"(values), "r"(i), "m"(*(const int32_t(*)[128])(const void *)values));
    return value;
}

/* a_values, b_values: the entries of 0. */
STROP_KERNEL int8_t strop_add_one_dsp(int32_t a, int32_t b, const int32_t *a_values, const int32_t *b_values,
                                      const strop_add_dsp_shape *s) {
    const int32_t sum = strop_value_at(a_values, a) + strop_value_at(b_values, b);
    const int32_t y = strop_smmlar(sum, s->mantissa, s->floored ? s->addend : s->addend + (sum >> 31)) >> s->shift;
    if (s->act_min == INT8_MIN && s->act_max == INT8_MAX) {
        return (int8_t)strop_saturate_s8(y);
    }
    return (int8_t)strop_clamp(y, s->act_min, s->act_max);
}

STROP_KERNEL void strop_add_dsp(const int8_t *a, const int8_t *b, const int32_t *restrict a_values,
                                const int32_t *restrict b_values, int8_t *out, const strop_add_dsp_shape *s) {
    const int32_t *const of_a = a_values + 128, *const of_b = b_values + 128;
    const int8_t *const last_4 = a + s->elements / 4 * 4;
    for (; a != last_4; a += 4, b += 4, out += 4) {
        out[0] = strop_add_one_dsp(a[0], b[0], of_a, of_b, s);
        out[1] = strop_add_one_dsp(a[1], b[1], of_a, of_b, s);
        out[2] = strop_add_one_dsp(a[2], b[2], of_a, of_b, s);
        out[3] = strop_add_one_dsp(a[3], b[3], of_a, of_b, s);
    }
    for (int32_t i = 0; i < s->elements % 4; ++i) {
        out[i] = strop_add_one_dsp(a[i], b[i], of_a, of_b, s);
    }
}

#endif
