/* Padding with elements of the input: mirrored without the edge (reflect) or with it (symmetric), the edge itself, or
 * the opposite side (wrap). Elements of any size. Cost: about 25 instructions per element. No scratch. */
#ifndef STROP_PAD_BORDER_H
#define STROP_PAD_BORDER_H

#include "common.h"

#define STROP_PAD_LOOPS 6

typedef enum { STROP_PAD_REFLECT, STROP_PAD_SYMMETRIC, STROP_PAD_EDGE, STROP_PAD_WRAP } strop_pad_mode;

/* size, in_size: elements per dimension after and before padding; before: those added in front; step: input elements
 * from one index to the next; element_bytes: of one element, or of a contiguous run that has no padding. */
typedef struct {
    int32_t size[STROP_PAD_LOOPS], in_size[STROP_PAD_LOOPS], before[STROP_PAD_LOOPS], step[STROP_PAD_LOOPS];
    int32_t elements, element_bytes;
    strop_pad_mode mode;
} strop_pad_border_shape;

/* The input index that stands at position i, counted from the first input element. */
STROP_KERNEL int32_t strop_pad_source(int32_t i, int32_t size, strop_pad_mode mode) {
    if (mode == STROP_PAD_WRAP) {
        const int32_t rest = i % size;
        return rest < 0 ? rest + size : rest;
    }
    if (mode == STROP_PAD_EDGE) {
        return strop_clamp(i, 0, size - 1);
    }
    const int32_t edge = mode == STROP_PAD_SYMMETRIC ? 1 : 0;
    if (i < 0) {
        return -i - edge;
    }
    return i < size ? i : 2 * size - 2 + edge - i;
}

STROP_KERNEL void strop_pad_border(const void *restrict in, void *restrict out, const strop_pad_border_shape *s) {
    const uint8_t *const from = in;
    uint8_t *to = out;
    for (int32_t at = 0; at < s->elements; ++at, to += s->element_bytes) {
        int32_t rest = at, offset = 0;
        for (int32_t d = STROP_PAD_LOOPS - 1; d >= 0; --d) {
            offset += strop_pad_source(rest % s->size[d] - s->before[d], s->in_size[d], s->mode) * s->step[d];
            rest /= s->size[d];
        }
        memcpy(to, from + (ptrdiff_t)offset * s->element_bytes, (size_t)s->element_bytes);
    }
}

#endif
