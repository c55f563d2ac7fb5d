/* Depthwise 2-D convolution, int16 activations and int8 weights, zero points 0, 64-bit sums.
 * Layout: activations NHWC; weights [in_c * multiplier][k_h * k_w]; biases int64 and factors per output channel.
 * Cost: about 7 instructions per MAC on armv7-m, 30 per output. No scratch. */
#ifndef STROP_DEPTHWISE_CONV_2D_S16_H
#define STROP_DEPTHWISE_CONV_2D_S16_H

#include "conv_2d.h"

/* Sum of one channel over the taps inside the input. in: the channel's element of the image's first pixel. */
STROP_KERNEL int64_t strop_depthwise_sum_s16(const int16_t *restrict in, const int8_t *restrict weights,
                                             const strop_conv_2d_shape *s, const strop_window *w) {
    int64_t acc = 0;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int16_t *const row = in + ((w->y + ky * s->dilation_h) * s->in_w + w->x) * s->in_c;
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx) {
            acc += row[kx * s->dilation_w * s->in_c] * weights[ky * s->k_w + kx];
        }
    }
    return acc;
}

STROP_KERNEL void strop_depthwise_pixel_s16(const int16_t *restrict in, const int8_t *restrict weights,
                                            const int64_t *restrict bias, const strop_wide_factor *restrict factors,
                                            int16_t *restrict out, const strop_conv_2d_shape *s, const strop_window *w) {
    const int32_t multiplier = s->out_c / s->in_c;
    for (int32_t c = 0; c < s->in_c; ++c) {
        for (int32_t m = 0; m < multiplier; ++m, weights += s->k_h * s->k_w) {
            const int64_t acc = strop_depthwise_sum_s16(in + c, weights, s, w) + *bias++;
            const int32_t y = strop_multiply_wide(acc, *factors++);
            *out++ = (int16_t)strop_clamp(y + s->out_offset, s->act_min, s->act_max);
        }
    }
}

STROP_KERNEL void strop_depthwise_conv_2d_s16(const int16_t *restrict in, const int8_t *restrict weights,
                                              const int64_t *restrict bias, const strop_wide_factor *restrict factors,
                                              int16_t *restrict out, const strop_conv_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_window w = strop_window_at(s, oy, ox);
                strop_depthwise_pixel_s16(in, weights, bias, factors, out, s, &w);
                out += s->out_c;
            }
        }
        in += s->in_h * s->in_w * s->in_c;
    }
}

#endif
