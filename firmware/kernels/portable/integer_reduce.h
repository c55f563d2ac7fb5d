/* Reductions of quantized tensors along any axes: sum, mean, product, maximum, minimum.
 * Cost: about 6 instructions per reduced element, 18 for products, 30 per output. No scratch. */
#ifndef STROP_INTEGER_REDUCE_H
#define STROP_INTEGER_REDUCE_H

#include "broadcast.h"
#include "element.h"
#include "fixed_point.h"

/* kept, reduced: the loops over both kinds of dimensions, operand a; factor: of sums and means; wide: of products. */
typedef struct {
    strop_broadcast kept, reduced;
    strop_type type;
    int32_t in_offset, out_offset, act_min, act_max;
    strop_factor factor;
    strop_wide_factor wide;
} strop_reduce_shape;

/* Joins one more element to a result. */
typedef int32_t (*strop_fold)(int32_t result, int32_t x, const strop_reduce_shape *s);

STROP_KERNEL int32_t strop_fold_sum(int32_t result, int32_t x, const strop_reduce_shape *s) { return result + x + s->in_offset; }

STROP_KERNEL int32_t strop_fold_max(int32_t result, int32_t x, const strop_reduce_shape *s) {
    (void)s;
    return strop_max(result, x);
}

STROP_KERNEL int32_t strop_fold_min(int32_t result, int32_t x, const strop_reduce_shape *s) {
    (void)s;
    return strop_min(result, x);
}

/* All elements that go into one output, which starts at element `first`. */
STROP_KERNEL int32_t strop_folded(const void *in, int32_t first, int32_t start, const strop_reduce_shape *s, strop_fold fold) {
    const int32_t rows = strop_broadcast_rows(&s->reduced);
    const int32_t inner = STROP_LOOPS - 1;
    int32_t result = start;
    for (int32_t row = 0; row < rows; ++row) {
        const int32_t at = first + strop_broadcast_row(&s->reduced, row).a;
        for (int32_t i = 0; i < s->reduced.size[inner]; ++i) {
            result = fold(result, strop_load(in, at + i * s->reduced.a[inner], s->type), s);
        }
    }
    return result;
}

/* Element i of a walk over all its loops. */
STROP_KERNEL int32_t strop_walk(const strop_broadcast *loops, int32_t i) {
    const int32_t length = loops->size[STROP_LOOPS - 1];
    return strop_broadcast_row(loops, i / length).a + i % length * loops->a[STROP_LOOPS - 1];
}

STROP_KERNEL int32_t strop_walk_length(const strop_broadcast *loops) {
    return strop_broadcast_rows(loops) * loops->size[STROP_LOOPS - 1];
}

/* Sums and means: the factor of a mean contains 1 / count. */
STROP_KERNEL void strop_reduce_sum(const void *restrict in, void *restrict out, const strop_reduce_shape *s) {
    const int32_t outputs = strop_walk_length(&s->kept);
    for (int32_t i = 0; i < outputs; ++i) {
        const int32_t sum = strop_folded(in, strop_walk(&s->kept, i), 0, s, strop_fold_sum);
        const int32_t y = strop_multiply(sum, s->factor.mantissa, s->factor.shift) + s->out_offset;
        strop_store(out, i, s->type, strop_clamp(y, s->act_min, s->act_max));
    }
}

STROP_KERNEL void strop_reduce_max(const void *restrict in, void *restrict out, const strop_reduce_shape *s) {
    const int32_t outputs = strop_walk_length(&s->kept);
    for (int32_t i = 0; i < outputs; ++i) {
        strop_store(out, i, s->type, strop_folded(in, strop_walk(&s->kept, i), INT32_MIN, s, strop_fold_max));
    }
}

STROP_KERNEL void strop_reduce_min(const void *restrict in, void *restrict out, const strop_reduce_shape *s) {
    const int32_t outputs = strop_walk_length(&s->kept);
    for (int32_t i = 0; i < outputs; ++i) {
        strop_store(out, i, s->type, strop_folded(in, strop_walk(&s->kept, i), INT32_MAX, s, strop_fold_min));
    }
}

/* Products are scaled after every step and once more at the end. */
STROP_KERNEL void strop_reduce_prod(const void *restrict in, void *restrict out, const strop_reduce_shape *s) {
    const int32_t outputs = strop_walk_length(&s->kept);
    const int32_t count = strop_walk_length(&s->reduced);
    for (int32_t i = 0; i < outputs; ++i) {
        const int32_t first = strop_walk(&s->kept, i);
        int32_t product = strop_load(in, first, s->type) + s->in_offset;
        for (int32_t k = 1; k < count; ++k) {
            const int32_t x = strop_load(in, first + strop_walk(&s->reduced, k), s->type) + s->in_offset;
            product = strop_multiply_wide((int64_t)product * x, s->wide);
        }
        const int64_t y = (int64_t)strop_multiply_wide(product, s->wide) + s->out_offset;
        strop_store(out, i, s->type, (int32_t)(y < s->act_min ? s->act_min : (y > s->act_max ? s->act_max : y)));
    }
}

#endif
