/* gather, gather_nd and gather_elements of elements of any size. Cost: about 12 instructions per index plus memcpy. */
#ifndef STROP_GATHER_H
#define STROP_GATHER_H

#include "indices.h"

#define STROP_GATHER_LOOPS 8

/* Data (batch, outer, size, run), indices (batch, picks): result (batch, outer, picks, run). run_bytes: bytes of a run. */
typedef struct {
    int32_t batch, outer, size, picks, run_bytes;
    strop_index_type index_type;
} strop_gather_shape;

STROP_KERNEL void strop_gather(const void *restrict in, const void *restrict indices, void *restrict out,
                               const strop_gather_shape *s) {
    const uint8_t *from = in;
    uint8_t *to = out;
    for (int32_t row = 0; row < s->batch * s->outer; ++row, from += s->size * s->run_bytes) {
        const int32_t first = row / s->outer * s->picks;
        for (int32_t i = 0; i < s->picks; ++i, to += s->run_bytes) {
            const int32_t index = strop_index(indices, first + i, s->index_type, s->size);
            memcpy(to, from + (ptrdiff_t)index * s->run_bytes, (size_t)s->run_bytes);
        }
    }
}

/* Data (batch, size[0], ..., size[depth - 1], run), indices (batch, picks, depth): result (batch, picks, run). */
typedef struct {
    int32_t batch, picks, depth, size[STROP_GATHER_LOOPS], block_bytes, run_bytes;
    strop_index_type index_type;
} strop_gather_nd_shape;

/* The run that the indices from `first` on address. */
STROP_KERNEL int32_t strop_run_address(const void *indices, int32_t first, int32_t depth, const int32_t *size,
                                       strop_index_type type) {
    int32_t address = 0;
    for (int32_t d = 0; d < depth; ++d) {
        address = address * size[d] + strop_index(indices, first + d, type, size[d]);
    }
    return address;
}

STROP_KERNEL void strop_gather_nd(const void *restrict in, const void *restrict indices, void *restrict out,
                                  const strop_gather_nd_shape *s) {
    const uint8_t *from = in;
    uint8_t *to = out;
    for (int32_t pick = 0; pick < s->batch * s->picks; ++pick, to += s->run_bytes) {
        const int32_t run = strop_run_address(indices, pick * s->depth, s->depth, s->size, s->index_type);
        const ptrdiff_t block = (ptrdiff_t)(pick / s->picks) * s->block_bytes;
        memcpy(to, from + block + (ptrdiff_t)run * s->run_bytes, (size_t)s->run_bytes);
    }
}

/* size: dimensions of the indices; step: elements of the data from one index to the next, of the axis too;
 * axis_size: of the data. */
typedef struct {
    int32_t elements, size[STROP_GATHER_LOOPS], step[STROP_GATHER_LOOPS], axis, axis_size, element_bytes;
    strop_index_type index_type;
} strop_gather_elements_shape;

/* The element of the data that index number `at` addresses. */
STROP_KERNEL int32_t strop_element_address(const void *indices, int32_t at, const strop_gather_elements_shape *s) {
    int32_t rest = at, address = 0;
    for (int32_t d = STROP_GATHER_LOOPS - 1; d >= 0; --d) {
        const int32_t position = rest % s->size[d];
        const int32_t index = d == s->axis ? strop_index(indices, at, s->index_type, s->axis_size) : position;
        address += index * s->step[d];
        rest /= s->size[d];
    }
    return address;
}

STROP_KERNEL void strop_gather_elements(const void *restrict in, const void *restrict indices, void *restrict out,
                                        const strop_gather_elements_shape *s) {
    const uint8_t *const from = in;
    uint8_t *to = out;
    for (int32_t at = 0; at < s->elements; ++at, to += s->element_bytes) {
        const ptrdiff_t address = strop_element_address(indices, at, s);
        memcpy(to, from + address * s->element_bytes, (size_t)s->element_bytes);
    }
}

#endif
