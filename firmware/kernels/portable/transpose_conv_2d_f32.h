/* Transposed 2-D convolution, float32: every output pixel gathers the input pixels whose kernels reach it.
 * Layout: activations NHWC; weights [out_c][k_h][k_w][in_c] as the graph has them.
 * Cost: about 5 instructions per MAC with an FPU. No scratch. */
#ifndef STROP_TRANSPOSE_CONV_2D_F32_H
#define STROP_TRANSPOSE_CONV_2D_F32_H

#include "conv_2d_f32.h"

/* Sums of four output channels, one when `single`, at row y, column x of the full result. weights: those of the first channel. */
STROP_KERNEL strop_four_sums strop_transpose_sums_f32(const float *restrict in, const float *restrict weights,
                                                      const strop_conv_2d_f32_shape *s, int32_t y, int32_t x, bool single) {
    const int32_t step = s->k_h * s->k_w * s->in_c;
    strop_four_sums sums = {0.0F, 0.0F, 0.0F, 0.0F};
    int32_t iy = y / s->stride_h;
    for (int32_t ky = y % s->stride_h; ky < s->k_h && iy >= 0; ky += s->stride_h, --iy) {
        int32_t ix = x / s->stride_w;
        for (int32_t kx = x % s->stride_w; kx < s->k_w && ix >= 0 && iy < s->in_h; kx += s->stride_w, --ix) {
            const float *const pixel = in + (iy * s->in_w + ix) * s->in_c;
            const float *const taps = weights + (ky * s->k_w + kx) * s->in_c;
            if (ix >= s->in_w) {
                continue;
            }
            if (single) {
                sums.a = strop_dot_f32(pixel, taps, s->in_c, sums.a);
            } else {
                sums = strop_dot_4_f32(pixel, taps, s->in_c, step, sums);
            }
        }
    }
    return sums;
}

/* All output channels at row y, column x of the full result. */
STROP_KERNEL void strop_transpose_pixel_f32(const float *restrict in, const float *restrict weights,
                                            const float *restrict bias, float *restrict out,
                                            const strop_conv_2d_f32_shape *s, int32_t y, int32_t x) {
    const int32_t step = s->k_h * s->k_w * s->in_c;
    int32_t channel = 0;
    for (; channel + 4 <= s->out_c; channel += 4) {
        const strop_four_sums sums = strop_transpose_sums_f32(in, weights + channel * step, s, y, x, false);
        out[channel] = strop_conv_2d_result_f32(sums.a, bias, channel, s);
        out[channel + 1] = strop_conv_2d_result_f32(sums.b, bias, channel + 1, s);
        out[channel + 2] = strop_conv_2d_result_f32(sums.c, bias, channel + 2, s);
        out[channel + 3] = strop_conv_2d_result_f32(sums.d, bias, channel + 3, s);
    }
    for (; channel < s->out_c; ++channel) {
        const strop_four_sums sums = strop_transpose_sums_f32(in, weights + channel * step, s, y, x, true);
        out[channel] = strop_conv_2d_result_f32(sums.a, bias, channel, s);
    }
}

STROP_KERNEL void strop_transpose_conv_2d_f32(const float *restrict in, const float *restrict weights,
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

#endif
