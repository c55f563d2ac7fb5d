/* 2-D convolution and fully connected layers, int8, any filter, stride, dilation, padding and groups: a product of matrices whose
 * left one is read where the taps lie in a band of the input (band.h), without gathering columns.
 * Weights: one stream, blocks of sixteen output channels per group: 16 biases | 16 mantissas | 16 right shifts, each 32 bits, then
 * for every four taps of every run the four weights of channel 0, of channel 1 … 15, tails zero. The biases hold the input's zero
 * point. runs: where each run of neighbouring taps begins, from a pixel's first tap.
 * Cost: that of dot_block.h for every block of a band, and one move of the band. */
#ifndef STROP_CONV_2D_SIMD_H
#define STROP_CONV_2D_SIMD_H

#include "band.h"
#include "dot_block.h"

#define STROP_BLOCK 16

/* All channels of the pixels of a band. */
STROP_KERNEL void strop_dot_band(strop_dot *dot, const int8_t *stream, const int8_t *band, int8_t *out, const strop_simd_shape *s) {
    const int32_t per_group = s->out_c / s->groups;
    const strop_dot_block run = strop_dot_block_of();
    for (int32_t group = 0; group < s->groups; ++group, out += per_group) {
        dot->band = band + group * (s->in_c / s->groups);
        for (int32_t first = 0; first < per_group; first += STROP_BLOCK) {
            dot->block = stream;
            dot->out = out + first;
            dot->channels = strop_min(per_group - first, STROP_BLOCK);
            run(dot);
            stream += 4 * STROP_BLOCK * (3 + s->runs * s->quads);
        }
    }
}

STROP_SHARED void strop_conv_2d_bands(const int8_t *in, const int8_t *stream, const int32_t *runs, int32_t *scratch, int8_t *out,
                                      const strop_simd_shape *s) {
    int8_t *const band = (int8_t *)scratch + strop_table_bytes(s);
    strop_dot dot = {NULL, scratch, runs, NULL, NULL, 0, s->runs, s->quads, 0, s->out_c, s->out_zero, s->act_min, s->act_max,
                     s->away != 0};
    strop_band_table(scratch, s);
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; oy += s->band_rows) {
            const int32_t rows = strop_min(s->band_rows, s->out_h - oy);
            for (int32_t ox = 0; ox < s->out_w; ox += s->band_cols) {
                dot.count = rows * strop_min(s->band_cols, s->out_w - ox);
                strop_copy_band(in, band, oy, ox, rows, strop_min(s->band_cols, s->out_w - ox), STROP_FLIP, s);
                strop_dot_band(&dot, stream, band, out, s);
                out += dot.count * s->out_c;
            }
        }
    }
}

STROP_KERNEL void strop_conv_2d_simd(const int8_t *restrict in, const int8_t *restrict stream, const int32_t *restrict runs,
                                     int32_t *restrict scratch, int8_t *restrict out, const strop_simd_shape *s) {
    strop_conv_2d_bands(in, stream, runs, scratch, out, s);
}

#endif
