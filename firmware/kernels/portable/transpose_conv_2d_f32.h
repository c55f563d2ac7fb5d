/* Transposed 2-D convolution, float32: every output pixel gathers the input pixels whose kernels reach it.
 * Layout: activations NHWC; weights [out_c][k_h][k_w][in_c] as the graph has them.
 * Cost: about 6 instructions per MAC with an FPU. No scratch. */
#ifndef STROP_TRANSPOSE_CONV_2D_F32_H
#define STROP_TRANSPOSE_CONV_2D_F32_H

#include "conv_2d_f32.h"

/* Sum of one output channel at row y, column x of the full result. weights: those of the channel. */
STROP_KERNEL float strop_transpose_sum_f32(const float *restrict in, const float *restrict weights,
                                           const strop_conv_2d_f32_shape *s, int32_t y, int32_t x) {
    float sum = 0.0F;
    for (int32_t ky = y % s->stride_h; ky < s->k_h && ky <= y; ky += s->stride_h) {
        const int32_t iy = (y - ky) / s->stride_h;
        for (int32_t kx = x % s->stride_w; kx < s->k_w && kx <= x && iy < s->in_h; kx += s->stride_w) {
            const int32_t ix = (x - kx) / s->stride_w;
            if (ix < s->in_w) {
                const float *const pixel = in + (iy * s->in_w + ix) * s->in_c;
                sum = strop_dot_f32(pixel, weights + (ky * s->k_w + kx) * s->in_c, s->in_c, sum);
            }
        }
    }
    return sum;
}

STROP_KERNEL void strop_transpose_conv_2d_f32(const float *restrict in, const float *restrict weights,
                                              const float *restrict bias, float *restrict out,
                                              const strop_conv_2d_f32_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                for (int32_t c = 0; c < s->out_c; ++c) {
                    const float *const taps = weights + c * s->k_h * s->k_w * s->in_c;
                    const float sum = strop_transpose_sum_f32(in, taps, s, oy + s->pad_top, ox + s->pad_left);
                    *out++ = strop_activate_f32(s->has_bias ? sum + bias[c] : sum, &s->activation);
                }
            }
        }
    }
}

#endif
