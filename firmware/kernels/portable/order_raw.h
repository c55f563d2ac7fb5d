/* argmax, argmin, top_k and running sums along one axis, of float32 and integers. NaN counts as the largest, and argmin
 * finds it as well. Cost: about 7 instructions per element; top_k up to 10 k per element. No scratch. */
#ifndef STROP_ORDER_RAW_H
#define STROP_ORDER_RAW_H

#include "indices.h"
#include "math_f32.h"

/* The tensor is (outer, size, inner). last: of equal elements the last; k, largest: of top_k; exclusive, reverse: of cumsum. */
typedef struct {
    int32_t outer, size, inner, last, k, largest, exclusive, reverse;
    strop_index_type index_type;
} strop_order_shape;

STROP_KERNEL bool strop_above_f32(float x, float y) { return x > y || (strop_is_nan_f32(x) && !strop_is_nan_f32(y)); }

STROP_KERNEL bool strop_below_f32(float x, float y) { return x < y || (strop_is_nan_f32(y) && !strop_is_nan_f32(x)); }

STROP_KERNEL bool strop_least_f32(float x, float y) { return x < y || (strop_is_nan_f32(x) && !strop_is_nan_f32(y)); }

#define STROP_ORDER_OF(name, type)                                                                                     \
    STROP_KERNEL bool strop_above_##name(type x, type y) { return x > y; }                                             \
    STROP_KERNEL bool strop_below_##name(type x, type y) { return x < y; }                                             \
    STROP_KERNEL bool strop_least_##name(type x, type y) { return x < y; }

STROP_ORDER_OF(i8, int8_t)
STROP_ORDER_OF(u8, uint8_t)
STROP_ORDER_OF(i16, int16_t)
STROP_ORDER_OF(u16, uint16_t)
STROP_ORDER_OF(i32, int32_t)
STROP_ORDER_OF(u32, uint32_t)
STROP_ORDER_OF(i64, int64_t)
STROP_ORDER_OF(u64, uint64_t)

/* The kernel strop_<op>_<name>; `before(x, y)`: x is found rather than y. */
#define STROP_ARG_RAW(op, name, type, before)                                                                          \
    STROP_KERNEL void strop_##op##_##name(const type *restrict in, void *restrict out, const strop_order_shape *s) {   \
        for (int32_t i = 0; i < s->outer * s->inner; ++i) {                                                            \
            const type *const line = in + i / s->inner * s->size * s->inner + i % s->inner;                            \
            int32_t best = 0;                                                                                          \
            for (int32_t k = 1; k < s->size; ++k) {                                                                    \
                const type x = line[k * s->inner], y = line[best * s->inner];                                          \
                best = before(x, y) || (s->last && !before(y, x)) ? k : best;                                          \
            }                                                                                                          \
            strop_index_store(out, i, s->index_type, best);                                                            \
        }                                                                                                              \
    }

/* The kernel strop_top_k_<name>: every element is inserted into the sorted list of the best, which is the output. */
#define STROP_TOP_K(name, type)                                                                                        \
    STROP_KERNEL bool strop_before_##name(type x, type y, bool largest) {                                              \
        return largest ? strop_above_##name(x, y) : strop_below_##name(x, y);                                          \
    }                                                                                                                  \
    STROP_KERNEL void strop_insert_##name(type *list, void *indices, int32_t first, int32_t filled, type x,            \
                                          int32_t index, const strop_order_shape *s) {                                 \
        int32_t place = filled;                                                                                        \
        for (; place > 0 && strop_before_##name(x, list[(place - 1) * s->inner], s->largest != 0); --place) {          \
            if (place < s->k) {                                                                                        \
                list[place * s->inner] = list[(place - 1) * s->inner];                                                 \
                const int32_t from = first + (place - 1) * s->inner;                                                   \
                strop_index_store(indices, from + s->inner, s->index_type,                                             \
                                  (int32_t)strop_index_load(indices, from, s->index_type));                            \
            }                                                                                                          \
        }                                                                                                              \
        if (place < s->k) {                                                                                            \
            list[place * s->inner] = x;                                                                                \
            strop_index_store(indices, first + place * s->inner, s->index_type, index);                                \
        }                                                                                                              \
    }                                                                                                                  \
    STROP_KERNEL void strop_top_k_##name(const type *restrict in, type *restrict out, void *restrict indices,          \
                                         const strop_order_shape *s) {                                                 \
        for (int32_t i = 0; i < s->outer * s->inner; ++i) {                                                            \
            const type *const line = in + i / s->inner * s->size * s->inner + i % s->inner;                            \
            const int32_t first = i / s->inner * s->k * s->inner + i % s->inner;                                       \
            for (int32_t k = 0; k < s->size; ++k) {                                                                    \
                strop_insert_##name(out + first, indices, first, strop_min(k, s->k), line[k * s->inner], k, s);        \
            }                                                                                                          \
        }                                                                                                              \
    }

/* The kernel strop_cumsum_<name>, sums in the type `wide`. */
#define STROP_CUMSUM(name, type, wide)                                                                                 \
    STROP_KERNEL void strop_cumsum_##name(const type *restrict in, type *restrict out, const strop_order_shape *s) {   \
        for (int32_t i = 0; i < s->outer * s->inner; ++i) {                                                            \
            const int32_t first = i / s->inner * s->size * s->inner + i % s->inner;                                    \
            wide total = 0;                                                                                            \
            for (int32_t k = 0; k < s->size; ++k) {                                                                    \
                const int32_t at = first + (s->reverse ? s->size - 1 - k : k) * s->inner;                              \
                const wide before = total, x = (wide)in[at];                                                           \
                total += x;                                                                                            \
                out[at] = (type)(s->exclusive ? before : total);                                                       \
            }                                                                                                          \
        }                                                                                                              \
    }

#define STROP_ORDERS(name, type, wide)                                                                                 \
    STROP_ARG_RAW(argmax, name, type, strop_above_##name)                                                              \
    STROP_ARG_RAW(argmin, name, type, strop_least_##name)                                                              \
    STROP_TOP_K(name, type)                                                                                            \
    STROP_CUMSUM(name, type, wide)

STROP_ORDERS(f32, float, float)
STROP_ORDERS(i8, int8_t, uint32_t)
STROP_ORDERS(u8, uint8_t, uint32_t)
STROP_ORDERS(i16, int16_t, uint32_t)
STROP_ORDERS(u16, uint16_t, uint32_t)
STROP_ORDERS(i32, int32_t, uint32_t)
STROP_ORDERS(u32, uint32_t, uint32_t)
STROP_ORDERS(i64, int64_t, uint64_t)
STROP_ORDERS(u64, uint64_t, uint64_t)

#endif
