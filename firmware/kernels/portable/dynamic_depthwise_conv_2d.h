/* Depthwise 2-D convolution of dynamic range: float32 in and out, sums on integers, any kernel, stride, dilation, padding and
 * channel multiplier. Every image is counted in steps of its own grid (dynamic_range.h) before it is convolved.
 * Layout: activations NHWC; weights int8, [k_h][k_w][in_c * multiplier]; a scale for every output channel.
 * Cost per MAC: about 5 instructions; an output or an input 30 (without an FPU 270). Scratch: 2 bytes per element of an image. */
#ifndef STROP_DYNAMIC_DEPTHWISE_CONV_2D_H
#define STROP_DYNAMIC_DEPTHWISE_CONV_2D_H

#include "dynamic_conv_2d.h"

/* Sums of four neighbouring channels of a convolution without multiplier, of one when `single`, over the taps inside the input.
 * in: the input channel's count in the image's first pixel. weights: of the output channel at the first tap. */
STROP_KERNEL strop_whole_four strop_dynamic_taps(const int16_t *restrict in, const int8_t *restrict weights,
                                                 const strop_conv_2d_f32_shape *s, const strop_window *w, bool single) {
    strop_whole_four sums = {0, 0, 0, 0};
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int32_t row = (w->y + ky * s->dilation_h) * s->in_w + w->x;
        const int16_t *pixel = in + (row + w->first_x * s->dilation_w) * s->in_c;
        const int8_t *tap = weights + (ky * s->k_w + w->first_x) * s->out_c;
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx, pixel += s->dilation_w * s->in_c, tap += s->out_c) {
            sums.a += pixel[0] * tap[0];
            if (!single) {
                sums.b += pixel[1] * tap[1];
                sums.c += pixel[2] * tap[2];
                sums.d += pixel[3] * tap[3];
            }
        }
    }
    return sums;
}

STROP_KERNEL void strop_dynamic_depthwise_pixel(const int16_t *restrict in, const int8_t *restrict weights, float step,
                                                const float *restrict scales, const float *restrict bias,
                                                float *restrict out, const strop_conv_2d_f32_shape *s,
                                                const strop_window *w) {
    const int32_t multiplier = s->out_c / s->in_c;
    int32_t channel = 0;
    for (; multiplier == 1 && channel + 4 <= s->out_c; channel += 4) {
        const strop_whole_four sums = strop_dynamic_taps(in + channel, weights + channel, s, w, false);
        strop_dynamic_results(&sums, step, scales, bias, out, channel, 4, s);
    }
    for (; channel < s->out_c; ++channel) {
        const strop_whole_four sums = strop_dynamic_taps(in + channel / multiplier, weights + channel, s, w, true);
        out[channel] = strop_dynamic_result(sums.a, step, scales, bias, channel, s);
    }
}

STROP_KERNEL void strop_dynamic_depthwise_conv_2d(const float *restrict in, const int8_t *restrict weights,
                                                  const float *restrict scales, const float *restrict bias,
                                                  int16_t *restrict scratch, float *restrict out,
                                                  const strop_conv_2d_f32_shape *s) {
    const int32_t elements = s->in_h * s->in_w * s->in_c;
    for (int32_t image = 0; image < s->batch; ++image, in += elements) {
        const strop_grid grid = strop_grid_of(in, elements);
        strop_count_steps(in, scratch, elements, &grid);
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            strop_window w = strop_window_rows_f32(s, oy);
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->out_c) {
                strop_window_columns_f32(&w, s, ox);
                strop_dynamic_depthwise_pixel(scratch, weights, grid.step, scales, bias, out, s, &w);
            }
        }
    }
}

#endif
