/* Depthwise 2-D convolution, int8, any kernel, stride, dilation, padding and channel multiplier.
 * Layout: activations NHWC; weights [in_c * multiplier][k_h * k_w], so one channel's taps are contiguous. The channels' biases
 * contain the input's zero point and serve windows inside the input; edge_bias has the plain ones for windows at its border.
 * Cost: about 6 instructions per MAC on armv7-m, 30 per output. No scratch. */
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

/* The same with every tap inside the input, whose zero point the bias holds. */
STROP_KERNEL int32_t strop_depthwise_full_sum(const int8_t *restrict in, const int8_t *restrict weights,
                                              const strop_conv_2d_shape *s) {
    const int32_t step = s->dilation_w * s->in_c, row_step = s->dilation_h * s->in_w * s->in_c - s->k_w * step;
    int32_t acc = 0;
    for (int32_t rows = s->k_h; rows > 0; --rows, in += row_step) {
        for (int32_t taps = s->k_w; taps > 0; --taps, in += step) {
            acc += *in * *weights++;
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
    for (int32_t from = 0; from < s->in_c; ++from) {
        for (int32_t i = 0; i < multiplier; ++i, ++channels, ++edge_bias, weights += taps) {
            const int32_t acc = full ? strop_depthwise_full_sum(corner + from, weights, s) + channels->bias
                                     : strop_depthwise_sum(in + from, weights, s, w) + *edge_bias;
            const int32_t y = strop_multiply(acc, channels->mantissa, channels->shift);
            *out++ = (int8_t)strop_clamp(y + s->out_offset, s->act_min, s->act_max);
        }
    }
}

/* All images; one function for all shapes. */
STROP_SHARED void strop_depthwise_images(const int8_t *in, const int8_t *weights, const strop_channel *channels,
                                         const int32_t *edge_bias, int8_t *out, const strop_conv_2d_shape *s) {
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

STROP_KERNEL void strop_depthwise_conv_2d_s8(const int8_t *restrict in, const int8_t *restrict weights,
                                             const strop_channel *restrict channels, const int32_t *restrict edge_bias,
                                             int8_t *restrict out, const strop_conv_2d_shape *s) {
    strop_depthwise_images(in, weights, channels, edge_bias, out, s);
}

#endif
