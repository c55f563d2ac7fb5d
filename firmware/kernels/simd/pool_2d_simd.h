/* Average and maximum pooling, int8, NHWC, sixteen channels at a time, the last sixteen again where they are no multiple of it.
 * Cost: 2.5 instructions per window element of sixteen channels, 10 per output of an average. No scratch. */
#ifndef STROP_POOL_2D_SIMD_H
#define STROP_POOL_2D_SIMD_H

#include "pool_lanes.h"

/* Sixteen channels of an average. */
STROP_INLINE void strop_average_sixteen(const strop_pool_block *block, int32_t channel, const strop_pool_divisor *divisor, int8_t *out,
                                        const strop_pool_2d_shape *s) {
    int16_t sums[16];
    strop_pool_sums_simd(block, channel, sums);
    for (int32_t i = 0; i < 16; ++i) {
        out[channel + i] = strop_pool_average(sums[i], divisor, s);
    }
}

STROP_SHARED void strop_pool_pixel_simd(const strop_pool_block *block, int32_t count, bool average, int8_t *out,
                                        const strop_pool_2d_shape *s) {
    const strop_pool_divisor divisor = strop_pool_divisor_of(count);
    for (int32_t first = 0; first < s->channels; first += 16) {
        const int32_t channel = strop_min(first, s->channels - 16);
        if (average) {
            strop_average_sixteen(block, channel, &divisor, out, s);
        } else {
            strop_pool_tops_simd(block, channel, out + channel, s->act_min, s->act_max);
        }
    }
}

STROP_KERNEL void strop_pool_2d_simd(const int8_t *in, int8_t *out, bool average, const strop_pool_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->channels) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                const strop_pool_block block = strop_pool_block_of(in, s, &w);
                strop_pool_pixel_simd(&block, strop_pool_count(s, &w), average, out, s);
            }
        }
    }
}

STROP_KERNEL void strop_average_pool_2d_simd(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    strop_pool_2d_simd(in, out, true, s);
}

STROP_KERNEL void strop_max_pool_2d_simd(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    strop_pool_2d_simd(in, out, false, s);
}

#endif
