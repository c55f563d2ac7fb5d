/* 2-D convolution and fully connected layers on float32, any kernel, stride, dilation, padding and groups.
 * Layout: activations NHWC. Weights of float32: [out_c][k_h][k_w][in_c / groups] as the graph has them, so they may be computed.
 * Stored ones: for every group, [fours of its channels][k_h][k_w][in_c / groups][4], then the channels left over in rows; int8 and
 * int4 with scales in the same order, one a channel or one for every `block` elements of it, in which sums are taken on integers'
 * floats. One loaded activation serves four output channels. Nothing is unpacked to memory.
 * Cost per MAC with an FPU: about 3.6 instructions, 4.4 as float16, 6 as int8, 6.5 as int4. No scratch. */
#ifndef STROP_CONV_2D_F32_H
#define STROP_CONV_2D_F32_H

#include "activation_f32.h"
#include "conv_2d.h"
#include "dot_f32.h"

/* block: elements of a channel's weights to a scale, 0 for all of them. has_bias: 0 when the bias pointer is not read. */
typedef struct {
    int32_t batch, in_h, in_w, in_c, out_h, out_w, out_c, groups;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t block, has_bias;
    strop_activation_f32 activation;
} strop_conv_2d_f32_shape;

/* The taps inside the input along its height, of a row of outputs. */
STROP_KERNEL strop_window strop_window_rows_f32(const strop_conv_2d_f32_shape *s, int32_t oy) {
    strop_window w;
    w.y = oy * s->stride_h - s->pad_top;
    w.first_y = strop_first_tap(w.y, s->dilation_h, s->k_h);
    w.end_y = strop_end_tap(w.y, s->dilation_h, s->k_h, s->in_h);
    w.x = w.first_x = w.end_x = 0;
    return w;
}

/* Those along its width, of one output. */
STROP_KERNEL void strop_window_columns_f32(strop_window *w, const strop_conv_2d_f32_shape *s, int32_t ox) {
    w->x = ox * s->stride_w - s->pad_left;
    w->first_x = strop_first_tap(w->x, s->dilation_w, s->k_w);
    w->end_x = strop_end_tap(w->x, s->dilation_w, s->k_w, s->in_w);
}

/* A float sum to an output: scale, bias and activation. scales: of all channels, where blocks have none of their own. */
STROP_KERNEL float strop_conv_2d_result_f32(float sum, const float *restrict scales, const float *restrict bias,
                                            int32_t channel, const strop_conv_2d_f32_shape *s) {
    if (scales && s->block == 0) {
        sum *= scales[channel];
    }
    return strop_activate_f32(s->has_bias ? sum + bias[channel] : sum, &s->activation);
}

/* Four outputs from their sums. */
STROP_KERNEL void strop_conv_2d_results_f32(const strop_four *sums, const float *restrict scales, const float *restrict bias,
                                            float *restrict out, int32_t channel, const strop_conv_2d_f32_shape *s) {
    out[channel] = strop_conv_2d_result_f32(sums->a, scales, bias, channel, s);
    out[channel + 1] = strop_conv_2d_result_f32(sums->b, scales, bias, channel + 1, s);
    out[channel + 2] = strop_conv_2d_result_f32(sums->c, scales, bias, channel + 2, s);
    out[channel + 3] = strop_conv_2d_result_f32(sums->d, scales, bias, channel + 3, s);
}

/* Sums of four channels of one output pixel, one when `single`. in: the group's first channel of the image. */
STROP_KERNEL strop_four strop_conv_2d_sums_f32(const float *restrict in, const strop_weights *weights,
                                               const strop_conv_2d_f32_shape *s, const strop_window *w, bool single) {
    const int32_t depth = s->in_c / s->groups;
    const int32_t step = s->k_h * s->k_w * depth;
    const bool contiguous = s->dilation_w == 1 && s->groups == 1;
    const int32_t runs = contiguous ? 1 : w->end_x - w->first_x;
    const int32_t n = contiguous ? (w->end_x - w->first_x) * depth : depth;
    strop_four sums = {0.0F, 0.0F, 0.0F, 0.0F};
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int32_t row = (w->y + ky * s->dilation_h) * s->in_w + w->x;
        const float *pixel = in + (row + w->first_x * s->dilation_w) * s->in_c;
        int32_t first = (ky * s->k_w + w->first_x) * depth;
        for (int32_t run = 0; run < runs; ++run, pixel += s->dilation_w * s->in_c, first += depth) {
            if (single) {
                sums.a = strop_run_1(pixel, weights, first, n, s->block, sums.a);
            } else {
                sums = strop_run_4(pixel, weights, first, n, step, s->block, sums);
            }
        }
    }
    return sums;
}

/* All output channels of one pixel. */
STROP_KERNEL void strop_conv_2d_pixel_f32(const float *restrict in, const strop_weights *all, const float *restrict bias,
                                          float *restrict out, const strop_conv_2d_f32_shape *s, const strop_window *w) {
    const int32_t depth = s->in_c / s->groups;
    const int32_t per_group = s->out_c / s->groups;
    const int32_t step = s->k_h * s->k_w * depth;
    strop_weights weights = *all;
    for (int32_t group = 0; group < s->groups; ++group, in += depth) {
        int32_t channel = group * per_group;
        const int32_t end = channel + per_group;
        for (; channel + 4 <= end; channel += 4, weights = strop_after(&weights, 4, step, s->block)) {
            const strop_four sums = strop_conv_2d_sums_f32(in, &weights, s, w, false);
            strop_conv_2d_results_f32(&sums, all->scales, bias, out, channel, s);
        }
        for (; channel < end; ++channel, weights = strop_after(&weights, 1, step, s->block)) {
            const strop_four sums = strop_conv_2d_sums_f32(in, &weights, s, w, true);
            out[channel] = strop_conv_2d_result_f32(sums.a, all->scales, bias, channel, s);
        }
    }
}

/* All pixels, with weights of any storage. */
STROP_KERNEL void strop_conv_2d_any_f32(const float *restrict in, const strop_weights *weights, const float *restrict bias,
                                        float *restrict out, const strop_conv_2d_f32_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            strop_window w = strop_window_rows_f32(s, oy);
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->out_c) {
                strop_window_columns_f32(&w, s, ox);
                strop_conv_2d_pixel_f32(in, weights, bias, out, s, &w);
            }
        }
    }
}

STROP_KERNEL void strop_conv_2d_f32(const float *restrict in, const float *restrict weights, const float *restrict bias,
                                    float *restrict out, const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {(const uint8_t *)weights, NULL, STROP_STORED_F32};
    strop_conv_2d_any_f32(in, &w, bias, out, s);
}

STROP_KERNEL void strop_conv_2d_f32_f16(const float *restrict in, const uint16_t *restrict weights,
                                        const float *restrict bias, float *restrict out, const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {(const uint8_t *)weights, NULL, STROP_STORED_F16};
    strop_conv_2d_any_f32(in, &w, bias, out, s);
}

STROP_KERNEL void strop_conv_2d_f32_s8(const float *restrict in, const int8_t *restrict weights,
                                       const float *restrict scales, const float *restrict bias, float *restrict out,
                                       const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {(const uint8_t *)weights, scales, STROP_STORED_S8};
    strop_conv_2d_any_f32(in, &w, bias, out, s);
}

STROP_KERNEL void strop_conv_2d_f32_s4(const float *restrict in, const uint8_t *restrict weights,
                                       const float *restrict scales, const float *restrict bias, float *restrict out,
                                       const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {weights, scales, STROP_STORED_S4};
    strop_conv_2d_any_f32(in, &w, bias, out, s);
}

#endif
