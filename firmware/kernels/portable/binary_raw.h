/* Elementwise arithmetic, bits and comparisons of two tensors of a plain integer type, with broadcasting.
 * Results wrap in their own type; quotients and remainders by zero are 0. Cost: about 8 instructions per element. */
#ifndef STROP_BINARY_RAW_H
#define STROP_BINARY_RAW_H

#include "broadcast.h"

typedef struct {
    strop_broadcast loops;
} strop_binary_raw_shape;

/* Operations that are the same for signed and unsigned types; `wide` is the unsigned type they are computed in. */
#define STROP_INTEGER_ELEMENTS(name, type, wide)                                                                       \
    STROP_KERNEL type strop_add_##name(type x, type y) { return (type)((wide)x + (wide)y); }                           \
    STROP_KERNEL type strop_sub_##name(type x, type y) { return (type)((wide)x - (wide)y); }                           \
    STROP_KERNEL type strop_mul_##name(type x, type y) { return (type)((wide)x * (wide)y); }                           \
    STROP_KERNEL type strop_squared_difference_##name(type x, type y) {                                                \
        return (type)(((wide)x - (wide)y) * ((wide)x - (wide)y));                                                      \
    }                                                                                                                  \
    STROP_KERNEL type strop_minimum_##name(type x, type y) { return x < y ? x : y; }                                   \
    STROP_KERNEL type strop_maximum_##name(type x, type y) { return x > y ? x : y; }                                   \
    STROP_KERNEL type strop_bitwise_and_##name(type x, type y) { return x & y; }                                       \
    STROP_KERNEL type strop_bitwise_or_##name(type x, type y) { return x | y; }                                        \
    STROP_KERNEL type strop_bitwise_xor_##name(type x, type y) { return x ^ y; }                                       \
    STROP_KERNEL wide strop_integer_power_##name(wide x, wide y) {                                                     \
        wide power = 1;                                                                                                \
        for (; y != 0; y >>= 1, x *= x) {                                                                              \
            power *= (y & 1) != 0 ? x : 1;                                                                             \
        }                                                                                                              \
        return power;                                                                                                  \
    }

STROP_INTEGER_ELEMENTS(i32, int32_t, uint32_t)
STROP_INTEGER_ELEMENTS(u32, uint32_t, uint32_t)
STROP_INTEGER_ELEMENTS(i64, int64_t, uint64_t)
STROP_INTEGER_ELEMENTS(u64, uint64_t, uint64_t)

/* Signed types. The least value divided by -1 wraps; powers with y < 0 are truncated; shifts by `bits` or more give 0 or
 * the sign. */
#define STROP_SIGNED_ELEMENTS(name, type, wide, bits)                                                                  \
    STROP_KERNEL type strop_div_##name(type x, type y) {                                                               \
        return y == 0 ? 0 : (y == -1 ? (type)(0 - (wide)x) : x / y);                                                   \
    }                                                                                                                  \
    STROP_KERNEL type strop_mod_##name(type x, type y) { return y == 0 || y == -1 ? 0 : x % y; }                       \
    STROP_KERNEL type strop_floor_mod_##name(type x, type y) {                                                         \
        const type rest = strop_mod_##name(x, y);                                                                      \
        return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;                                                   \
    }                                                                                                                  \
    STROP_KERNEL type strop_floor_div_##name(type x, type y) {                                                         \
        const type rest = strop_mod_##name(x, y);                                                                      \
        const type quotient = strop_div_##name(x, y);                                                                  \
        return rest != 0 && (rest < 0) != (y < 0) ? quotient - 1 : quotient;                                           \
    }                                                                                                                  \
    STROP_KERNEL type strop_pow_##name(type x, type y) {                                                               \
        if (y < 0) {                                                                                                   \
            return x == 1 || (x == -1 && (y & 1) != 0) ? x : (x == -1 ? 1 : 0);                                        \
        }                                                                                                              \
        return (type)strop_integer_power_##name((wide)x, (wide)y);                                                     \
    }                                                                                                                  \
    STROP_KERNEL type strop_shift_left_##name(type x, type y) {                                                        \
        return y < 0 || y >= bits ? 0 : (type)((wide)x << y);                                                          \
    }                                                                                                                  \
    STROP_KERNEL type strop_shift_right_##name(type x, type y) {                                                       \
        return y < 0 || y >= bits ? (x < 0 ? -1 : 0) : x >> y;                                                         \
    }

STROP_SIGNED_ELEMENTS(i32, int32_t, uint32_t, 32)
STROP_SIGNED_ELEMENTS(i64, int64_t, uint64_t, 64)

#define STROP_UNSIGNED_ELEMENTS(name, type, bits)                                                                      \
    STROP_KERNEL type strop_div_##name(type x, type y) { return y == 0 ? 0 : x / y; }                                  \
    STROP_KERNEL type strop_mod_##name(type x, type y) { return y == 0 ? 0 : x % y; }                                  \
    STROP_KERNEL type strop_floor_mod_##name(type x, type y) { return strop_mod_##name(x, y); }                        \
    STROP_KERNEL type strop_floor_div_##name(type x, type y) { return strop_div_##name(x, y); }                        \
    STROP_KERNEL type strop_pow_##name(type x, type y) { return strop_integer_power_##name(x, y); }                    \
    STROP_KERNEL type strop_shift_left_##name(type x, type y) { return y >= bits ? 0 : x << y; }                       \
    STROP_KERNEL type strop_shift_right_##name(type x, type y) { return y >= bits ? 0 : x >> y; }

