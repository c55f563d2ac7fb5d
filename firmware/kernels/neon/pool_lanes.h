/* Sums and maxima of a window, sixteen channels at a time, with NEON. */
#ifndef STROP_POOL_LANES_H
#define STROP_POOL_LANES_H

#include <arm_neon.h>

#include "pool_2d.h"

/* Of at most 255 elements a channel. */
STROP_KERNEL void strop_pool_sums_simd(const strop_pool_block *block, int32_t channel, int16_t sums[16]) {
    const int8_t *p = block->in + channel;
    int16x8_t low = vdupq_n_s16(0), high = low;
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            const int8x16_t x = vld1q_s8(p);
            low = vaddw_s8(low, vget_low_s8(x));
            high = vaddw_high_s8(high, x);
        }
    }
    vst1q_s16(sums, low);
    vst1q_s16(sums + 8, high);
}

/* Clamped. */
STROP_KERNEL void strop_pool_tops_simd(const strop_pool_block *block, int32_t channel, int8_t *out, int32_t low, int32_t high) {
    const int8_t *p = block->in + channel;
    int8x16_t tops = vdupq_n_s8((int8_t)low);
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            tops = vmaxq_s8(tops, vld1q_s8(p));
        }
    }
    vst1q_s8(out, vminq_s8(tops, vdupq_n_s8((int8_t)high)));
}

#endif
