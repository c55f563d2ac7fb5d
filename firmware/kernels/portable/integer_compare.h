/* Comparisons of quantized tensors that broadcast, int8: both sides become real numbers in fixed point.
 * Cost: about 40 instructions per element. No scratch. */
#ifndef STROP_INTEGER_COMPARE_H
#define STROP_INTEGER_COMPARE_H

#include "integer_binary.h"

STROP_KERNEL int32_t strop_compared(int32_t a, int32_t b, const strop_binary_shape *s) {
    const int32_t x = strop_common(a + s->a_offset, s->a, s);
    const int32_t y = strop_common(b + s->b_offset, s->b, s);
    return (x > y ? 1 : 0) - (x < y ? 1 : 0);
}

STROP_KERNEL int32_t strop_equal_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    return strop_compared(a, b, s) == 0;
}

STROP_KERNEL int32_t strop_not_equal_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    return strop_compared(a, b, s) != 0;
}

STROP_KERNEL int32_t strop_less_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    return strop_compared(a, b, s) < 0;
}

STROP_KERNEL int32_t strop_less_equal_of(int32_t a, int32_t b, const strop_binary_shape *s) {
    return strop_compared(a, b, s) <= 0;
}

STROP_KERNEL void strop_integer_equal(const void *a, const void *b, uint8_t *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, STROP_U8, strop_equal_of);
}

STROP_KERNEL void strop_integer_not_equal(const void *a, const void *b, uint8_t *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, STROP_U8, strop_not_equal_of);
}

STROP_KERNEL void strop_integer_less(const void *a, const void *b, uint8_t *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, STROP_U8, strop_less_of);
}

STROP_KERNEL void strop_integer_less_equal(const void *a, const void *b, uint8_t *out, const strop_binary_shape *s) {
    strop_binary_loops(a, b, out, s, STROP_U8, strop_less_equal_of);
}

#endif
