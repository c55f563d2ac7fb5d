/* Depthwise 2-D convolution, int8, multiplier 1, any filter, with the vector extension: one pixel x four channels.
 * Weights: for each block of four channels: k_h * k_w taps of the four channels | 4 biases | 4 mantissas | 4 shifts, with
 * the channels filled to a multiple of four. Activations are centred, so padding is skipped.
 * Cost: 9 instructions per tap of four channels, 60 per four outputs. No scratch. */
#ifndef STROP_DEPTHWISE_CONV_2D_MVE_H
#define STROP_DEPTHWISE_CONV_2D_MVE_H

#include "requantize_mve.h"

/* Taps inside the input: steps in bytes of the image and of the weights. channels: left, four or fewer are used. */
typedef struct {
    int32_t rows, columns, row_step, column_step, weight_row_step, offset, channels;
} strop_depthwise_part;

/* Sums of four channels over the taps inside the input. */
STROP_SHARED int32x4_t strop_depthwise_taps_mve(const int8_t *in, const int8_t *w, const strop_depthwise_part *part) {
    const mve_pred16_t lanes = vctp32q((uint32_t)part->channels);
    int32x4_t sums = vdupq_n_s32(0);
    for (int32_t y = 0; y < part->rows; ++y, in += part->row_step, w += part->weight_row_step) {
        const int8_t *at = in, *taps = w;
        for (int32_t x = 0; x < part->columns; ++x, at += part->column_step, taps += 4) {
            sums = vaddq_s32(sums, vmulq_s32(vaddq_n_s32(vldrbq_z_s32(at, lanes), part->offset), vldrbq_s32(taps)));
        }
    }
    return sums;
}

/* All channels of one output pixel. */
STROP_KERNEL void strop_depthwise_pixel_mve(const int8_t *in, const int8_t *weights, int8_t *out, const strop_conv_2d_shape *s,
                                            const strop_window *at) {
    const int32_t block_bytes = (s->k_h * s->k_w + 3) / 4 * 16 + 48;
    strop_depthwise_part part = {at->end_y - at->first_y, at->end_x - at->first_x, s->dilation_h * s->in_w * s->in_c,
                                 s->dilation_w * s->in_c, 4 * s->k_w, s->in_offset, s->in_c};
    in += ((at->y + at->first_y * s->dilation_h) * s->in_w + at->x + at->first_x * s->dilation_w) * s->in_c;
    for (int32_t c = 0; c < s->in_c; c += 4, weights += block_bytes, part.channels -= 4) {
        const int32x4_t sums = strop_depthwise_taps_mve(in + c, weights + 4 * (at->first_y * s->k_w + at->first_x), &part);
        const int32_t *const p = (const int32_t *)(const void *)(weights + block_bytes - 48);
        strop_store_mve(out + c, strop_requantize_mve(sums, p, s), s->in_c - c);
    }
}

STROP_KERNEL void strop_depthwise_conv_2d_mve(const int8_t *restrict in, const int8_t *restrict weights, int8_t *restrict out,
                                              const strop_conv_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->out_c) {
                const strop_window at = strop_window_at(s, oy, ox);
                strop_depthwise_pixel_mve(in, weights, out, s, &at);
            }
        }
    }
}

#endif
