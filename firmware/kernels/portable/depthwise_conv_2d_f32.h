/* Depthwise 2-D convolution, float32, any kernel, stride, dilation, padding and channel multiplier.
 * Layout: activations NHWC; weights [k_h][k_w][in_c * multiplier] as the graph has them.
 * Cost: about 6 instructions per MAC with an FPU. No scratch. */
#ifndef STROP_DEPTHWISE_CONV_2D_F32_H
#define STROP_DEPTHWISE_CONV_2D_F32_H

#include "conv_2d_f32.h"

/* Sum of one output channel over the taps inside the input. in: the input channel's element of the image's first pixel. */
STROP_KERNEL float strop_depthwise_sum_f32(const float *restrict in, const float *restrict weights,
                                           const strop_conv_2d_f32_shape *s, const strop_window *w) {
    float sum = 0.0F;
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int32_t row = (w->y + ky * s->dilation_h) * s->in_w + w->x;
        const float *pixel = in + (row + w->first_x * s->dilation_w) * s->in_c;
        const float *tap = weights + (ky * s->k_w + w->first_x) * s->out_c;
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx, pixel += s->dilation_w * s->in_c, tap += s->out_c) {
            sum += *pixel * *tap;
        }
    }
    return sum;
}

/* The same for four neighbouring channels of a convolution without multiplier. */
STROP_KERNEL strop_four_sums strop_depthwise_sums_4_f32(const float *restrict in, const float *restrict weights,
                                                        const strop_conv_2d_f32_shape *s, const strop_window *w) {
    strop_four_sums sums = {0.0F, 0.0F, 0.0F, 0.0F};
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int32_t row = (w->y + ky * s->dilation_h) * s->in_w + w->x;
        const float *pixel = in + (row + w->first_x * s->dilation_w) * s->in_c;
        const float *tap = weights + (ky * s->k_w + w->first_x) * s->out_c;
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx, pixel += s->dilation_w * s->in_c, tap += s->out_c) {
            sums.a += pixel[0] * tap[0];
            sums.b += pixel[1] * tap[1];
            sums.c += pixel[2] * tap[2];
            sums.d += pixel[3] * tap[3];
        }
    }
    return sums;
}

STROP_KERNEL void strop_depthwise_pixel_f32(const float *restrict in, const float *restrict weights,
                                            const float *restrict bias, float *restrict out,
                                            const strop_conv_2d_f32_shape *s, const strop_window *w) {
    const int32_t multiplier = s->out_c / s->in_c;
    int32_t channel = 0;
    for (; multiplier == 1 && channel + 4 <= s->out_c; channel += 4) {
        const strop_four_sums sums = strop_depthwise_sums_4_f32(in + channel, weights + channel, s, w);
        out[channel] = strop_conv_2d_result_f32(sums.a, bias, channel, s);
        out[channel + 1] = strop_conv_2d_result_f32(sums.b, bias, channel + 1, s);
        out[channel + 2] = strop_conv_2d_result_f32(sums.c, bias, channel + 2, s);
        out[channel + 3] = strop_conv_2d_result_f32(sums.d, bias, channel + 3, s);
    }
    for (; channel < s->out_c; ++channel) {
        const float sum = strop_depthwise_sum_f32(in + channel / multiplier, weights + channel, s, w);
        out[channel] = strop_conv_2d_result_f32(sum, bias, channel, s);
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
