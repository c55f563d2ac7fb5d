/* scatter_elements and scatter_nd: a copy of the data, then the updates in order of their indices.
 * Cost: a copy, about 20 instructions per updated element. No scratch. */
#ifndef STROP_SCATTER_H
#define STROP_SCATTER_H

#include "gather.h"
#include "math_f32.h"

/* What happens to the element that is there. */
typedef enum { STROP_SCATTER_ADD, STROP_SCATTER_MUL, STROP_SCATTER_MIN, STROP_SCATTER_MAX } strop_reduction;

/* at: addresses. data_elements: of the data and the result. */
typedef struct {
    strop_gather_elements_shape at;
    int32_t data_elements;
    strop_reduction reduction;
} strop_scatter_elements_shape;

/* at: addresses, batch 1. run: elements of a run. */
typedef struct {
    strop_gather_nd_shape at;
    int32_t data_elements, run;
    strop_reduction reduction;
} strop_scatter_nd_shape;

STROP_KERNEL void strop_scatter_elements(const void *restrict data, const void *restrict indices,
                                         const void *restrict updates, void *restrict out,
                                         const strop_scatter_elements_shape *s) {
    const size_t bytes = (size_t)s->at.element_bytes;
    const uint8_t *from = updates;
    uint8_t *const to = out;
    memcpy(out, data, (size_t)s->data_elements * bytes);
    for (int32_t i = 0; i < s->at.elements; ++i, from += bytes) {
        memcpy(to + (size_t)strop_element_address(indices, i, &s->at) * bytes, from, bytes);
    }
}

STROP_KERNEL void strop_scatter_nd(const void *restrict data, const void *restrict indices, const void *restrict updates,
                                   void *restrict out, const strop_scatter_nd_shape *s) {
    const size_t bytes = (size_t)s->at.run_bytes;
    const uint8_t *from = updates;
    uint8_t *const to = out;
    memcpy(out, data, (size_t)s->at.block_bytes);
    for (int32_t i = 0; i < s->at.picks; ++i, from += bytes) {
        const int32_t run = strop_run_address(indices, i * s->at.depth, s->at.depth, s->at.size, s->at.index_type);
        memcpy(to + (size_t)run * bytes, from, bytes);
    }
}

STROP_KERNEL float strop_join_f32(float x, float y, strop_reduction reduction) {
    switch (reduction) {
    case STROP_SCATTER_ADD:
        return x + y;
    case STROP_SCATTER_MUL:
        return x * y;
    case STROP_SCATTER_MIN:
        return strop_min_f32(x, y);
    default:
        return strop_max_f32(x, y);
    }
}

/* strop_join_<name> of an integer type; sums and products wrap, taken in the unsigned type `wide`. */
#define STROP_JOIN(name, type, wide)                                                                                   \
    STROP_KERNEL type strop_join_##name(type x, type y, strop_reduction reduction) {                                   \
        switch (reduction) {                                                                                           \
        case STROP_SCATTER_ADD:                                                                                        \
            return (type)((wide)x + (wide)y);                                                                          \
        case STROP_SCATTER_MUL:                                                                                        \
            return (type)((wide)x * (wide)y);                                                                          \
        case STROP_SCATTER_MIN:                                                                                        \
            return x < y ? x : y;                                                                                      \
        default:                                                                                                       \
            return x > y ? x : y;                                                                                      \
        }                                                                                                              \
    }

STROP_JOIN(i8, int8_t, uint32_t)
STROP_JOIN(u8, uint8_t, uint32_t)
STROP_JOIN(i16, int16_t, uint32_t)
STROP_JOIN(u16, uint16_t, uint32_t)
STROP_JOIN(i32, int32_t, uint32_t)
STROP_JOIN(u32, uint32_t, uint32_t)
STROP_JOIN(i64, int64_t, uint64_t)
STROP_JOIN(u64, uint64_t, uint64_t)

/* The kernels strop_scatter_elements_<name> and strop_scatter_nd_<name> that join updates to the elements. */
#define STROP_SCATTER(name, type)                                                                                      \
    STROP_KERNEL void strop_scatter_elements_##name(const type *restrict data, const void *restrict indices,           \
                                                    const type *restrict updates, type *restrict out,                  \
                                                    const strop_scatter_elements_shape *s) {                           \
        memcpy(out, data, (size_t)s->data_elements * sizeof(type));                                                    \
        for (int32_t i = 0; i < s->at.elements; ++i) {                                                                 \
            type *const to = out + strop_element_address(indices, i, &s->at);                                          \
            *to = strop_join_##name(*to, updates[i], s->reduction);                                                    \
        }                                                                                                              \
    }                                                                                                                  \
    STROP_KERNEL void strop_scatter_nd_##name(const type *restrict data, const void *restrict indices,                 \
                                              const type *restrict updates, type *restrict out,                        \
                                              const strop_scatter_nd_shape *s) {                                       \
        memcpy(out, data, (size_t)s->data_elements * sizeof(type));                                                    \
        for (int32_t i = 0; i < s->at.picks; ++i) {                                                                    \
            const int32_t first = i * s->at.depth;                                                                     \
            type *const to = out + s->run * strop_run_address(indices, first, s->at.depth, s->at.size, s->at.index_type); \
            for (int32_t k = 0; k < s->run; ++k) {                                                                     \
                to[k] = strop_join_##name(to[k], updates[i * s->run + k], s->reduction);                               \
            }                                                                                                          \
        }                                                                                                              \
    }

STROP_SCATTER(f32, float)
STROP_SCATTER(i8, int8_t)
STROP_SCATTER(u8, uint8_t)
STROP_SCATTER(i16, int16_t)
STROP_SCATTER(u16, uint16_t)
STROP_SCATTER(i32, int32_t)
STROP_SCATTER(u32, uint32_t)
STROP_SCATTER(i64, int64_t)
STROP_SCATTER(u64, uint64_t)

#endif
