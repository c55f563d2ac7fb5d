/* 2-D, depthwise and fully connected layers, int8, whose weights are computed at run time or have a zero point.
 * Layout: activations NHWC; weights as the model has them, [out_c][k_h][k_w][depth], depthwise [k_h][k_w][out_c].
 * Cost: about 5 instructions per MAC on armv7-m, 35 per output. No scratch. */
#ifndef STROP_CONV_2D_PLAIN_S8_H
#define STROP_CONV_2D_PLAIN_S8_H

#include "conv_2d.h"

/* base: geometry, with in_offset minus the input's zero point. w_offset: minus the weights' zero point. */
typedef struct {
    strop_conv_2d_shape base;
    int32_t w_offset;
} strop_conv_2d_plain_shape;

STROP_KERNEL int8_t strop_conv_2d_plain_result(int32_t sum, const strop_factor *factor, const strop_conv_2d_shape *s) {
    const int32_t y = strop_multiply(sum, factor->mantissa, factor->shift);
    return (int8_t)strop_clamp(y + s->out_offset, s->act_min, s->act_max);
}

/* Sum of one output channel. in: the group's first channel of the image. weights: the channel's filter. */
STROP_KERNEL int32_t strop_conv_2d_plain_sum(const int8_t *restrict in, const int8_t *restrict weights,
                                             const strop_conv_2d_plain_shape *shape, const strop_window *w) {
    const strop_conv_2d_shape *const s = &shape->base;
    const int32_t depth = s->in_c / s->groups;
    int32_t sum = 0;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int8_t *const row = in + (w->y + ky * s->dilation_h) * s->in_w * s->in_c;
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx) {
            const int8_t *const pixel = row + (w->x + kx * s->dilation_w) * s->in_c;
            const int8_t *const tap = weights + (ky * s->k_w + kx) * depth;
            for (int32_t c = 0; c < depth; ++c) {
                sum += (pixel[c] + s->in_offset) * (tap[c] + shape->w_offset);
            }
        }
    }
    return sum;
}

STROP_KERNEL void strop_conv_2d_plain_s8(const int8_t *restrict in, const int8_t *restrict weights,
                                         const int32_t *restrict bias, const strop_factor *restrict factors,
                                         int8_t *restrict out, const strop_conv_2d_plain_shape *shape) {
    const strop_conv_2d_shape *const s = &shape->base;
    const int32_t depth = s->in_c / s->groups;
    const int32_t per_group = s->out_c / s->groups;
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_window w = strop_window_at(s, oy, ox);
                for (int32_t c = 0; c < s->out_c; ++c) {
                    const int8_t *const filter = weights + c * s->k_h * s->k_w * depth;
                    const int32_t sum = strop_conv_2d_plain_sum(in + c / per_group * depth, filter, shape, &w);
                    *out++ = strop_conv_2d_plain_result(sum + bias[c], &factors[c], s);
                }
            }
        }
    }
}

STROP_KERNEL int32_t strop_depthwise_plain_sum(const int8_t *restrict in, const int8_t *restrict weights,
                                               const strop_conv_2d_plain_shape *shape, const strop_window *w) {
    const strop_conv_2d_shape *const s = &shape->base;
    int32_t sum = 0;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int8_t *const row = in + ((w->y + ky * s->dilation_h) * s->in_w + w->x) * s->in_c;
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx) {
            const int32_t x = row[kx * s->dilation_w * s->in_c] + s->in_offset;
            sum += x * (weights[(ky * s->k_w + kx) * s->out_c] + shape->w_offset);
        }
    }
    return sum;
}

STROP_KERNEL void strop_depthwise_conv_2d_plain_s8(const int8_t *restrict in, const int8_t *restrict weights,
                                                   const int32_t *restrict bias, const strop_factor *restrict factors,
                                                   int8_t *restrict out, const strop_conv_2d_plain_shape *shape) {
    const strop_conv_2d_shape *const s = &shape->base;
    const int32_t multiplier = s->out_c / s->in_c;
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_window w = strop_window_at(s, oy, ox);
                for (int32_t c = 0; c < s->out_c; ++c) {
                    const int32_t sum = strop_depthwise_plain_sum(in + c / multiplier, weights + c, shape, &w);
                    *out++ = strop_conv_2d_plain_result(sum + bias[c], &factors[c], s);
                }
            }
        }
    }
}

#endif
