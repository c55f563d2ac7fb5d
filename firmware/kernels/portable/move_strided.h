/* Moves between evenly spaced elements: transpose, slice, reverse, tile, broadcast_to, concat, split, space_to_depth,
 * depth_to_space, pad with a constant. Elements of 1, 2, 4 or 8 bytes, whatever they mean.
 * Cost: about 7 instructions per element, less where runs are contiguous on both sides. No scratch. */
#ifndef STROP_MOVE_STRIDED_H
#define STROP_MOVE_STRIDED_H

#include "common.h"

#define STROP_MOVE_LOOPS 8

/* Elements by size alone: they may alias values of any type of that size. */
#if defined(__GNUC__)
#define STROP_ANY_TYPE __attribute__((may_alias))
#else
#define STROP_ANY_TYPE
#endif
typedef uint8_t STROP_ANY_TYPE strop_element_1;
typedef uint16_t STROP_ANY_TYPE strop_element_2;
typedef uint32_t STROP_ANY_TYPE strop_element_4;
typedef uint64_t STROP_ANY_TYPE strop_element_8;

/* size: iterations per dimension, outermost first. in, out: elements that each side advances per iteration, may be negative. */
typedef struct {
    int32_t size[STROP_MOVE_LOOPS], in[STROP_MOVE_LOOPS], out[STROP_MOVE_LOOPS];
} strop_move_loops;

/* empty: there is nothing to move. fill: bits of the element that surrounds the moved ones, of pad alone; elements of out. */
typedef struct {
    strop_move_loops loops;
    int32_t in_start, out_start, empty, elements;
    uint64_t fill;
} strop_move_shape;

/* The innermost row that is moved next. */
typedef struct {
    int32_t in, out, index[STROP_MOVE_LOOPS];
} strop_move_row;

/* Advance to the next row; false after the last. */
STROP_KERNEL bool strop_move_next(const strop_move_loops *loops, strop_move_row *row) {
    for (int32_t d = STROP_MOVE_LOOPS - 2; d >= 0; --d) {
        row->in += loops->in[d];
        row->out += loops->out[d];
        if (++row->index[d] < loops->size[d]) {
            return true;
        }
        row->in -= loops->size[d] * loops->in[d];
        row->out -= loops->size[d] * loops->out[d];
        row->index[d] = 0;
    }
    return false;
}

/* The kernels strop_move_<bytes> and strop_pad_<bytes>, the latter with the fill around what is moved. */
#define STROP_MOVE(bytes)                                                                                              \
    STROP_KERNEL void strop_move_##bytes(const void *restrict from, void *restrict to, const strop_move_shape *s) {    \
        const strop_element_##bytes *const in = from;                                                                  \
        strop_element_##bytes *const out = to;                                                                         \
        const int32_t inner = STROP_MOVE_LOOPS - 1;                                                                    \
        const int32_t in_step = s->loops.in[inner], out_step = s->loops.out[inner], count = s->loops.size[inner];      \
        strop_move_row row = {s->in_start, s->out_start, {0}};                                                         \
        bool more = !s->empty;                                                                                         \
        while (more) {                                                                                                 \
            if (in_step == 1 && out_step == 1) {                                                                       \
                memcpy(out + row.out, in + row.in, (size_t)count * bytes);                                             \
            } else {                                                                                                   \
                for (int32_t i = 0; i < count; ++i) {                                                                  \
                    out[row.out + i * out_step] = in[row.in + i * in_step];                                            \
                }                                                                                                      \
            }                                                                                                          \
            more = strop_move_next(&s->loops, &row);                                                                   \
        }                                                                                                              \
    }                                                                                                                  \
    STROP_KERNEL void strop_pad_##bytes(const void *restrict from, void *restrict to, const strop_move_shape *s) {     \
        strop_element_##bytes *const out = to;                                                                         \
        for (int32_t i = 0; i < s->elements; ++i) {                                                                    \
            out[i] = (strop_element_##bytes)s->fill;                                                                   \
        }                                                                                                              \
        strop_move_##bytes(from, to, s);                                                                               \
    }

STROP_MOVE(1)
STROP_MOVE(2)
STROP_MOVE(4)
STROP_MOVE(8)

#endif
