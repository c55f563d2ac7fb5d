/* Requantization of four sums at once with the vector extension (Helium): doubling high multiply, rounding shift. */
#ifndef STROP_REQUANTIZE_MVE_H
#define STROP_REQUANTIZE_MVE_H

#include <arm_mve.h>

#include "conv_2d.h"

/* x * mantissa * 2^(shift - 31), rounded twice; shift <= 0 in every lane. */
STROP_KERNEL int32x4_t strop_multiply_mve(int32x4_t x, int32x4_t mantissa, int32x4_t shift) {
    const int32x4_t high = vqrdmulhq_s32(x, mantissa);
    const int32x4_t away = vshrq_n_s32(vandq_s32(high, shift), 31);
    return vrshlq_s32(vqaddq_s32(high, away), shift);
}

/* Sums without bias to stored outputs. p: 4 biases, 4 mantissas, 4 shifts. */
STROP_KERNEL int32x4_t strop_requantize_mve(int32x4_t sums, const int32_t *p, const strop_conv_2d_shape *s) {
    const int32x4_t acc = vaddq_s32(sums, vldrwq_s32(p));
    const int32x4_t scaled = strop_multiply_mve(acc, vldrwq_s32(p + 4), vldrwq_s32(p + 8));
    const int32x4_t y = vaddq_n_s32(scaled, s->out_offset);
    return vmaxq_s32(vminq_s32(y, vdupq_n_s32(s->act_max)), vdupq_n_s32(s->act_min));
}

/* The first `count` of four outputs. */
STROP_KERNEL void strop_store_mve(int8_t *out, int32x4_t y, int32_t count) {
    if (count >= 4) {
        vstrbq_s32(out, y);
    } else {
        vstrbq_p_s32(out, y, vctp32q((uint32_t)count));
    }
}

#endif
