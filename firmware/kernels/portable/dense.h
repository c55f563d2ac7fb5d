/* Fully connected layers of few rows, int8, for cores without SIMD: one row x four channels, inputs read where they are.
 * Weights: [out_c][in_c]. One function for all shapes. No scratch.
 * Cost: 2.4 to 4 instructions per MAC, 15 to 40 per output. */
#ifndef STROP_DENSE_H
#define STROP_DENSE_H

#include "dense_dot.h"
#include "finish.h"

/* One row. A block cut by the last channel computes that channel again. */
STROP_SHARED void strop_dense_row(const int8_t *in, const int8_t *weights, const strop_scaled_channel *channels, int8_t *out,
                                  const strop_conv_2d_shape *s) {
    const int32_t n = s->in_c, low = s->act_min, high = s->act_max;
    for (int32_t c = 0; c < s->out_c; c += 4) {
        const int8_t *rows[4];
        int32_t sums[4];
        for (int32_t i = 0; i < 4; ++i) {
            const int32_t channel = strop_min(c + i, s->out_c - 1);
            rows[i] = weights + channel * n;
            sums[i] = channels[channel].bias;
        }
        strop_dense_dot(in, rows, n, sums);
        for (int32_t i = 0; i < 4; ++i) {
            const int32_t channel = strop_min(c + i, s->out_c - 1);
            out[channel] = strop_finish(sums[i], &channels[channel], low, high);
        }
    }
}

STROP_KERNEL void strop_dense_s8(const int8_t *restrict in, const int8_t *restrict weights,
                                 const strop_scaled_channel *restrict channels, int8_t *restrict out,
                                 const strop_conv_2d_shape *s) {
    for (int32_t row = 0; row < s->out_w; ++row, in += s->in_c, out += s->out_c) {
        strop_dense_row(in, weights, channels, out, s);
    }
}

#endif
