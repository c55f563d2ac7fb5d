/* The k best elements along an axis, best first, of equals the first, of any integer type; and their indices.
 * Every rank is one pass over the axis: no scratch. Cost: about 9 instructions per element and rank. */
#ifndef STROP_TOP_K_INTEGER_H
#define STROP_TOP_K_INTEGER_H

#include "element.h"

/* in is [outer][size][inner], both outputs [outer][k][inner]. largest: else the smallest; wide: int64 indices. */
typedef struct {
    int32_t outer, size, inner, k, largest, wide;
    strop_type type;
} strop_top_k_shape;

/* The best element after element `last` in the order of (value, index), or of all when last is negative. */
STROP_KERNEL int32_t strop_next_best(const void *in, int32_t first, int32_t last, const strop_top_k_shape *s) {
    const int32_t bound = last >= 0 ? strop_load(in, first + last * s->inner, s->type) : 0;
    int32_t best = -1;
    int32_t record = 0;
    for (int32_t i = 0; i < s->size; ++i) {
        const int32_t x = strop_load(in, first + i * s->inner, s->type);
        const bool behind = s->largest ? x < bound : x > bound;
        const bool waits = last < 0 || behind || (x == bound && i > last);
        const bool better = s->largest ? x > record : x < record;
        if (waits && (best < 0 || better)) {
            best = i;
            record = x;
        }
    }
    return best;
}

STROP_KERNEL void strop_top_k_integer(const void *restrict in, void *restrict values, void *restrict indices,
                                      const strop_top_k_shape *s) {
    for (int32_t line = 0; line < s->outer * s->inner; ++line) {
        const int32_t first = line / s->inner * s->size * s->inner + line % s->inner;
        int32_t last = -1;
        for (int32_t rank = 0; rank < s->k; ++rank) {
            const int32_t to = (line / s->inner * s->k + rank) * s->inner + line % s->inner;
            last = strop_next_best(in, first, last, s);
            strop_store(values, to, s->type, strop_load(in, first + last * s->inner, s->type));
            if (s->wide) {
                ((int64_t *)indices)[to] = last;
            } else {
                ((int32_t *)indices)[to] = last;
            }
        }
    }
}

#endif
