/* Depthwise 2-D convolution, float32, any kernel, stride, dilation, padding and channel multiplier.
 * Layout: activations NHWC; weights [k_h][k_w][in_c * multiplier] as the graph has them.
 * Cost: about 7 instructions per MAC with an FPU. No scratch. */
#ifndef STROP_DEPTHWISE_CONV_2D_F32_H
#define STROP_DEPTHWISE_CONV_2D_F32_H

#include "conv_2d_f32.h"

/* Sum of one output channel over the taps inside the input. in: the input channel's element of the image's first pixel. */
STROP_KERNEL float strop_depthwise_sum_f32(const float *restrict in, const float *restrict weights,
                                           const strop_conv_2d_f32_shape *s, const strop_window *w) {
    float sum = 0.0F;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int32_t row = (w->y + ky * s->dilation_h) * s->in_w + w->x;
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx) {
            sum += in[(row + kx * s->dilation_w) * s->in_c] * weights[(ky * s->k_w + kx) * s->out_c];
        }
    }
    return sum;
}

STROP_KERNEL void strop_depthwise_pixel_f32(const float *restrict in, const float *restrict weights,
                                            const float *restrict bias, float *restrict out,
                                            const strop_conv_2d_f32_shape *s, const strop_window *w) {
    const int32_t multiplier = s->out_c / s->in_c;
    for (int32_t c = 0; c < s->in_c; ++c) {
        for (int32_t m = 0; m < multiplier; ++m) {
            const int32_t channel = c * multiplier + m;
            const float sum = strop_depthwise_sum_f32(in + c, weights + channel, s, w);
            out[channel] = strop_activate_f32(s->has_bias ? sum + bias[channel] : sum, &s->activation);
        }
    }
}

STROP_KERNEL void strop_depthwise_conv_2d_f32(const float *restrict in, const float *restrict weights,
                                              const float *restrict bias, float *restrict out,
                                              const strop_conv_2d_f32_shape *s) {
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
                strop_depthwise_pixel_f32(in, weights, bias, out, s, &w);
            }
        }
    }
}

#endif
