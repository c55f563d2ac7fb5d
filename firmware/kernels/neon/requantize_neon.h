/* Requantization of sixteen sums with NEON, rounded twice: doubling high multiply, rounding shift. */
#ifndef STROP_REQUANTIZE_NEON_H
#define STROP_REQUANTIZE_NEON_H

#include <arm_neon.h>

#include "dot.h"

/* Sixteen channels; counts: minus the right shifts. */
typedef struct {
    int32x4_t bias[4], mantissa[4], counts[4];
    int16x8_t zero;
    int8x16_t low, high;
    bool away;
} strop_scale_neon;

STROP_INLINE strop_scale_neon strop_scale_of_neon(const strop_dot *d) {
    strop_scale_neon p;
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        p.bias[i] = vreinterpretq_s32_s8(vld1q_s8(d->block + 16 * i));
        p.mantissa[i] = vreinterpretq_s32_s8(vld1q_s8(d->block + 64 + 16 * i));
        p.counts[i] = vnegq_s32(vreinterpretq_s32_s8(vld1q_s8(d->block + 128 + 16 * i)));
    }
    p.zero = vdupq_n_s16((int16_t)d->zero);
    p.low = vdupq_n_s8((int8_t)d->low);
    p.high = vdupq_n_s8((int8_t)d->high);
    p.away = d->away;
    return p;
}

/* x * mantissa * 2^(counts - 31). away: halves of negative values are rounded away from zero. */
STROP_INLINE int32x4_t strop_multiply_neon(int32x4_t x, int32x4_t mantissa, int32x4_t counts, bool away) {
    const int32x4_t y = vqrdmulhq_s32(x, mantissa);
    return vrshlq_s32(away ? vaddq_s32(y, vshrq_n_s32(vandq_s32(y, counts), 31)) : y, counts);
}

/* The first `count` of sixteen bytes. */
STROP_INLINE void strop_store_bytes(int8_t *out, int8x16_t y, int32_t count) {
    if (count == 16) {
        vst1q_s8(out, y);
    } else if (count == 8) {
        vst1_s8(out, vget_low_s8(y));
    } else {
        int8_t bytes[16];
        vst1q_s8(bytes, y);
        memcpy(out, bytes, (size_t)count);
    }
}

/* Sums, biases among them, as the stored outputs of a pixel. */
STROP_INLINE void strop_finish_neon(const strop_dot *d, const strop_scale_neon *p, int32_t pixel, const int32x4_t sums[4]) {
    int16x4_t words[4];
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        words[i] = vqmovn_s32(strop_multiply_neon(sums[i], p->mantissa[i], p->counts[i], p->away));
    }
    const int16x8_t low = vqaddq_s16(vcombine_s16(words[0], words[1]), p->zero);
    const int16x8_t high = vqaddq_s16(vcombine_s16(words[2], words[3]), p->zero);
    const int8x16_t bytes = vcombine_s8(vqmovn_s16(low), vqmovn_s16(high));
    strop_store_bytes(d->out + pixel * d->pitch, vminq_s8(vmaxq_s8(bytes, p->low), p->high), d->channels);
}

#endif
