/* Sixteen elements at a time, as 32-bit lanes of four NEON registers: what elementwise kernels are written with. */
#ifndef STROP_LANES_H
#define STROP_LANES_H

#include "requantize_neon.h"

typedef struct {
    int32x4_t fours[4];
} strop_lanes;

STROP_INLINE strop_lanes strop_lanes_load(const int8_t *from) {
    const int8x16_t bytes = vld1q_s8(from);
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    const strop_lanes x = {
        {vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)}};
    return x;
}

/* (x + offset) << bits. */
STROP_INLINE strop_lanes strop_lanes_raise(strop_lanes x, int32_t offset, int32_t bits) {
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        x.fours[i] = vshlq_s32(vaddq_s32(x.fours[i], vdupq_n_s32(offset)), vdupq_n_s32(bits));
    }
    return x;
}

STROP_INLINE strop_lanes strop_lanes_add(strop_lanes x, strop_lanes y) {
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        x.fours[i] = vaddq_s32(x.fours[i], y.fours[i]);
    }
    return x;
}

STROP_INLINE strop_lanes strop_lanes_sub(strop_lanes x, strop_lanes y) {
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        x.fours[i] = vsubq_s32(x.fours[i], y.fours[i]);
    }
    return x;
}

STROP_INLINE strop_lanes strop_lanes_mul(strop_lanes x, strop_lanes y) {
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        x.fours[i] = vmulq_s32(x.fours[i], y.fours[i]);
    }
    return x;
}

/* x * mantissa / 2^(31 + right), rounded twice; |x| < 2^30, 0 <= right <= 30. */
STROP_INLINE strop_lanes strop_lanes_scale(strop_lanes x, int32_t mantissa, int32_t right) {
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        x.fours[i] = strop_multiply_neon(x.fours[i], vdupq_n_s32(mantissa), vdupq_n_s32(-right), true);
    }
    return x;
}

/* Values with the zero point added, clamped. */
STROP_INLINE void strop_lanes_store(int8_t *out, strop_lanes x, int32_t zero, int32_t low, int32_t high) {
    const int16x8_t add = vdupq_n_s16((int16_t)zero);
    const int16x8_t first = vqaddq_s16(vcombine_s16(vqmovn_s32(x.fours[0]), vqmovn_s32(x.fours[1])), add);
    const int16x8_t second = vqaddq_s16(vcombine_s16(vqmovn_s32(x.fours[2]), vqmovn_s32(x.fours[3])), add);
    const int8x16_t bytes = vcombine_s8(vqmovn_s16(first), vqmovn_s16(second));
    vst1q_s8(out, vminq_s8(vmaxq_s8(bytes, vdupq_n_s8((int8_t)low)), vdupq_n_s8((int8_t)high)));
}

#endif
