/* Transposed 2-D convolution on float32: every output pixel gathers the input pixels whose kernels reach it.
 * Layout: activations NHWC; weights [out_c][k_h][k_w][in_c] as conv_2d_f32.h has them, with one group.
 * Cost per MAC with an FPU: about 4 instructions, 4.6 as float16, 6.1 as int8, 6.6 as int4. No scratch. */
#ifndef STROP_TRANSPOSE_CONV_2D_F32_H
#define STROP_TRANSPOSE_CONV_2D_F32_H

#include "conv_2d_f32.h"

/* Sums of four output channels, one when `single`, at row y, column x of the full result. weights: those of these channels. */
STROP_KERNEL strop_four strop_transpose_sums_f32(const float *restrict in, const strop_weights *weights,
                                                 const strop_conv_2d_f32_shape *s, int32_t y, int32_t x, bool single) {
    const int32_t step = s->k_h * s->k_w * s->in_c;
    strop_four sums = {0.0F, 0.0F, 0.0F, 0.0F};
    int32_t iy = y / s->stride_h;
    for (int32_t ky = y % s->stride_h; ky < s->k_h && iy >= 0; ky += s->stride_h, --iy) {
        int32_t ix = x / s->stride_w;
        for (int32_t kx = x % s->stride_w; kx < s->k_w && ix >= 0 && iy < s->in_h; kx += s->stride_w, --ix) {
            const float *const pixel = in + (iy * s->in_w + ix) * s->in_c;
            const int32_t first = (ky * s->k_w + kx) * s->in_c;
            if (ix >= s->in_w) {
                continue;
            }
            if (single) {
                sums.a = strop_run_1(pixel, weights, first, s->in_c, s->block, sums.a);
            } else {
                sums = strop_run_4(pixel, weights, first, s->in_c, step, s->block, sums);
            }
        }
    }
    return sums;
}

/* All output channels at row y, column x of the full result. */
STROP_KERNEL void strop_transpose_pixel_f32(const float *restrict in, const strop_weights *all, const float *restrict bias,
                                            float *restrict out, const strop_conv_2d_f32_shape *s, int32_t y, int32_t x) {
    const int32_t step = s->k_h * s->k_w * s->in_c;
    strop_weights weights = *all;
    int32_t channel = 0;
    for (; channel + 4 <= s->out_c; channel += 4, weights = strop_after(&weights, 4, step, s->block)) {
        const strop_four sums = strop_transpose_sums_f32(in, &weights, s, y, x, false);
        strop_conv_2d_results_f32(&sums, all->scales, bias, out, channel, s);
    }
    for (; channel < s->out_c; ++channel, weights = strop_after(&weights, 1, step, s->block)) {
        const strop_four sums = strop_transpose_sums_f32(in, &weights, s, y, x, true);
        out[channel] = strop_conv_2d_result_f32(sums.a, all->scales, bias, channel, s);
    }
}

/* All pixels, with weights of any storage. */
STROP_KERNEL void strop_transpose_conv_2d_any_f32(const float *restrict in, const strop_weights *weights,
                                                  const float *restrict bias, float *restrict out,
                                                  const strop_conv_2d_f32_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->out_c) {
                strop_transpose_pixel_f32(in, weights, bias, out, s, oy + s->pad_top, ox + s->pad_left);
            }
        }
    }
}

STROP_KERNEL void strop_transpose_conv_2d_f32(const float *restrict in, const float *restrict weights,
                                              const float *restrict bias, float *restrict out,
                                              const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {(const uint8_t *)weights, NULL, STROP_STORED_F32};
    strop_transpose_conv_2d_any_f32(in, &w, bias, out, s);
}

STROP_KERNEL void strop_transpose_conv_2d_f32_f16(const float *restrict in, const uint16_t *restrict weights,
                                                  const float *restrict bias, float *restrict out,
                                                  const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {(const uint8_t *)weights, NULL, STROP_STORED_F16};
    strop_transpose_conv_2d_any_f32(in, &w, bias, out, s);
}

STROP_KERNEL void strop_transpose_conv_2d_f32_s8(const float *restrict in, const int8_t *restrict weights,
                                                 const float *restrict scales, const float *restrict bias,
                                                 float *restrict out, const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {(const uint8_t *)weights, scales, STROP_STORED_S8};
    strop_transpose_conv_2d_any_f32(in, &w, bias, out, s);
}

STROP_KERNEL void strop_transpose_conv_2d_f32_s4(const float *restrict in, const uint8_t *restrict weights,
                                                 const float *restrict scales, const float *restrict bias,
                                                 float *restrict out, const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {weights, scales, STROP_STORED_S4};
    strop_transpose_conv_2d_any_f32(in, &w, bias, out, s);
}

#endif
