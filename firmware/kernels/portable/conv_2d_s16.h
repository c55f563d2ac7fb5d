/* 2-D convolution and fully connected layers, int16 activations and int8 weights, zero points 0, 64-bit sums.
 * Layout: as conv_2d.h; biases int64 and factors per output channel. Sums are kept in 32 bits for up to 511 products
 * (each at most 2^22), then added to 64 bits. Cost: about 3.2 instructions per MAC on armv7-m, 50 per output. No scratch. */
#ifndef STROP_CONV_2D_S16_H
#define STROP_CONV_2D_S16_H

#include "conv_2d.h"

#define STROP_S16_CHUNK 511

/* acc[i] += sum of in[k] * weights[k][i] over n contiguous activations. */
STROP_KERNEL void strop_dot_4_s16(const int16_t *restrict in, const int8_t *restrict weights, int32_t n, int64_t acc[4]) {
    while (n > 0) {
        int32_t a = 0, b = 0, c = 0, d = 0;
        const int16_t *const end = in + strop_min(n, STROP_S16_CHUNK);
        n -= STROP_S16_CHUNK;
        while (in != end) {
            const int32_t x = *in++;
            a += x * weights[0];
            b += x * weights[1];
            c += x * weights[2];
            d += x * weights[3];
            weights += 4;
        }
        acc[0] += a;
        acc[1] += b;
        acc[2] += c;
        acc[3] += d;
    }
}

/* Sums of one block of four channels of one output pixel. in: the group's first channel of the image. */
STROP_KERNEL void strop_conv_2d_sums_s16(const int16_t *restrict in, const int8_t *restrict weights,
                                         const strop_conv_2d_shape *s, const strop_window *w, int64_t acc[4]) {
    const int32_t depth = s->in_c / s->groups;
    const bool contiguous = s->dilation_w == 1 && s->groups == 1;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int16_t *const row = in + (w->y + ky * s->dilation_h) * s->in_w * s->in_c;
        const int8_t *const taps = weights + ky * s->k_w * depth * 4;
        if (contiguous) {
            const int32_t n = (w->end_x - w->first_x) * depth;
            strop_dot_4_s16(row + (w->x + w->first_x) * depth, taps + w->first_x * depth * 4, n, acc);
        } else {
            for (int32_t kx = w->first_x; kx < w->end_x; ++kx) {
                const int16_t *const pixel = row + (w->x + kx * s->dilation_w) * s->in_c;
                strop_dot_4_s16(pixel, taps + kx * depth * 4, depth, acc);
            }
        }
    }
}

/* All output channels of one pixel. */
STROP_KERNEL void strop_conv_2d_pixel_s16(const int16_t *restrict in, const int8_t *restrict weights,
                                          const int64_t *restrict bias, const strop_wide_factor *restrict factors,
                                          int16_t *restrict out, const strop_conv_2d_shape *s, const strop_window *w) {
    const int32_t depth = s->in_c / s->groups;
    const int32_t per_group = s->out_c / s->groups;
    for (int32_t group = 0; group < s->groups; ++group) {
        for (int32_t first = 0; first < per_group; first += 4) {
            int64_t acc[4] = {0, 0, 0, 0};
            strop_conv_2d_sums_s16(in + group * depth, weights, s, w, acc);
            weights += s->k_h * s->k_w * depth * 4;
            const int32_t count = strop_min(4, per_group - first);
            for (int32_t i = 0; i < count; ++i) {
                const int32_t y = strop_multiply_wide(acc[i] + *bias++, *factors++);
                *out++ = (int16_t)strop_clamp(y + s->out_offset, s->act_min, s->act_max);
            }
        }
    }
}

STROP_KERNEL void strop_conv_2d_s16(const int16_t *restrict in, const int8_t *restrict weights,
                                    const int64_t *restrict bias, const strop_wide_factor *restrict factors,
                                    int16_t *restrict out, const strop_conv_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_window w = strop_window_at(s, oy, ox);
                strop_conv_2d_pixel_s16(in, weights, bias, factors, out, s, &w);
                out += s->out_c;
            }
        }
        in += s->in_h * s->in_w * s->in_c;
    }
}

#endif
