/* Depthwise 2-D convolution, int8, multiplier 1, any filter, stride, dilation and padding: a register of channels at a time, read
 * where the taps lie in a band of the input (band.h). Few channels in steps of one pixel are taken for more, several pixels at once.
 * Weights: one stream, blocks of channels, the last one the last ones: biases | mantissas | right shifts, each 32 bits, then groups
 * of taps, as depthwise_block.h reads them. The biases hold the input's zero point.
 * taps: where each tap lies, from a pixel's first one; the last one again where a group is not full, with weights of zero.
 * Cost: that of depthwise_block.h for every block of a band, and one move of the band. */
#ifndef STROP_DEPTHWISE_SIMD_H
#define STROP_DEPTHWISE_SIMD_H

#include "band.h"
#include "depthwise_block.h"

/* All channels of the pixels of a band. */
STROP_KERNEL void strop_depthwise_band(strop_dot *dot, const int8_t *stream, const int8_t *band, int8_t *out,
                                       const strop_simd_shape *s) {
    const strop_dot_block run = strop_depthwise_block_of();
    for (int32_t first = 0; first < s->out_c; first += STROP_TAPS_LANES) {
        const int32_t from = strop_max(strop_min(first, s->out_c - STROP_TAPS_LANES), 0);
        dot->band = band + from;
        dot->block = stream;
        dot->out = out + from;
        run(dot);
        stream += strop_taps_block_bytes(s->runs);
    }
}

STROP_SHARED void strop_depthwise_bands(const int8_t *in, const int8_t *stream, const int32_t *taps, int32_t *scratch, int8_t *out,
                                        const strop_simd_shape *s) {
    int8_t *const band = (int8_t *)scratch + strop_table_bytes(s);
    strop_dot dot = {NULL, scratch, taps, NULL, NULL, 0, s->runs, 1, strop_min(s->out_c, STROP_TAPS_LANES), s->out_c, s->out_zero, s->act_min,
                     s->act_max, s->away != 0};
    strop_band_table(scratch, s);
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        for (int32_t oy = 0; oy < s->out_h; oy += s->band_rows) {
            const int32_t rows = strop_min(s->band_rows, s->out_h - oy);
            for (int32_t ox = 0; ox < s->out_w; ox += s->band_cols) {
                dot.count = rows * strop_min(s->band_cols, s->out_w - ox);
                strop_copy_band(in, band, oy, ox, rows, strop_min(s->band_cols, s->out_w - ox), STROP_FLIP, s);
                strop_depthwise_band(&dot, stream, band, out, s);
                out += dot.count * s->out_c;
            }
        }
    }
}

STROP_KERNEL void strop_depthwise_simd(const int8_t *restrict in, const int8_t *restrict stream, const int32_t *restrict taps,
                                       int32_t *restrict scratch, int8_t *restrict out, const strop_simd_shape *s) {
    strop_depthwise_bands(in, stream, taps, scratch, out, s);
}

#endif
