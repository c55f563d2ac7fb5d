/* Sixteen channels of a depthwise convolution for the pixels of a band (dot.h: runs are taps, run_count counts pairs of them).
 * A pair of taps is sixteen weights of one and sixteen of the other. Two products are added in 16 bits, which hold them as long as
 * they are not both of -128 and -128. Two pixels at a time, eight sums in registers.
 * Cost: 10 instructions per pair of taps of sixteen channels, 45 per sixteen outputs. */
#ifndef STROP_DEPTHWISE_BLOCK_H
#define STROP_DEPTHWISE_BLOCK_H

#include "requantize_neon.h"

#define STROP_TAPS_LANES 16

/* Bytes of the stream of a block. */
STROP_KERNEL int32_t strop_taps_block_bytes(int32_t runs) { return 192 + 32 * runs; }

/* `pixels` pixels from `first` on; behind the last one, it again. */
STROP_INLINE void strop_taps_tile(const strop_dot *d, const strop_scale_neon *p, int32_t first, const int32_t pixels) {
    const int8_t *at[2];
    int32x4_t sums[2][4];
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        at[i] = d->band + d->pixels[strop_min(first + i, d->count - 1)];
        STROP_UNROLLED
        for (int32_t c = 0; c < 4; ++c) {
            sums[i][c] = p->bias[c];
        }
    }
    const int8_t *w = d->block + 192;
    for (int32_t pair = 0; pair < d->run_count; ++pair, w += 32) {
        const int64_t one = d->runs[2 * pair], two = d->runs[2 * pair + 1];
        const int8x16_t v = vld1q_s8(w), u = vld1q_s8(w + 16);
        STROP_UNROLLED
        for (int32_t i = 0; i < pixels; ++i) {
            const int8x16_t x = vld1q_s8(at[i] + one), y = vld1q_s8(at[i] + two);
            const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(x), vget_low_s8(v)), vget_low_s8(y), vget_low_s8(u));
            const int16x8_t high = vmlal_high_s8(vmull_high_s8(x, v), y, u);
            sums[i][0] = vaddw_s16(sums[i][0], vget_low_s16(low));
            sums[i][1] = vaddw_high_s16(sums[i][1], low);
            sums[i][2] = vaddw_s16(sums[i][2], vget_low_s16(high));
            sums[i][3] = vaddw_high_s16(sums[i][3], high);
        }
    }
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        strop_finish_neon(d, p, strop_min(first + i, d->count - 1), sums[i]);
    }
}

STROP_SHARED void strop_depthwise_block_neon(const strop_dot *d) {
    const strop_scale_neon p = strop_scale_of_neon(d);
    for (int32_t first = 0; first < d->count; first += 2) {
        strop_taps_tile(d, &p, first, 2);
    }
}

STROP_KERNEL strop_dot_block strop_depthwise_block_of(void) { return strop_depthwise_block_neon; }

#endif
