/* Depthwise 2-D convolution, int8, any kernel, stride, dilation, padding and channel multiplier.
 * Layout: activations NHWC; weights [in_c * multiplier][k_h * k_w], so one channel's taps are contiguous. The channels' biases
 * contain the input's zero point and serve windows inside the input; edge_bias has the plain ones for windows at its border.
 * Cost: about 4 instructions per MAC on armv7-m, twice that at borders, 24 per output. No scratch. */
#ifndef STROP_DEPTHWISE_CONV_2D_H
#define STROP_DEPTHWISE_CONV_2D_H

#include "conv_2d.h"

/* Sum of one channel over the taps inside the input. in: the channel's element of the image's first pixel. */
STROP_KERNEL int32_t strop_depthwise_sum(const int8_t *restrict in, const int8_t *restrict weights,
                                         const strop_conv_2d_shape *s, const strop_window *w) {
    int32_t acc = 0;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int8_t *const row = in + ((w->y + ky * s->dilation_h) * s->in_w + w->x) * s->in_c;
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx) {
            acc += (row[kx * s->dilation_w * s->in_c] + s->in_offset) * weights[ky * s->k_w + kx];
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
            acc += in[(ky * s->dilation_h * s->in_w + kx * s->dilation_w) * s->in_c] * weights[ky * s->k_w + kx];
        }
    }
    return acc;
}

STROP_KERNEL void strop_depthwise_pixel(const int8_t *restrict in, const int8_t *restrict weights,
                                        const strop_channel *restrict channels, const int32_t *restrict edge_bias,
                                        int8_t *restrict out, const strop_conv_2d_shape *s, const strop_window *w) {
    const int32_t multiplier = s->out_c / s->in_c;
    const int32_t taps = s->k_h * s->k_w;
    const bool full = w->first_y == 0 && w->end_y == s->k_h && w->first_x == 0 && w->end_x == s->k_w;
    const int8_t *const corner = in + (w->y * s->in_w + w->x) * s->in_c;
    for (int32_t c = 0; c < s->out_c; ++c, ++channels, weights += taps) {
        const int32_t from = c / multiplier;
        const int32_t acc = full ? strop_depthwise_full_sum(corner + from, weights, s) + channels->bias
                                 : strop_depthwise_sum(in + from, weights, s, w) + edge_bias[c];
        const int32_t y = strop_multiply(acc, channels->mantissa, channels->shift);
        *out++ = (int8_t)strop_clamp(y + s->out_offset, s->act_min, s->act_max);
    }
}

STROP_KERNEL void strop_depthwise_conv_2d_s8(const int8_t *restrict in, const int8_t *restrict weights,
                                             const strop_channel *restrict channels, const int32_t *restrict edge_bias,
                                             int8_t *restrict out, const strop_conv_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_window w = strop_window_at(s, oy, ox);
                strop_depthwise_pixel(in, weights, channels, edge_bias, out, s, &w);
                out += s->out_c;
            }
        }
        in += s->in_h * s->in_w * s->in_c;
    }
}

#endif
