/* Sixteen elements at a time, as 32-bit lanes of four NEON registers, for elementwise kernels. */
#ifndef STROP_LANES_H
#define STROP_LANES_H

#include "requantize_neon.h"

typedef struct {
    int32x4_t fours[4];
} strop_lanes;

/* Sixteen stored values less their zero point, in 16 bits. */
STROP_INLINE int16x8x2_t strop_centred(const int8_t *from, int32_t offset) {
    const int8x16_t bytes = vld1q_s8(from);
    const int16x8_t add = vdupq_n_s16((int16_t)offset);
    const int16x8x2_t x = {{vaddq_s16(vmovl_s8(vget_low_s8(bytes)), add), vaddq_s16(vmovl_high_s8(bytes), add)}};
    return x;
}

/* Sixteen stored values at the common scale of a sum: shifted left by 20 and scaled; one half is a smaller shift. */
STROP_INLINE strop_lanes strop_lanes_common(const int8_t *from, int32_t offset, int32_t mantissa, int32_t right) {
    const int16x8x2_t x = strop_centred(from, offset);
    const bool half = mantissa == 1 << 30 && right == 0;
    const int32x4_t bits = vdupq_n_s32(half ? 19 : 20);
    strop_lanes y = {{vmovl_s16(vget_low_s16(x.val[0])), vmovl_high_s16(x.val[0]), vmovl_s16(vget_low_s16(x.val[1])),
                      vmovl_high_s16(x.val[1])}};
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        const int32x4_t raised = vshlq_s32(y.fours[i], bits);
        y.fours[i] = half ? raised : strop_multiply_neon(raised, vdupq_n_s32(mantissa), vdupq_n_s32(-right), true);
    }
    return y;
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

/* Products of sixteen pairs of stored values less their zero points. */
STROP_INLINE strop_lanes strop_lanes_product(const int8_t *a, const int8_t *b, int32_t a_offset, int32_t b_offset) {
    const int16x8x2_t x = strop_centred(a, a_offset), y = strop_centred(b, b_offset);
    const strop_lanes z = {{vmull_s16(vget_low_s16(x.val[0]), vget_low_s16(y.val[0])), vmull_high_s16(x.val[0], y.val[0]),
                            vmull_s16(vget_low_s16(x.val[1]), vget_low_s16(y.val[1])), vmull_high_s16(x.val[1], y.val[1])}};
    return z;
}

/* Sixteen results, scaled and clamped. */
STROP_INLINE void strop_lanes_finish(int8_t *out, strop_lanes x, int32_t mantissa, int32_t right, int32_t zero, int32_t low,
                                     int32_t high) {
    const int32x4_t factor = vdupq_n_s32(mantissa), counts = vdupq_n_s32(-right);
    int16x4_t words[4];
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        words[i] = vqmovn_s32(strop_multiply_neon(x.fours[i], factor, counts, low < zero));
    }
    const int16x8_t add = vdupq_n_s16((int16_t)zero);
    const int16x8_t first = vqaddq_s16(vcombine_s16(words[0], words[1]), add);
    const int16x8_t second = vqaddq_s16(vcombine_s16(words[2], words[3]), add);
    const int8x16_t bytes = vcombine_s8(vqmovn_s16(first), vqmovn_s16(second));
    vst1q_s8(out, vminq_s8(vmaxq_s8(bytes, vdupq_n_s8((int8_t)low)), vdupq_n_s8((int8_t)high)));
}

#endif
