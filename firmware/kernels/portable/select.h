/* where and one_hot: a choice between two values, elements of 1, 2, 4 or 8 bytes. Cost: about 12 instructions per element. */
#ifndef STROP_SELECT_H
#define STROP_SELECT_H

#include "indices.h"
#include "move_strided.h"

#define STROP_SELECT_LOOPS 6

/* condition, a, b: elements that each operand advances per iteration. */
typedef struct {
    int32_t size[STROP_SELECT_LOOPS], condition[STROP_SELECT_LOOPS], a[STROP_SELECT_LOOPS], b[STROP_SELECT_LOOPS];
} strop_select_loops;

typedef struct {
    strop_select_loops loops;
    int32_t elements;
} strop_where_shape;

/* Indices (outer, inner): result (outer, depth, inner). wrap: negative indices count from the end. */
typedef struct {
    int32_t outer, depth, inner, wrap;
    strop_index_type index_type;
} strop_one_hot_shape;

/* Where the operands of output element number `at` are. */
STROP_KERNEL int32_t strop_select_offset(const int32_t *size, const int32_t *step, int32_t at) {
    int32_t offset = 0;
    for (int32_t d = STROP_SELECT_LOOPS - 1; d >= 0; --d) {
        if (size[d] > 1) {
            offset += at % size[d] * step[d];
            at /= size[d];
        }
    }
    return offset;
}

/* Position that index number `at` marks, outside [0, depth) when it marks none. */
STROP_KERNEL int64_t strop_one_hot_mark(const void *indices, int32_t at, const strop_one_hot_shape *s) {
    const int64_t stored = strop_index_load(indices, at, s->index_type);
    return s->wrap && stored < 0 ? stored + s->depth : stored;
}

#define STROP_SELECT(bytes)                                                                                            \
    STROP_KERNEL void strop_where_##bytes(const uint8_t *condition, const void *x, const void *y, void *to,            \
                                          const strop_where_shape *s) {                                                \
        const strop_element_##bytes *const a = x, *const b = y;                                                        \
        strop_element_##bytes *const out = to;                                                                         \
        for (int32_t i = 0; i < s->elements; ++i) {                                                                    \
            const bool holds = condition[strop_select_offset(s->loops.size, s->loops.condition, i)] != 0;              \
            out[i] = holds ? a[strop_select_offset(s->loops.size, s->loops.a, i)]                                      \
                           : b[strop_select_offset(s->loops.size, s->loops.b, i)];                                     \
        }                                                                                                              \
    }                                                                                                                  \
    STROP_KERNEL void strop_one_hot_##bytes(const void *indices, const void *on, const void *off, void *to,            \
                                            const strop_one_hot_shape *s) {                                            \
        const strop_element_##bytes *const hit = on, *const miss = off;                                                \
        strop_element_##bytes *out = to;                                                                               \
        for (int32_t row = 0; row < s->outer; ++row) {                                                                 \
            for (int32_t d = 0; d < s->depth; ++d) {                                                                   \
                for (int32_t i = 0; i < s->inner; ++i) {                                                               \
                    *out++ = strop_one_hot_mark(indices, row * s->inner + i, s) == d ? *hit : *miss;                   \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

STROP_SELECT(1)
STROP_SELECT(2)
STROP_SELECT(4)
STROP_SELECT(8)

#endif
