/* Quantized elementwise operations of two operands that broadcast, int8 and int16, and minimum and maximum of any type.
 * Cost per element, about: add and sub 33, mul 25, squared_difference 40, div 155, minimum and maximum 8,
 * prelu 22. No scratch. */
#ifndef STROP_INTEGER_BINARY_H
#define STROP_INTEGER_BINARY_H

#include "broadcast.h"
#include "element.h"
#include "fixed_point.h"

/* The offsets are minus the zero points of the inputs and the zero point of the output. */
typedef struct {
    strop_broadcast loops;
    strop_type type;
    int32_t a_offset, b_offset, out_offset, left_shift, act_min, act_max;
    strop_factor a, b, out;
} strop_binary_shape;

/* What an operation makes of two stored values: a stored value. */
typedef int32_t (*strop_binary)(int32_t a, int32_t b, const strop_binary_shape *s);

/* Zero point and clamp. */
STROP_KERNEL int32_t strop_binary_result(int32_t y, const strop_binary_shape *s) {
    return strop_clamp(y + s->out_offset, s->act_min, s->act_max);
}

/* Both operands at a common scale, given centred. */
STROP_KERNEL int32_t strop_common(int32_t centred, strop_factor factor, const strop_binary_shape *s) {
    return strop_multiply(centred * (1 << s->left_shift), factor.mantissa, factor.shift);
}

STROP_KERNEL int32_t strop_sum_of(int32_t a, int32_t b, int32_t sign, const strop_binary_shape *s) {
    const int32_t sum = strop_common(a + s->a_offset, s->a, s) + sign * strop_common(b + s->b_offset, s->b, s);
    return strop_binary_result(strop_multiply(sum, s->out.mantissa, s->out.shift), s);
}

STROP_KERNEL int32_t strop_add_of(int32_t a, int32_t b, const strop_binary_shape *s) { return strop_sum_of(a, b, 1, s); }

STROP_KERNEL int32_t strop_sub_of(int32_t a, int32_t b, const strop_binary_shape *s) { return strop_sum_of(a, b, -1, s); }

STROP_KERNEL int32_t strop_mul_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    const int32_t product = (a + s->a_offset) * (b + s->b_offset);
    return strop_binary_result(strop_multiply(product, s->out.mantissa, s->out.shift), s);
}

STROP_KERNEL int32_t strop_squared_difference_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    const int32_t difference = strop_common(a + s->a_offset, s->a, s) - strop_common(b + s->b_offset, s->b, s);
    return strop_binary_result(strop_multiply(difference * difference, s->out.mantissa, s->out.shift), s);
}

/* By a fixed-point reciprocal; a divisor of zero saturates by the dividend's sign, 0 / 0 is 0. */
STROP_KERNEL int32_t strop_div_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    const int32_t x = a + s->a_offset;
    const int32_t y = b + s->b_offset;
    if (y == 0) {
        return strop_binary_result(x > 0 ? 1 << 20 : (x < 0 ? -(1 << 20) : 0), s);
    }
    const int32_t numerator = y < 0 ? -x : x;
    const strop_reciprocal inverse = strop_reciprocal_of(y < 0 ? -y : y, 31);
    const int32_t headroom = strop_headroom(numerator);
    const int32_t quotient = strop_doubling_high_mul(strop_shift_left(numerator, headroom), inverse.factor);
    const int32_t right = strop_max(headroom + inverse.over - s->out.shift, 0);
    const int32_t scaled = strop_doubling_high_mul(quotient, s->out.mantissa);
    return strop_binary_result(right > 31 ? 0 : strop_rounding_shift_right(scaled, right), s);
}

STROP_KERNEL int32_t strop_minimum_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    (void)s;
    return strop_min(a, b);
}

STROP_KERNEL int32_t strop_maximum_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    (void)s;
    return strop_max(a, b);
}

/* Inputs below zero are multiplied by the slope b. */
STROP_KERNEL int32_t strop_prelu_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    const int32_t x = a + s->a_offset;
    const int32_t up = strop_multiply(x, s->a.mantissa, s->a.shift);
    const int32_t down = strop_multiply(x * (b + s->b_offset), s->b.mantissa, s->b.shift);
    return strop_binary_result(x >= 0 ? up : down, s);
}

/* Runs an operation over all elements; out_type is the type of its results. */
STROP_KERNEL void strop_binary_loops(const void *a, const void *b, void *out, const strop_binary_shape *s, strop_type out_type,
                                     strop_binary operation) {
    const int32_t rows = strop_broadcast_rows(&s->loops);
    const int32_t inner = STROP_LOOPS - 1;
    const int32_t length = s->loops.size[inner];
    for (int32_t row = 0; row < rows; ++row) {
        const strop_offsets at = strop_broadcast_row(&s->loops, row);
        for (int32_t i = 0; i < length; ++i) {
            const int32_t x = strop_load(a, at.a + i * s->loops.a[inner], s->type);
            const int32_t y = strop_load(b, at.b + i * s->loops.b[inner], s->type);
            strop_store(out, row * length + i, out_type, operation(x, y, s));
        }
    }
}

STROP_KERNEL void strop_integer_add(const void *a, const void *b, void *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, s->type, strop_add_of);
}

STROP_KERNEL void strop_integer_sub(const void *a, const void *b, void *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, s->type, strop_sub_of);
}

STROP_KERNEL void strop_integer_mul(const void *a, const void *b, void *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, s->type, strop_mul_of);
}

STROP_KERNEL void strop_integer_squared_difference(const void *a, const void *b, void *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, s->type, strop_squared_difference_of);
}

STROP_KERNEL void strop_integer_div(const void *a, const void *b, void *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, s->type, strop_div_of);
}

STROP_KERNEL void strop_integer_minimum(const void *a, const void *b, void *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, s->type, strop_minimum_of);
}

STROP_KERNEL void strop_integer_maximum(const void *a, const void *b, void *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, s->type, strop_maximum_of);
}

STROP_KERNEL void strop_integer_prelu(const void *a, const void *b, void *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, s->type, strop_prelu_of);
}

#endif
