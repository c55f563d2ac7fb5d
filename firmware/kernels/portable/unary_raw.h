/* Elementwise functions of one tensor of a plain integer type or of bools. Cost: about 5 instructions per element. */
#ifndef STROP_UNARY_RAW_H
#define STROP_UNARY_RAW_H

#include "common.h"

typedef struct {
    int32_t count;
} strop_unary_raw_shape;

/* The kernel strop_<op>_map_<name>: out[i] = value, an expression of x = in[i]. */
#define STROP_UNARY_RAW(op, name, type, value)                                                                         \
    STROP_KERNEL void strop_##op##_map_##name(const type *in, type *out, const strop_unary_raw_shape *s) {             \
        for (int32_t i = 0; i < s->count; ++i) {                                                                       \
            const type x = in[i];                                                                                      \
            out[i] = (type)(value);                                                                                    \
        }                                                                                                              \
    }

/* `wide` is the unsigned type that results wrap in: negating the least value gives it back. */
#define STROP_SIGNED_MAPS(name, type, wide)                                                                            \
    STROP_UNARY_RAW(relu, name, type, x < 0 ? 0 : x)                                                                   \
    STROP_UNARY_RAW(relu6, name, type, x < 0 ? 0 : (x > 6 ? 6 : x))                                                    \
    STROP_UNARY_RAW(relu_n1_1, name, type, x < -1 ? -1 : (x > 1 ? 1 : x))                                              \
    STROP_UNARY_RAW(abs, name, type, x < 0 ? (type)(0U - (wide)x) : x)                                                 \
    STROP_UNARY_RAW(neg, name, type, 0U - (wide)x)                                                                     \
    STROP_UNARY_RAW(square, name, type, (wide)x * (wide)x)                                                             \
    STROP_UNARY_RAW(sign, name, type, x < 0 ? -1 : (x > 0 ? 1 : 0))                                                    \
    STROP_UNARY_RAW(bitwise_not, name, type, ~x)

STROP_SIGNED_MAPS(i8, int8_t, uint32_t)
STROP_SIGNED_MAPS(i16, int16_t, uint32_t)
STROP_SIGNED_MAPS(i32, int32_t, uint32_t)
STROP_SIGNED_MAPS(i64, int64_t, uint64_t)

#define STROP_UNSIGNED_MAPS(name, type, wide)                                                                          \
    STROP_UNARY_RAW(relu6, name, type, x > 6 ? 6 : x)                                                                  \
    STROP_UNARY_RAW(relu_n1_1, name, type, x > 1 ? 1 : x)                                                              \
    STROP_UNARY_RAW(neg, name, type, 0U - (wide)x)                                                                     \
    STROP_UNARY_RAW(square, name, type, (wide)x * (wide)x)                                                             \
    STROP_UNARY_RAW(sign, name, type, x > 0 ? 1 : 0)                                                                   \
    STROP_UNARY_RAW(bitwise_not, name, type, ~x)

STROP_UNSIGNED_MAPS(u8, uint8_t, uint32_t)
STROP_UNSIGNED_MAPS(u16, uint16_t, uint32_t)
STROP_UNSIGNED_MAPS(u32, uint32_t, uint32_t)
STROP_UNSIGNED_MAPS(u64, uint64_t, uint64_t)

STROP_UNARY_RAW(logical_not, bool, uint8_t, x == 0)

#endif
