/* Reductions of float32, plain integers and bools along any axes: sum, mean, product, maximum, minimum, any, all.
 * Integer sums and products wrap. Cost: about 6 instructions per element, 12 for sums of floats. No scratch. */
#ifndef STROP_REDUCE_RAW_H
#define STROP_REDUCE_RAW_H

#include "math_f32.h"

#define STROP_REDUCE_LOOPS 4

/* Loops over the dimensions that are kept and over those that are reduced, outermost first; steps in elements. */
typedef struct {
    int32_t kept[STROP_REDUCE_LOOPS], kept_step[STROP_REDUCE_LOOPS];
    int32_t size[STROP_REDUCE_LOOPS], step[STROP_REDUCE_LOOPS];
    int32_t outputs, count;
} strop_reduce_raw_shape;

STROP_KERNEL int32_t strop_reduce_offset(const int32_t *size, const int32_t *step, int32_t at) {
    int32_t offset = 0;
    for (int32_t d = STROP_REDUCE_LOOPS - 1; d >= 0; --d) {
        if (size[d] > 1) {
            offset += at % size[d] * step[d];
            at /= size[d];
        }
    }
    return offset;
}

/* A sum of floats and what rounding has lost of it, exact for each addition (Knuth's two-sum): terms may cancel. */
typedef struct {
    float total, lost;
} strop_exact_sum;

STROP_KERNEL strop_exact_sum strop_exact_sum_start(void) {
    const strop_exact_sum start = {0.0F, 0.0F};
    return start;
}

STROP_KERNEL strop_exact_sum strop_exact_sum_add(strop_exact_sum sum, float x) {
    const float total = sum.total + x;
    const float added = total - sum.total;
    sum.lost += (sum.total - (total - added)) + (x - added);
    sum.total = total;
    return sum;
}

/* Infinities and NaN leave no meaningful rest. */
STROP_KERNEL float strop_exact_sum_value(strop_exact_sum sum) {
    const float value = sum.total + sum.lost;
    return value == value ? value : sum.total;
}

/* The kernel strop_reduce_<op>_<name>. Expressions: start of `first`, the first element (0 when there is none);
 * join of `total` and `x`, the next element in the type `element`; result of `total`. */
#define STROP_REDUCE(op, name, type, element, accumulator, start, join, result)                                        \
    STROP_KERNEL void strop_reduce_##op##_##name(const type *restrict in, type *restrict out,                          \
                                                 const strop_reduce_raw_shape *s) {                                    \
        const int32_t inner = STROP_REDUCE_LOOPS - 1;                                                                  \
        const int32_t length = s->size[inner], step = s->step[inner];                                                  \
        const int32_t rows = length > 0 ? s->count / length : 0;                                                       \
        for (int32_t i = 0; i < s->outputs; ++i) {                                                                     \
            const type *const from = in + strop_reduce_offset(s->kept, s->kept_step, i);                               \
            const type first = s->count > 0 ? *from : 0;                                                               \
            (void)first;                                                                                               \
            accumulator total = start;                                                                                 \
            for (int32_t row = 0; row < rows; ++row) {                                                                 \
                const type *const line = from + strop_reduce_offset(s->size, s->step, row * length);                   \
                for (int32_t k = 0; k < length; ++k) {                                                                 \
                    const element x = (element)line[k * step];                                                         \
                    total = join;                                                                                      \
                }                                                                                                      \
            }                                                                                                          \
            out[i] = (type)(result);                                                                                   \
        }                                                                                                              \
    }

STROP_REDUCE(sum, f32, float, float, strop_exact_sum, strop_exact_sum_start(), strop_exact_sum_add(total, x),
             strop_exact_sum_value(total))
STROP_REDUCE(mean, f32, float, float, strop_exact_sum, strop_exact_sum_start(), strop_exact_sum_add(total, x),
             strop_exact_sum_value(total) / (float)s->count)
STROP_REDUCE(prod, f32, float, float, float, 1.0F, total * x, total)
STROP_REDUCE(max, f32, float, float, float, first, strop_max_f32(total, x), total)
STROP_REDUCE(min, f32, float, float, float, first, strop_min_f32(total, x), total)

/* wide: the unsigned type of sums and products. Means are truncated toward zero. */
#define STROP_REDUCE_INTEGER(name, type, wide)                                                                         \
    STROP_REDUCE(sum, name, type, wide, wide, 0, total + x, total)                                                     \
    STROP_REDUCE(prod, name, type, wide, wide, 1, total * x, total)                                                    \
    STROP_REDUCE(mean, name, type, int64_t, int64_t, 0, total + x, total / s->count)                                   \
    STROP_REDUCE(max, name, type, type, type, first, x > total ? x : total, total)                                     \
    STROP_REDUCE(min, name, type, type, type, first, x < total ? x : total, total)

STROP_REDUCE_INTEGER(i8, int8_t, uint32_t)
STROP_REDUCE_INTEGER(u8, uint8_t, uint32_t)
STROP_REDUCE_INTEGER(i16, int16_t, uint32_t)
STROP_REDUCE_INTEGER(u16, uint16_t, uint32_t)
STROP_REDUCE_INTEGER(i32, int32_t, uint32_t)
STROP_REDUCE_INTEGER(u32, uint32_t, uint32_t)
STROP_REDUCE_INTEGER(i64, int64_t, uint64_t)
STROP_REDUCE_INTEGER(u64, uint64_t, uint64_t)

STROP_REDUCE(any, bool, uint8_t, uint8_t, uint8_t, 0, total | x, total)
STROP_REDUCE(all, bool, uint8_t, uint8_t, uint8_t, 1, total & x, total)

#endif
