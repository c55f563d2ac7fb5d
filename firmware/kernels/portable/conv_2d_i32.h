/* 2-D convolution and fully connected layers on plain int32, which wraps: any kernel, stride, dilation, padding, groups.
 * Layout: activations NHWC; weights [out_c][k_h][k_w][in_c / groups] as the graph has them.
 * Cost: about 6 instructions per MAC. No scratch. */
#ifndef STROP_CONV_2D_I32_H
#define STROP_CONV_2D_I32_H

#include "conv_2d_f32.h"

/* Sum of one output channel over the taps inside the input. in: the group's first channel of the image. */
STROP_KERNEL uint32_t strop_conv_2d_sum_i32(const int32_t *restrict in, const int32_t *restrict weights,
                                            const strop_conv_2d_f32_shape *s, const strop_window *w) {
    const int32_t depth = s->in_c / s->groups;
    uint32_t sum = 0;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx) {
            const int32_t y = w->y + ky * s->dilation_h, x = w->x + kx * s->dilation_w;
            const int32_t *const pixel = in + (y * s->in_w + x) * s->in_c;
            const int32_t *const tap = weights + (ky * s->k_w + kx) * depth;
            for (int32_t k = 0; k < depth; ++k) {
                sum += (uint32_t)pixel[k] * (uint32_t)tap[k];
            }
        }
    }
    return sum;
}

/* The shape's activation is not read. */
STROP_KERNEL void strop_conv_2d_i32(const int32_t *restrict in, const int32_t *restrict weights,
                                    const int32_t *restrict bias, int32_t *restrict out,
                                    const strop_conv_2d_f32_shape *s) {
    const int32_t depth = s->in_c / s->groups, per_group = s->out_c / s->groups;
    for (int32_t at = 0; at < s->batch * s->out_h * s->out_w; ++at) {
        const int32_t *const image = in + at / (s->out_h * s->out_w) * s->in_h * s->in_w * s->in_c;
        strop_window w;
        w.y = at / s->out_w % s->out_h * s->stride_h - s->pad_top;
        w.first_y = strop_first_tap(w.y, s->dilation_h, s->k_h);
        w.end_y = strop_end_tap(w.y, s->dilation_h, s->k_h, s->in_h);
        w.x = at % s->out_w * s->stride_w - s->pad_left;
        w.first_x = strop_first_tap(w.x, s->dilation_w, s->k_w);
        w.end_x = strop_end_tap(w.x, s->dilation_w, s->k_w, s->in_w);
        for (int32_t c = 0; c < s->out_c; ++c) {
            const int32_t *const filter = weights + c * s->k_h * s->k_w * depth;
            const uint32_t sum = strop_conv_2d_sum_i32(image + c / per_group * depth, filter, s, &w);
            *out++ = (int32_t)(s->has_bias ? sum + (uint32_t)bias[c] : sum);
        }
    }
}

#endif
