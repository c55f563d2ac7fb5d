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

/* Sums over rows x columns of the window that begins at in. column, row: bytes to the next. */
STROP_SHARED strop_lane_sums strop_sum_window(const int8_t *in, int32_t rows, int32_t columns, int32_t column, int32_t row) {
    strop_lane_sums sums = {0, 0};
    for (; rows > 0; --rows, in += row - columns * column) {
        for (int32_t x = columns; x > 0; --x, in += column) {
            const int32_t bytes = strop_load_bytes(in);
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

/* The largest of each of four channels over a window. */
STROP_SHARED int32_t strop_largest_of_window(const int8_t *in, int32_t rows, int32_t columns, int32_t column, int32_t row) {
    int32_t top = (int32_t)0x80808080U;
    for (; rows > 0; --rows, in += row - columns * column) {
        for (int32_t x = columns; x > 0; --x, in += column) {
            top = strop_larger_bytes(top, strop_load_bytes(in));
        }
    }
    return top;
}

STROP_KERNEL int8_t strop_average_dsp(int32_t sum, int32_t count, const strop_pool_2d_shape *s) {
    const int32_t rounded = (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
    return (int8_t)strop_clamp(rounded, s->act_min, s->act_max);
}

/* All channels of one output pixel. */
STROP_KERNEL void strop_average_pixel_dsp(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s,
                                          const strop_pool_window *w) {
    const int32_t count = strop_pool_count(s, w);
    const int8_t *const from = in + (w->first_y * s->in_w + w->first_x) * s->channels;
    int32_t c = 0;
    for (; c + 4 <= s->channels; c += 4) {
        const strop_lane_sums sums = strop_sum_window(from + c, w->end_y - w->first_y, w->end_x - w->first_x, s->channels,
                                                      s->in_w * s->channels);
        out[c] = strop_average_dsp((int16_t)sums.even, count, s);
        out[c + 1] = strop_average_dsp((int16_t)sums.odd, count, s);
        out[c + 2] = strop_average_dsp(sums.even >> 16, count, s);
        out[c + 3] = strop_average_dsp(sums.odd >> 16, count, s);
    }
    for (; c < s->channels; ++c) {
        out[c] = strop_average_of(in + c, s, w, count);
    }
}

STROP_KERNEL void strop_max_pixel_dsp(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s,
                                      const strop_pool_window *w) {
    const int8_t *const from = in + (w->first_y * s->in_w + w->first_x) * s->channels;
    int32_t c = 0;
    for (; c + 4 <= s->channels; c += 4) {
        const int32_t top = strop_largest_of_window(from + c, w->end_y - w->first_y, w->end_x - w->first_x, s->channels,
                                                    s->in_w * s->channels);
        for (int32_t i = 0; i < 4; ++i) {
            out[c + i] = (int8_t)strop_clamp((int8_t)(top >> (8 * i)), s->act_min, s->act_max);
        }
    }
    for (; c < s->channels; ++c) {
        out[c] = strop_max_of(in + c, s, w);
    }
}

STROP_KERNEL void strop_pool_2d_dsp(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s, bool average) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->channels) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                if (average) {
                    strop_average_pixel_dsp(in, out, s, &w);
                } else {
                    strop_max_pixel_dsp(in, out, s, &w);
                }
            }
        }
    }
}

STROP_KERNEL void strop_average_pool_2d_dsp(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    strop_pool_2d_dsp(in, out, s, true);
}

STROP_KERNEL void strop_max_pool_2d_dsp(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    strop_pool_2d_dsp(in, out, s, false);
}

#endif
