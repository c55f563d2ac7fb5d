/* Transposed 2-D convolution, int16 activations and int8 weights, zero points 0, 64-bit sums; gathers as the int8 one does.
 * Layout: as transpose_conv_2d_s8.h; biases int64 and factors per output channel.
 * Cost: about 3.3 instructions per MAC on armv7-m, 50 per output. No scratch. */
#ifndef STROP_TRANSPOSE_CONV_2D_S16_H
#define STROP_TRANSPOSE_CONV_2D_S16_H

#include "conv_2d_s16.h"

/* Sums of one block of four channels of the output pixel at (y, x) of the full result, padding included. */
STROP_KERNEL void strop_transpose_conv_2d_sums_s16(const int16_t *restrict in, const int8_t *restrict weights,
                                                   const strop_conv_2d_shape *s, int32_t y, int32_t x, int64_t acc[4]) {
    for (int32_t ky = y % s->stride_h; ky < s->k_h && ky <= y; ky += s->stride_h) {
        const int32_t iy = (y - ky) / s->stride_h;
        for (int32_t kx = x % s->stride_w; kx < s->k_w && kx <= x; kx += s->stride_w) {
            const int32_t ix = (x - kx) / s->stride_w;
            if (iy < s->in_h && ix < s->in_w) {
                const int8_t *const taps = weights + (ky * s->k_w + kx) * s->in_c * 4;
                strop_dot_4_s16(in + (iy * s->in_w + ix) * s->in_c, taps, s->in_c, acc);
            }
        }
    }
}

STROP_KERNEL void strop_transpose_conv_2d_pixel_s16(const int16_t *restrict in, const int8_t *restrict weights,
                                                    const int64_t *restrict bias, const strop_wide_factor *restrict factors,
                                                    int16_t *restrict out, const strop_conv_2d_shape *s, int32_t oy,
                                                    int32_t ox) {
    for (int32_t first = 0; first < s->out_c; first += 4) {
        int64_t acc[4] = {0, 0, 0, 0};
        strop_transpose_conv_2d_sums_s16(in, weights, s, oy + s->pad_top, ox + s->pad_left, acc);
        weights += s->k_h * s->k_w * s->in_c * 4;
        const int32_t count = strop_min(4, s->out_c - first);
        for (int32_t i = 0; i < count; ++i) {
            const int32_t y = strop_multiply_wide(acc[i] + *bias++, *factors++);
            *out++ = (int16_t)strop_clamp(y + s->out_offset, s->act_min, s->act_max);
        }
    }
}

STROP_KERNEL void strop_transpose_conv_2d_s16(const int16_t *restrict in, const int8_t *restrict weights,
                                              const int64_t *restrict bias, const strop_wide_factor *restrict factors,
                                              int16_t *restrict out, const strop_conv_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                strop_transpose_conv_2d_pixel_s16(in, weights, bias, factors, out, s, oy, ox);
                out += s->out_c;
            }
        }
        in += s->in_h * s->in_w * s->in_c;
    }
}

#endif
