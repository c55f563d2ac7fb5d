/* Depthwise 2-D convolution, int8, any kernel, stride, dilation, padding and channel multiplier.
 * Layout: activations NHWC; weights [in_c * multiplier][k_h * k_w], so one channel's taps are contiguous.
 * Cost: about 6 instructions per MAC on armv7-m, 20 per output. No scratch. */
#ifndef STROP_DEPTHWISE_CONV_2D_H
#define STROP_DEPTHWISE_CONV_2D_H

#include "conv_2d.h"

/* Sum of one channel over the taps inside the input. in: the channel's element of the image's first pixel. */
STROP_KERNEL int32_t strop_depthwise_sum(const int8_t *restrict in, const int8_t *restrict weights,
                                         const strop_conv_2d_shape *s, const strop_window *w) {
    int32_t acc = 0;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int8_t *pixel = in + ((w->y + ky * s->dilation_h) * s->in_w + w->x + w->first_x * s->dilation_w) * s->in_c;
        const int8_t *tap = weights + ky * s->k_w + w->first_x;
        const int8_t *const end = weights + ky * s->k_w + w->end_x;
        for (; tap != end; ++tap, pixel += s->dilation_w * s->in_c) {
            acc += (*pixel + s->in_offset) * *tap;
        }
    }
    return acc;
}

/* The same with every tap inside the input: trip counts are constants, so the compiler unrolls small filters. */
STROP_KERNEL int32_t strop_depthwise_full_sum(const int8_t *restrict in, const int8_t *restrict weights,
                                              const strop_conv_2d_shape *s) {
    int32_t acc = 0;
    for (int32_t ky = 0; ky < s->k_h; ++ky) {
        for (int32_t kx = 0; kx < s->k_w; ++kx) {
            const int32_t offset = (ky * s->dilation_h * s->in_w + kx * s->dilation_w) * s->in_c;
            acc += (in[offset] + s->in_offset) * weights[ky * s->k_w + kx];
        }
    }
    return acc;
}

STROP_KERNEL void strop_depthwise_pixel(const int8_t *restrict in, const int8_t *restrict weights,
                                        const strop_channel *restrict channels, int8_t *restrict out,
                                        const strop_conv_2d_shape *s, const strop_window *w) {
    const int32_t multiplier = s->out_c / s->in_c;
    const int32_t taps = s->k_h * s->k_w;
    const bool full = w->first_y == 0 && w->end_y == s->k_h && w->first_x == 0 && w->end_x == s->k_w;
    const int8_t *const corner = in + (w->y * s->in_w + w->x) * s->in_c;
    for (int32_t c = 0; c < s->in_c; ++c) {
        for (int32_t m = 0; m < multiplier; ++m, ++channels, weights += taps) {
            const int32_t acc = full ? strop_depthwise_full_sum(corner + c, weights, s)
                                     : strop_depthwise_sum(in + c, weights, s, w);
            const int32_t y = strop_multiply(acc + channels->bias, channels->mantissa, channels->shift);
            *out++ = (int8_t)strop_clamp(y + s->out_offset, s->act_min, s->act_max);
        }
    }
}

STROP_KERNEL void strop_depthwise_conv_2d_s8(const int8_t *restrict in, const int8_t *restrict weights,
                                             const strop_channel *restrict channels, int8_t *restrict out,
                                             const strop_conv_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_window w = strop_window_at(s, oy, ox);
                strop_depthwise_pixel(in, weights, channels, out, s, &w);
                out += s->out_c;
            }
        }
        in += s->in_h * s->in_w * s->in_c;
    }
}

#endif
