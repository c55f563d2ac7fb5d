/* 2-D convolution and fully connected layers, int16 activations and int8 weights, zero points 0, 64-bit sums, with the vector
 * extension: two channels, eight taps a step. Weights: the taps of each channel in turn, odd groups filled by a channel of zeros,
 * and eight bytes behind the last, which are read; biases int64 and factors per output channel. Padding is skipped.
 * Cost: 6 instructions per step of 16 multiply-accumulates, 30 per run of taps, 50 per output. No scratch. */
#ifndef STROP_CONV_2D_S16_MVE_H
#define STROP_CONV_2D_S16_MVE_H

#include <arm_mve.h>

#include "conv_2d.h"

/* `rows` rows of `runs` runs of n taps. Steps in elements from one to the next, in the input and in the weights.
 * weight_channel: from a channel's weights to the next one's. */
typedef struct {
    int32_t rows, row_step, weight_row_step, runs, n, run_step, weight_channel;
} strop_runs_s16;

/* Sums of two channels. */
typedef struct {
    int64_t first, second;
} strop_sums_s16;

STROP_SHARED strop_sums_s16 strop_sums_of_runs_mve(const int16_t *in, const int8_t *weights, const strop_runs_s16 *r) {
    strop_sums_s16 sums = {0, 0};
    for (int32_t row = 0; row < r->rows; ++row, in += r->row_step, weights += r->weight_row_step) {
        const int16_t *from = in;
        const int8_t *taps_of = weights;
        for (int32_t run = 0; run < r->runs; ++run, from += r->run_step, taps_of += r->n) {
            const int16_t *x = from;
            const int8_t *w = taps_of, *v = taps_of + r->weight_channel;
            int32_t left = r->n;
            for (; left >= 8; left -= 8, x += 8, w += 8, v += 8) {
                const int16x8_t taps = vldrhq_s16(x);
                sums.first = vmlaldavaq_s16(sums.first, taps, vldrbq_s16(w));
                sums.second = vmlaldavaq_s16(sums.second, taps, vldrbq_s16(v));
            }
            if (left > 0) {
                const int16x8_t taps = vldrhq_z_s16(x, vctp16q((uint32_t)left));
                sums.first = vmlaldavaq_s16(sums.first, taps, vldrbq_s16(w));
                sums.second = vmlaldavaq_s16(sums.second, taps, vldrbq_s16(v));
            }
        }
    }
    return sums;
}

/* The taps of a window inside the input: its rows as one run each where they are contiguous. */
STROP_KERNEL strop_runs_s16 strop_runs_of_window_mve(const strop_conv_2d_shape *s, const strop_window *w) {
    const int32_t depth = s->in_c / s->groups, columns = w->end_x - w->first_x;
    const bool whole = s->dilation_w == 1 && s->groups == 1;
    const strop_runs_s16 runs = {columns > 0 ? w->end_y - w->first_y : 0,
                                 s->dilation_h * s->in_w * s->in_c,
                                 s->k_w * depth,
                                 whole ? 1 : columns,
                                 whole ? columns * depth : depth,
                                 s->dilation_w * s->in_c,
                                 s->k_h * s->k_w * depth};
    return runs;
}

STROP_KERNEL void strop_finish_s16_mve(int64_t sum, int64_t bias, strop_wide_factor factor, int16_t *out,
                                       const strop_conv_2d_shape *s) {
    *out = (int16_t)strop_clamp(strop_multiply_wide(sum + bias, factor) + s->out_offset, s->act_min, s->act_max);
}

STROP_KERNEL void strop_conv_2d_s16_mve(const int16_t *restrict in, const int8_t *restrict weights, const int64_t *restrict bias,
                                        const strop_wide_factor *restrict factors, int16_t *restrict out,
                                        const strop_conv_2d_shape *s) {
    const int32_t depth = s->in_c / s->groups, channels = s->out_c / s->groups, filter = s->k_h * s->k_w * depth;
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t pixel = 0; pixel < s->out_h * s->out_w; ++pixel, out += s->out_c) {
            const strop_window at = strop_window_at(s, pixel / s->out_w, pixel % s->out_w);
            const strop_runs_s16 runs = strop_runs_of_window_mve(s, &at);
            const int16_t *const first =
                in + ((at.y + at.first_y * s->dilation_h) * s->in_w + at.x + at.first_x * s->dilation_w) * s->in_c;
            const int8_t *const taps = weights + (at.first_y * s->k_w + at.first_x) * depth;
            for (int32_t group = 0; group < s->groups; ++group) {
                const int8_t *const w = taps + group * (channels + channels % 2) * filter;
                for (int32_t c = 0; c < channels; c += 2) {
                    const strop_sums_s16 sums = strop_sums_of_runs_mve(first + group * depth, w + c * filter, &runs);
                    const int32_t to = group * channels + c;
                    strop_finish_s16_mve(sums.first, bias[to], factors[to], out + to, s);
                    if (c + 1 < channels) {
                        strop_finish_s16_mve(sums.second, bias[to + 1], factors[to + 1], out + to + 1, s);
                    }
                }
            }
        }
    }
}

#endif
