/* Depthwise 2-D convolution on float32, any kernel, stride, dilation, padding and channel multiplier.
 * Layout: activations NHWC; weights [k_h][k_w][in_c * multiplier] as the graph has them; of int4 every tap starts at a byte.
 * int8 and int4 have a scale for every output channel. Nothing is unpacked to memory.
 * Cost per MAC with an FPU: about 6 instructions, 6.5 as float16, 8.2 as int8, 8.8 as int4. No scratch. */
#ifndef STROP_DEPTHWISE_CONV_2D_F32_H
#define STROP_DEPTHWISE_CONV_2D_F32_H

#include "conv_2d_f32.h"

/* Sums of four neighbouring channels of a convolution without multiplier, one when `single`, over the taps inside the input.
 * in: the input channel's element of the image's first pixel. channel: the first output channel. */
STROP_KERNEL strop_four strop_depthwise_sums_f32(const float *restrict in, const strop_weights *weights, int32_t channel,
                                                 const strop_conv_2d_f32_shape *s, const strop_window *w, bool single) {
    const int32_t tap_bytes = strop_stored_bytes(weights->storage, s->out_c);
    strop_four sums = {0.0F, 0.0F, 0.0F, 0.0F};
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int32_t row = (w->y + ky * s->dilation_h) * s->in_w + w->x;
        const float *pixel = in + (row + w->first_x * s->dilation_w) * s->in_c;
        const uint8_t *tap = weights->data + (ky * s->k_w + w->first_x) * tap_bytes;
        tap += single ? 0 : strop_stored_bytes(weights->storage, channel);
        for (int32_t kx = w->first_x; kx < w->end_x; ++kx, pixel += s->dilation_w * s->in_c, tap += tap_bytes) {
            if (single) {
                sums.a += *pixel * strop_load_1(tap, channel, weights->storage);
            } else {
                const strop_four taps = strop_load_4(tap, weights->storage);
                sums.a += pixel[0] * taps.a;
                sums.b += pixel[1] * taps.b;
                sums.c += pixel[2] * taps.c;
                sums.d += pixel[3] * taps.d;
            }
        }
    }
    return sums;
}

STROP_KERNEL void strop_depthwise_pixel_f32(const float *restrict in, const strop_weights *weights,
                                            const float *restrict bias, float *restrict out,
                                            const strop_conv_2d_f32_shape *s, const strop_window *w) {
    const int32_t multiplier = s->out_c / s->in_c;
    int32_t channel = 0;
    for (; multiplier == 1 && channel + 4 <= s->out_c; channel += 4) {
        const strop_four sums = strop_depthwise_sums_f32(in + channel, weights, channel, s, w, false);
        strop_conv_2d_results_f32(&sums, weights->scales, bias, out, channel, s);
    }
    for (; channel < s->out_c; ++channel) {
        const strop_four sums = strop_depthwise_sums_f32(in + channel / multiplier, weights, channel, s, w, true);
        out[channel] = strop_conv_2d_result_f32(sums.a, weights->scales, bias, channel, s);
    }
}

/* All pixels, with weights of any storage. */
STROP_KERNEL void strop_depthwise_conv_2d_any_f32(const float *restrict in, const strop_weights *weights,
                                                  const float *restrict bias, float *restrict out,
                                                  const strop_conv_2d_f32_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            strop_window w = strop_window_rows_f32(s, oy);
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->out_c) {
                strop_window_columns_f32(&w, s, ox);
                strop_depthwise_pixel_f32(in, weights, bias, out, s, &w);
            }
        }
    }
}

STROP_KERNEL void strop_depthwise_conv_2d_f32(const float *restrict in, const float *restrict weights,
                                              const float *restrict bias, float *restrict out,
                                              const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {(const uint8_t *)weights, NULL, STROP_STORED_F32};
    strop_depthwise_conv_2d_any_f32(in, &w, bias, out, s);
}

STROP_KERNEL void strop_depthwise_conv_2d_f32_f16(const float *restrict in, const uint16_t *restrict weights,
                                                  const float *restrict bias, float *restrict out,
                                                  const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {(const uint8_t *)weights, NULL, STROP_STORED_F16};
    strop_depthwise_conv_2d_any_f32(in, &w, bias, out, s);
}

STROP_KERNEL void strop_depthwise_conv_2d_f32_s8(const float *restrict in, const int8_t *restrict weights,
                                                 const float *restrict scales, const float *restrict bias,
                                                 float *restrict out, const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {(const uint8_t *)weights, scales, STROP_STORED_S8};
    strop_depthwise_conv_2d_any_f32(in, &w, bias, out, s);
}

STROP_KERNEL void strop_depthwise_conv_2d_f32_s4(const float *restrict in, const uint8_t *restrict weights,
                                                 const float *restrict scales, const float *restrict bias,
                                                 float *restrict out, const strop_conv_2d_f32_shape *s) {
    const strop_weights w = {weights, scales, STROP_STORED_S4};
    strop_depthwise_conv_2d_any_f32(in, &w, bias, out, s);
}

#endif
