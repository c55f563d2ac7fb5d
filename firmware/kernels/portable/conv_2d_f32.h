/* 2-D convolution and fully connected layers, float32, any kernel, stride, dilation, padding and groups.
 * Layout: activations NHWC; weights [out_c][k_h][k_w][in_c / groups] as the graph has them, so they may be computed.
 * One loaded activation serves four output channels. Cost: about 3.5 instructions per MAC with an FPU. No scratch. */
#ifndef STROP_CONV_2D_F32_H
#define STROP_CONV_2D_F32_H

#include "activation_f32.h"
#include "conv_2d.h"
#include "dot_f32.h"

/* has_bias: 0 when the bias pointer is not read. */
typedef struct {
    int32_t batch, in_h, in_w, in_c, out_h, out_w, out_c, groups;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t has_bias;
    strop_activation_f32 activation;
} strop_conv_2d_f32_shape;

/* Sums of count <= 4 channels of one output pixel. in: the group's first channel of the image. */
STROP_KERNEL void strop_conv_2d_sums_f32(const float *restrict in, const float *restrict weights,
                                         const strop_conv_2d_f32_shape *s, const strop_window *w, int32_t count,
                                         float acc[4]) {
    const int32_t depth = s->in_c / s->groups;
    const int32_t step = s->k_h * s->k_w * depth;
    const bool contiguous = s->dilation_w == 1 && s->groups == 1;
    const int32_t runs = contiguous ? 1 : w->end_x - w->first_x;
    const int32_t n = contiguous ? (w->end_x - w->first_x) * depth : depth;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int32_t y = w->y + ky * s->dilation_h;
        for (int32_t run = 0; run < runs; ++run) {
            const int32_t kx = w->first_x + run;
            const float *const pixel = in + (y * s->in_w + w->x + kx * s->dilation_w) * s->in_c;
            const float *const taps = weights + (ky * s->k_w + kx) * depth;
            if (count == 4) {
                strop_dot_4_f32(pixel, taps, n, step, acc);
            } else {
                for (int32_t i = 0; i < count; ++i) {
                    acc[i] = strop_dot_f32(pixel, taps + i * step, n, acc[i]);
                }
            }
        }
    }
}

/* All output channels of one pixel. */
STROP_KERNEL void strop_conv_2d_pixel_f32(const float *restrict in, const float *restrict weights,
                                          const float *restrict bias, float *restrict out,
                                          const strop_conv_2d_f32_shape *s, const strop_window *w) {
    const int32_t depth = s->in_c / s->groups;
    const int32_t per_group = s->out_c / s->groups;
    for (int32_t group = 0; group < s->groups; ++group) {
        for (int32_t first = 0; first < per_group; first += 4) {
            const int32_t channel = group * per_group + first;
            const int32_t count = strop_min(4, per_group - first);
            float acc[4] = {0.0F, 0.0F, 0.0F, 0.0F};
            strop_conv_2d_sums_f32(in + group * depth, weights + channel * s->k_h * s->k_w * depth, s, w, count, acc);
            for (int32_t i = 0; i < count; ++i) {
                const float sum = s->has_bias ? acc[i] + bias[channel + i] : acc[i];
                out[channel + i] = strop_activate_f32(sum, &s->activation);
            }
        }
    }
}

STROP_KERNEL void strop_conv_2d_f32(const float *restrict in, const float *restrict weights, const float *restrict bias,
                                    float *restrict out, const strop_conv_2d_f32_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            strop_window w;
            w.y = oy * s->stride_h - s->pad_top;
            w.first_y = strop_first_tap(w.y, s->dilation_h, s->k_h);
            w.end_y = strop_end_tap(w.y, s->dilation_h, s->k_h, s->in_h);
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->out_c) {
                w.x = ox * s->stride_w - s->pad_left;
                w.first_x = strop_first_tap(w.x, s->dilation_w, s->k_w);
                w.end_x = strop_end_tap(w.x, s->dilation_w, s->k_w, s->in_w);
                strop_conv_2d_pixel_f32(in, weights, bias, out, s, &w);
            }
        }
    }
}

#endif