STROP_UNSIGNED_ELEMENTS(u32, uint32_t, 32)
STROP_UNSIGNED_ELEMENTS(u64, uint64_t, 64)

STROP_KERNEL int32_t strop_prelu_i32(int32_t x, int32_t y) { return x < 0 ? strop_mul_i32(x, y) : x; }
STROP_KERNEL int64_t strop_prelu_i64(int64_t x, int64_t y) { return x < 0 ? strop_mul_i64(x, y) : x; }

/* The kernel strop_<op>_pair_<name>: out[i] = value, an expression of x and y. */
#define STROP_BINARY_RAW(op, name, type, result, value)                                                                \
    STROP_KERNEL void strop_##op##_pair_##name(const type *a, const type *b, result *out,                              \
                                               const strop_binary_raw_shape *s) {                                      \
        const int32_t rows = strop_broadcast_rows(&s->loops);                                                          \
        const int32_t inner = STROP_LOOPS - 1;                                                                         \
        for (int32_t row = 0; row < rows; ++row) {                                                                     \
            const strop_offsets at = strop_broadcast_row(&s->loops, row);                                              \
            for (int32_t i = 0; i < s->loops.size[inner]; ++i) {                                                       \
                const type x = a[at.a + i * s->loops.a[inner]], y = b[at.b + i * s->loops.b[inner]];                   \
                *out++ = (result)(value);                                                                              \
            }                                                                                                          \
        }                                                                                                              \
    }

/* All kernels of one type; `base` names the elements it is computed with. */
#define STROP_INTEGER_PAIRS(name, type, base)                                                                          \
    STROP_BINARY_RAW(add, name, type, type, strop_add_##base(x, y))                                                    \
    STROP_BINARY_RAW(sub, name, type, type, strop_sub_##base(x, y))                                                    \
    STROP_BINARY_RAW(mul, name, type, type, strop_mul_##base(x, y))                                                    \
    STROP_BINARY_RAW(div, name, type, type, strop_div_##base(x, y))                                                    \
    STROP_BINARY_RAW(squared_difference, name, type, type, strop_squared_difference_##base(x, y))                      \
    STROP_BINARY_RAW(minimum, name, type, type, strop_minimum_##base(x, y))                                            \
    STROP_BINARY_RAW(maximum, name, type, type, strop_maximum_##base(x, y))                                            \
    STROP_BINARY_RAW(pow, name, type, type, strop_pow_##base(x, y))                                                    \
    STROP_BINARY_RAW(mod, name, type, type, strop_mod_##base(x, y))                                                    \
    STROP_BINARY_RAW(floor_mod, name, type, type, strop_floor_mod_##base(x, y))                                        \
    STROP_BINARY_RAW(floor_div, name, type, type, strop_floor_div_##base(x, y))                                        \
    STROP_BINARY_RAW(bitwise_and, name, type, type, strop_bitwise_and_##base(x, y))                                    \
    STROP_BINARY_RAW(bitwise_or, name, type, type, strop_bitwise_or_##base(x, y))                                      \
    STROP_BINARY_RAW(bitwise_xor, name, type, type, strop_bitwise_xor_##base(x, y))                                    \
    STROP_BINARY_RAW(shift_left, name, type, type, strop_shift_left_##base(x, y))                                      \
    STROP_BINARY_RAW(shift_right, name, type, type, strop_shift_right_##base(x, y))                                    \
    STROP_BINARY_RAW(equal, name, type, uint8_t, x == y)                                                               \
    STROP_BINARY_RAW(not_equal, name, type, uint8_t, x != y)                                                           \
    STROP_BINARY_RAW(less, name, type, uint8_t, x < y)                                                                 \
    STROP_BINARY_RAW(less_equal, name, type, uint8_t, x <= y)                                                          \
    STROP_BINARY_RAW(greater, name, type, uint8_t, x > y)                                                              \
    STROP_BINARY_RAW(greater_equal, name, type, uint8_t, x >= y)

STROP_INTEGER_PAIRS(i8, int8_t, i32)
STROP_INTEGER_PAIRS(i16, int16_t, i32)
STROP_INTEGER_PAIRS(i32, int32_t, i32)
STROP_INTEGER_PAIRS(i64, int64_t, i64)
STROP_INTEGER_PAIRS(u8, uint8_t, u32)
STROP_INTEGER_PAIRS(u16, uint16_t, u32)
STROP_INTEGER_PAIRS(u32, uint32_t, u32)
STROP_INTEGER_PAIRS(u64, uint64_t, u64)

STROP_BINARY_RAW(prelu, i8, int8_t, int8_t, strop_prelu_i32(x, y))
STROP_BINARY_RAW(prelu, i16, int16_t, int16_t, strop_prelu_i32(x, y))
STROP_BINARY_RAW(prelu, i32, int32_t, int32_t, strop_prelu_i32(x, y))
STROP_BINARY_RAW(prelu, i64, int64_t, int64_t, strop_prelu_i64(x, y))

#endif
