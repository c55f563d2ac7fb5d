/* Depthwise 2-D convolution, int8, multiplier 1, with the vector extension: one pixel x four channels.
 * Weights: for each block of four channels: k_h * k_w taps of the four channels | 4 biases | 4 mantissas | 4 shifts, with
 * the channels filled to a multiple of four. Activations are centred, so padding is skipped.
 * Cost: 1.1 instructions per MAC, 4 per output. No scratch. */
#ifndef STROP_DEPTHWISE_CONV_2D_MVE_H
#define STROP_DEPTHWISE_CONV_2D_MVE_H

#include "requantize_mve.h"

/* Four channels of one pixel over the taps inside the input. lanes: the channels in use. */
STROP_KERNEL int32x4_t strop_depthwise_taps_mve(const int8_t *in, const int8_t *w, const strop_conv_2d_shape *s,
                                                const strop_window *at, mve_pred16_t lanes) {
    int32x4_t sums = vdupq_n_s32(0);
    for (int32_t ky = at->first_y; ky < at->end_y; ++ky) {
        const int8_t *const row = in + ((at->y + ky * s->dilation_h) * s->in_w + at->x) * s->in_c;
        for (int32_t kx = at->first_x; kx < at->end_x; ++kx) {
            const int32x4_t x = vaddq_n_s32(vldrbq_z_s32(row + kx * s->dilation_w * s->in_c, lanes), s->in_offset);
            sums = vaddq_s32(sums, vmulq_s32(x, vldrbq_s32(w + 4 * (ky * s->k_w + kx))));
        }
    }
    return sums;
}

/* The same with every tap inside the input: trip counts are constants, so the compiler unrolls small filters. */
STROP_KERNEL int32x4_t strop_depthwise_full_mve(const int8_t *in, const int8_t *w, const strop_conv_2d_shape *s,
                                                mve_pred16_t lanes) {
    const bool whole = s->in_c % 4 == 0;
    int32x4_t sums = vdupq_n_s32(0);
    for (int32_t ky = 0; ky < s->k_h; ++ky) {
        for (int32_t kx = 0; kx < s->k_w; ++kx) {
            const int8_t *const at = in + (ky * s->dilation_h * s->in_w + kx * s->dilation_w) * s->in_c;
            const int32x4_t x = vaddq_n_s32(whole ? vldrbq_s32(at) : vldrbq_z_s32(at, lanes), s->in_offset);
            sums = vaddq_s32(sums, vmulq_s32(x, vldrbq_s32(w + 4 * (ky * s->k_w + kx))));
        }
    }
    return sums;
}

STROP_KERNEL void strop_depthwise_conv_2d_mve(const int8_t *restrict in, const int8_t *restrict weights, int8_t *restrict out,
                                              const strop_conv_2d_shape *s) {
    const int32_t block_bytes = (s->k_h * s->k_w + 3) / 4 * 16 + 48;
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            strop_window at;
            at.y = oy * s->stride_h - s->pad_top;
            at.first_y = strop_first_tap(at.y, s->dilation_h, s->k_h);
            at.end_y = strop_end_tap(at.y, s->dilation_h, s->k_h, s->in_h);
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->out_c) {
                at.x = ox * s->stride_w - s->pad_left;
                at.first_x = strop_first_tap(at.x, s->dilation_w, s->k_w);
                at.end_x = strop_end_tap(at.x, s->dilation_w, s->k_w, s->in_w);
                const bool full = at.first_y == 0 && at.end_y == s->k_h && at.first_x == 0 && at.end_x == s->k_w;
                const int8_t *const corner = in + (at.y * s->in_w + at.x) * s->in_c;
                const int8_t *w = weights;
                for (int32_t c = 0; c < s->in_c; c += 4, w += block_bytes) {
                    const mve_pred16_t lanes = vctp32q((uint32_t)(s->in_c - c));
                    const int32x4_t sums = full ? strop_depthwise_full_mve(corner + c, w, s, lanes)
                                                : strop_depthwise_taps_mve(in + c, w, s, &at, lanes);
                    const int32_t *const p = (const int32_t *)(const void *)(w + block_bytes - 48);
                    strop_store_mve(out + c, strop_requantize_mve(sums, p, s), s->in_c - c);
                }
            }
        }
    }
}

#endif
