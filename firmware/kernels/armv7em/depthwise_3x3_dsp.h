/* Depthwise 3x3 convolution, int8, stride 1 or 2, any padding, multiplier 1. One channel at a time: its plane is copied to
 * int16 with a border of the zero point (folded into the bias), then two outputs are computed from every pair of words.
 * Weights: per channel bias | for each row (w0, w1) and (w1, w2) as int16 lanes | mantissa, addend, shift, bounds.
 * Weights and biases are doubled as in conv_2d_dsp.h.
 * Registers: 6 weights, 2 accumulators, 2 activations, 2 pointers.
 * Cost at stride 1: 0.83 instructions per MAC + 8 per output, 2 per input element. Scratch: the padded plane in int16. */
#ifndef STROP_DEPTHWISE_3X3_DSP_H
#define STROP_DEPTHWISE_3X3_DSP_H

#include "conv_2d_dsp.h"

/* acc + a.low * b.high. */
STROP_KERNEL int32_t strop_smlabt(int32_t a, int32_t b, int32_t acc) {
    __asm__ volatile("smlabt %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}

/* acc + a.high * b.low. */
STROP_KERNEL int32_t strop_smlatb(int32_t a, int32_t b, int32_t acc) {
    __asm__ volatile("smlatb %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}

/* Elements of a plane row: the padded width that all windows read, made even. */
STROP_KERNEL int32_t strop_plane_width(const strop_conv_2d_shape *s) {
    const int32_t outputs = (s->out_w + 1) / 2 * 2;
    return ((outputs - 1) * s->stride_w + 4) / 2 * 2;
}

STROP_KERNEL int32_t strop_plane_height(const strop_conv_2d_shape *s) { return (s->out_h - 1) * s->stride_h + 3; }

/* The border never changes, so it is written once per image. */
STROP_KERNEL void strop_fill_plane(int16_t *plane, const strop_conv_2d_shape *s) {
    const int32_t n = strop_plane_width(s) * strop_plane_height(s);
    for (int32_t i = 0; i < n; ++i) {
        plane[i] = (int16_t)-s->in_offset;
    }
}

/* One channel of the image into the plane. */
STROP_KERNEL void strop_copy_plane(const int8_t *restrict in, int16_t *restrict plane, const strop_conv_2d_shape *s) {
    const int32_t width = strop_plane_width(s);
    const int32_t rows = strop_min(s->in_h, strop_plane_height(s) - s->pad_top);
    const int32_t columns = strop_min(s->in_w, width - s->pad_left);
    for (int32_t y = 0; y < rows; ++y) {
        int16_t *to = plane + (y + s->pad_top) * width + s->pad_left;
        const int8_t *from = in + y * s->in_w * s->in_c;
        int32_t x = columns;
        for (; x >= 4; x -= 4, to += 4, from += 4 * s->in_c) {
            to[0] = from[0];
            to[1] = from[s->in_c];
            to[2] = from[2 * s->in_c];
            to[3] = from[3 * s->in_c];
        }
        for (; x > 0; --x, ++to, from += s->in_c) {
            *to = *from;
        }
    }
}

/* Sums of two neighbouring outputs. */
typedef struct {
    int32_t left, right;
} strop_output_pair;

/* One filter row of two outputs. p: the first output's window. w01, w12: the row's weights as lanes. */
STROP_KERNEL strop_output_pair strop_depthwise_taps_dsp(const int16_t *p, int32_t w01, int32_t w12, strop_output_pair sums,
                                                        int32_t stride) {
    int32_t first, second;
    strop_load_pair((const int32_t *)(const void *)p, &first, &second);
    sums.left = strop_smlad(first, w01, sums.left);
    sums.left = strop_smlabt(second, w12, sums.left);
    if (stride == 1) {
        sums.right = strop_smlatb(first, w01, sums.right);
        sums.right = strop_smlad(second, w12, sums.right);
    } else {
        const int32_t third = *(const int32_t *)(const void *)(p + 4);
        sums.right = strop_smlad(second, w01, sums.right);
        sums.right = strop_smlabt(third, w12, sums.right);
    }
    return sums;
}

/* One row of outputs of one channel, two at a time. w: the channel's stream behind the bias. */
STROP_KERNEL void strop_depthwise_row_dsp(const int16_t *plane, const int32_t *w, int32_t bias, int8_t *out,
                                          const strop_conv_2d_shape *s) {
    const int32_t width = strop_plane_width(s);
    const int32_t a01 = w[0], a12 = w[1], b01 = w[2], b12 = w[3], c01 = w[4], c12 = w[5];
    for (int32_t x = 0; x < s->out_w; x += 2) {
        const int16_t *const p = plane + x * s->stride_w;
        strop_output_pair sums = {bias, bias};
        sums = strop_depthwise_taps_dsp(p, a01, a12, sums, s->stride_w);
        sums = strop_depthwise_taps_dsp(p + width, b01, b12, sums, s->stride_w);
        sums = strop_depthwise_taps_dsp(p + 2 * width, c01, c12, sums, s->stride_w);
        out[x * s->out_c] = strop_requantize_dsp(sums.left, w[6], w[7], w[8], w[9], strop_finish_of(s));
        if (x + 1 < s->out_w) {
            out[(x + 1) * s->out_c] = strop_requantize_dsp(sums.right, w[6], w[7], w[8], w[9], strop_finish_of(s));
        }
    }
}

STROP_KERNEL void strop_depthwise_3x3_dsp(const int8_t *restrict in, const int32_t *restrict weights, int16_t *restrict plane,
                                          int8_t *restrict out, const strop_conv_2d_shape *s) {
    const int32_t width = strop_plane_width(s);
    strop_fill_plane(plane, s);
    for (int32_t image = 0; image < s->batch; ++image) {
        for (int32_t c = 0; c < s->in_c; ++c) {
            const int32_t *const w = weights + 11 * c;
            strop_copy_plane(in + c, plane, s);
            for (int32_t oy = 0; oy < s->out_h; ++oy) {
                strop_depthwise_row_dsp(plane + oy * s->stride_h * width, w + 1, w[0], out + oy * s->out_w * s->out_c + c,
                                        s);
            }
        }
        in += s->in_h * s->in_w * s->in_c;
        out += s->out_h * s->out_w * s->out_c;
    }
}

#endif
