/* 2-D convolution and fully connected layers, int8, any kernel, stride, dilation, padding and groups.
 * Layout: activations NHWC; weights in blocks of four output channels, [groups][channels / 4][k_h][k_w][depth][4],
 * the last block of a group filled with zeros. One loaded activation serves four channels.
 * Cost: about 3 instructions per MAC on armv7-m, 20 per output, 40 per block. No scratch. */
#ifndef STROP_CONV_2D_H
#define STROP_CONV_2D_H

#include "fixed_point.h"

/* in_offset: minus the input's zero point, or 0 when the packer has folded it into the biases (no padding). */
typedef struct {
    int32_t batch, in_h, in_w, in_c, out_h, out_w, out_c, groups;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t in_offset, out_offset, act_min, act_max;
} strop_conv_2d_shape;

/* The part of a filter that lies inside the input: rows first_y to end_y, columns first_x to end_x. */
typedef struct {
    int32_t y, x, first_y, end_y, first_x, end_x;
} strop_window;

/* a / b rounded up, a >= 0; most dilations are 1, and some cores have no division. */
STROP_KERNEL int32_t strop_ceil_divide(int32_t a, int32_t b) { return b == 1 ? a : (a + b - 1) / b; }

/* First tap at or after coordinate 0 for a window that starts at `origin`; `taps` when there is none. */
STROP_KERNEL int32_t strop_first_tap(int32_t origin, int32_t dilation, int32_t taps) {
    return origin >= 0 ? 0 : strop_min(strop_ceil_divide(-origin, dilation), taps);
}

/* End of the taps that lie before coordinate `size`. */
STROP_KERNEL int32_t strop_end_tap(int32_t origin, int32_t dilation, int32_t taps, int32_t size) {
    if (origin + (taps - 1) * dilation < size) {
        return taps;
    }
    return origin < size ? strop_ceil_divide(size - origin, dilation) : 0;
}

/* The filter's place for one output pixel. */
STROP_KERNEL strop_window strop_window_at(const strop_conv_2d_shape *s, int32_t oy, int32_t ox) {
    strop_window w;
    w.y = oy * s->stride_h - s->pad_top;
    w.first_y = strop_first_tap(w.y, s->dilation_h, s->k_h);
    w.end_y = strop_end_tap(w.y, s->dilation_h, s->k_h, s->in_h);
    w.x = ox * s->stride_w - s->pad_left;
    w.first_x = strop_first_tap(w.x, s->dilation_w, s->k_w);
    w.end_x = strop_end_tap(w.x, s->dilation_w, s->k_w, s->in_w);
    return w;
}

/* acc[i] += sum of (in[k] + offset) * weights[k][i] over n contiguous activations. */
STROP_KERNEL void strop_dot_4(const int8_t *restrict in, const int8_t *restrict weights, int32_t n, int32_t offset,
                              int32_t acc[4]) {
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    const int8_t *const end = in + n;
    while (in != end) {
        const int32_t x = *in++ + offset;
        a += x * weights[0];
        b += x * weights[1];
        c += x * weights[2];
        d += x * weights[3];
        weights += 4;
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

/* Sums of one block of four channels of one output pixel. in: the group's first channel of the image. */
STROP_KERNEL void strop_conv_2d_sums(const int8_t *restrict in, const int8_t *restrict weights,
                                     const strop_conv_2d_shape *s, const strop_window *w, int32_t acc[4]) {
    const int32_t depth = s->in_c / s->groups;
    const bool contiguous = s->dilation_w == 1 && s->groups == 1;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int8_t *const row = in + (w->y + ky * s->dilation_h) * s->in_w * s->in_c;
        const int8_t *const taps = weights + ky * s->k_w * depth * 4;
        if (contiguous) {
            const int32_t n = (w->end_x - w->first_x) * depth;
            strop_dot_4(row + (w->x + w->first_x) * depth, taps + w->first_x * depth * 4, n, s->in_offset, acc);
        } else {
            for (int32_t kx = w->first_x; kx < w->end_x; ++kx) {
                const int8_t *const pixel = row + (w->x + kx * s->dilation_w) * s->in_c;
                strop_dot_4(pixel, taps + kx * depth * 4, depth, s->in_offset, acc);
            }
        }
    }
}

/* All output channels of one pixel. */
STROP_KERNEL void strop_conv_2d_pixel(const int8_t *restrict in, const int8_t *restrict weights,
                                      const strop_channel *restrict channels, int8_t *restrict out,
                                      const strop_conv_2d_shape *s, const strop_window *w) {
    const int32_t depth = s->in_c / s->groups;
    const int32_t per_group = s->out_c / s->groups;
    for (int32_t group = 0; group < s->groups; ++group) {
        for (int32_t first = 0; first < per_group; first += 4) {
            int32_t acc[4] = {0, 0, 0, 0};
            strop_conv_2d_sums(in + group * depth, weights, s, w, acc);
            weights += s->k_h * s->k_w * depth * 4;
            const int32_t count = strop_min(4, per_group - first);
            for (int32_t i = 0; i < count; ++i, ++channels) {
                const int32_t y = strop_multiply(acc[i] + channels->bias, channels->mantissa, channels->shift);
                *out++ = (int8_t)strop_clamp(y + s->out_offset, s->act_min, s->act_max);
            }
        }
    }
}

/* All images; one function for all shapes. */
STROP_SHARED void strop_conv_2d_images(const int8_t *in, const int8_t *weights, const strop_channel *channels, int8_t *out,
                                       const strop_conv_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_window w = strop_window_at(s, oy, ox);
                strop_conv_2d_pixel(in, weights, channels, out, s, &w);
                out += s->out_c;
            }
        }
        in += s->in_h * s->in_w * s->in_c;
    }
}

STROP_KERNEL void strop_conv_2d_s8(const int8_t *restrict in, const int8_t *restrict weights,
                                   const strop_channel *restrict channels, int8_t *restrict out,
                                   const strop_conv_2d_shape *s) {
    strop_conv_2d_images(in, weights, channels, out, s);
}

#endif
