/* Average and maximum pooling, int8, NHWC, four channels at a time. Averages: windows of at most 256 elements, whose sums fit the
 * lanes. Cost: 1.6 instructions per window element and about 15 per output. No scratch. */
#ifndef STROP_POOL_2D_DSP_H
#define STROP_POOL_2D_DSP_H

#include "dsp.h"
#include "pool_2d.h"

/* Sums of four channels: of channels 0 and 2, and of 1 and 3, as int16 lanes. */
typedef struct {
    int32_t even, odd;
} strop_lane_sums;

STROP_SHARED strop_lane_sums strop_sum_lanes(const strop_pool_block *block, int32_t channel) {
    const int8_t *p = block->in + channel;
    strop_lane_sums sums = {0, 0};
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            const int32_t bytes = strop_load_bytes(p);
            sums.even = strop_widen_even(sums.even, bytes);
            sums.odd = strop_widen_odd(sums.odd, bytes);
        }
    }
    return sums;
}

/* The larger of each of four signed bytes. */
STROP_KERNEL int32_t strop_larger_bytes(int32_t a, int32_t b) {
    int32_t larger;
    __asm__ volatile("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(larger) : "r"(a), "r"(b));
    return larger;
}

/* The largest of each of four channels, as bytes. */
STROP_SHARED int32_t strop_max_bytes(const strop_pool_block *block, int32_t channel) {
    const int8_t *p = block->in + channel;
    int32_t top = (int32_t)0x80808080U;
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            top = strop_larger_bytes(top, strop_load_bytes(p));
        }
    }
    return top;
}

/* All channels of one output pixel; the last four again where they are no multiple of four. */
STROP_KERNEL void strop_average_pixel_dsp(const strop_pool_block *block, int32_t count, int8_t *out,
                                          const strop_pool_2d_shape *s) {
    const strop_pool_divisor divisor = strop_pool_divisor_of(count);
    for (int32_t c = 0; c < s->channels; c += 4) {
        const int32_t at = strop_min(c, s->channels - 4);
        const strop_lane_sums sums = strop_sum_lanes(block, at);
        out[at] = strop_pool_average((int16_t)sums.even, &divisor, s);
        out[at + 1] = strop_pool_average((int16_t)sums.odd, &divisor, s);
        out[at + 2] = strop_pool_average(sums.even >> 16, &divisor, s);
        out[at + 3] = strop_pool_average(sums.odd >> 16, &divisor, s);
    }
}

STROP_KERNEL void strop_max_pixel_dsp(const strop_pool_block *block, int8_t *out, const strop_pool_2d_shape *s) {
    for (int32_t c = 0; c < s->channels; c += 4) {
        const int32_t at = strop_min(c, s->channels - 4);
        const int32_t top = strop_max_bytes(block, at);
        out[at] = (int8_t)strop_clamp((int8_t)top, s->act_min, s->act_max);
        out[at + 1] = (int8_t)strop_clamp((int8_t)(top >> 8), s->act_min, s->act_max);
        out[at + 2] = (int8_t)strop_clamp((int8_t)(top >> 16), s->act_min, s->act_max);
        out[at + 3] = (int8_t)strop_clamp(top >> 24, s->act_min, s->act_max);
    }
}

STROP_KERNEL void strop_pool_any_dsp(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s,
                                     bool average) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->channels) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                const strop_pool_block block = strop_pool_block_of(in, s, &w);
                if (average) {
                    strop_average_pixel_dsp(&block, strop_pool_count(s, &w), out, s);
                } else {
                    strop_max_pixel_dsp(&block, out, s);
                }
            }
        }
    }
}

STROP_KERNEL void strop_average_pool_2d_dsp(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    strop_pool_any_dsp(in, out, s, true);
}

STROP_KERNEL void strop_max_pool_2d_dsp(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    strop_pool_any_dsp(in, out, s, false);
}

#endif
