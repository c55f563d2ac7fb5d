/* Changes of element type. Floats are truncated toward zero and saturate, NaN becomes 0; integers keep their low bits;
 * bools are whether the value is not 0. Types of one size need no kernel but a copy. Cost: about 6 instructions per element. */
#ifndef STROP_CAST_RAW_H
#define STROP_CAST_RAW_H

#include "common.h"

typedef struct {
    int32_t count;
} strop_cast_shape;

/* The kernel strop_cast_<from>_<to>: out[i] = value, an expression of x = in[i]. */
#define STROP_CAST(from, to, source, target, value)                                                                    \
    STROP_KERNEL void strop_cast_##from##_##to(const source *restrict in, target *restrict out,                        \
                                               const strop_cast_shape *s) {                                            \
        for (int32_t i = 0; i < s->count; ++i) {                                                                       \
            const source x = in[i];                                                                                    \
            out[i] = value;                                                                                            \
        }                                                                                                              \
    }

/* low, high: floats that and beyond which x saturates to least and most. */
#define STROP_CAST_FLOAT(to, target, low, high, least, most)                                                           \
    STROP_CAST(f32, to, float, target, x != x ? 0 : (x >= high ? most : (x <= low ? least : (target)x)))               \
    STROP_CAST(to, f32, target, float, (float)x)

STROP_CAST_FLOAT(i8, int8_t, -129.0F, 128.0F, INT8_MIN, INT8_MAX)
STROP_CAST_FLOAT(i16, int16_t, -32769.0F, 32768.0F, INT16_MIN, INT16_MAX)
STROP_CAST_FLOAT(i32, int32_t, -2147483648.0F, 2147483648.0F, INT32_MIN, INT32_MAX)
STROP_CAST_FLOAT(i64, int64_t, -9223372036854775808.0F, 9223372036854775808.0F, INT64_MIN, INT64_MAX)
STROP_CAST_FLOAT(u8, uint8_t, -1.0F, 256.0F, 0, UINT8_MAX)
STROP_CAST_FLOAT(u16, uint16_t, -1.0F, 65536.0F, 0, UINT16_MAX)
STROP_CAST_FLOAT(u32, uint32_t, -1.0F, 4294967296.0F, 0, UINT32_MAX)
STROP_CAST_FLOAT(u64, uint64_t, -1.0F, 18446744073709551616.0F, 0, UINT64_MAX)

STROP_CAST(f32, bool, float, uint8_t, x != 0.0F)
STROP_CAST(u8, bool, uint8_t, uint8_t, x != 0)
STROP_CAST(u16, bool, uint16_t, uint8_t, x != 0)
STROP_CAST(u32, bool, uint32_t, uint8_t, x != 0)
STROP_CAST(u64, bool, uint64_t, uint8_t, x != 0)

/* Narrower integers; the sign of either side does not matter. */
STROP_CAST(u16, u8, uint16_t, uint8_t, (uint8_t)x)
STROP_CAST(u32, u8, uint32_t, uint8_t, (uint8_t)x)
STROP_CAST(u64, u8, uint64_t, uint8_t, (uint8_t)x)
STROP_CAST(u32, u16, uint32_t, uint16_t, (uint16_t)x)
STROP_CAST(u64, u16, uint64_t, uint16_t, (uint16_t)x)
STROP_CAST(u64, u32, uint64_t, uint32_t, (uint32_t)x)

/* Wider integers; the sign of the source matters. */
STROP_CAST(i8, u16, int8_t, uint16_t, (uint16_t)x)
STROP_CAST(i8, u32, int8_t, uint32_t, (uint32_t)x)
STROP_CAST(i8, u64, int8_t, uint64_t, (uint64_t)x)
STROP_CAST(i16, u32, int16_t, uint32_t, (uint32_t)x)
STROP_CAST(i16, u64, int16_t, uint64_t, (uint64_t)x)
STROP_CAST(i32, u64, int32_t, uint64_t, (uint64_t)x)
STROP_CAST(u8, u16, uint8_t, uint16_t, x)
STROP_CAST(u8, u32, uint8_t, uint32_t, x)
STROP_CAST(u8, u64, uint8_t, uint64_t, x)
STROP_CAST(u16, u32, uint16_t, uint32_t, x)
STROP_CAST(u16, u64, uint16_t, uint64_t, x)
STROP_CAST(u32, u64, uint32_t, uint64_t, x)

#endif
