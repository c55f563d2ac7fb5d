/* The input under a band of outputs, copied to the scratch with its padding as the zero point, so that every tap of every output
 * pixel lies at a fixed distance from the pixel's first one. A band is some whole rows of outputs, or a part of one row.
 * Scratch: one 32-bit offset per output pixel of a band, filled up to 64 bytes | the band | 64 bytes that may be read. */
#ifndef STROP_BAND_H
#define STROP_BAND_H

#include "common.h"
#include "move_flipped.h"

/* span_h, span_w: rows and columns from a filter's first tap to its last. runs, quads: of taps, in fours, that lie side by side.
 * The input's zero point fills the padding. away: outputs below the zero point are possible. */
typedef struct {
    int32_t batch, in_h, in_w, in_c, out_h, out_w, out_c, groups;
    int32_t stride_h, stride_w, pad_top, pad_left, span_h, span_w, band_rows, band_cols, runs, quads;
    int32_t in_zero, out_zero, act_min, act_max, away;
} strop_simd_shape;

/* Columns of a band in memory. */
STROP_KERNEL int32_t strop_band_width(const strop_simd_shape *s) { return (s->band_cols - 1) * s->stride_w + s->span_w; }

/* Bytes of the table of offsets. */
STROP_KERNEL int32_t strop_table_bytes(const strop_simd_shape *s) {
    return (s->band_rows * s->band_cols * (int32_t)sizeof(int32_t) + 63) / 64 * 64;
}

/* Where the first tap of every output pixel of a band lies. */
STROP_KERNEL void strop_band_table(int32_t *table, const strop_simd_shape *s) {
    const int32_t row = s->stride_h * strop_band_width(s) * s->in_c;
    for (int32_t y = 0; y < s->band_rows; ++y) {
        for (int32_t x = 0; x < s->band_cols; ++x) {
            *table++ = y * row + x * s->stride_w * s->in_c;
        }
    }
}

/* The input under outputs (oy, ox) to (oy + rows, ox + cols). flip: bytes are offset by 128. */
STROP_KERNEL void strop_copy_band(const int8_t *image, int8_t *band, int32_t oy, int32_t ox, int32_t rows, int32_t cols, bool flip,
                                  const strop_simd_shape *s) {
    const int32_t pitch = strop_band_width(s) * s->in_c;
    const int32_t width = (cols - 1) * s->stride_w + s->span_w, height = (rows - 1) * s->stride_h + s->span_h;
    const int32_t x = ox * s->stride_w - s->pad_left;
    const int32_t begin = strop_clamp(-x, 0, width), end = strop_clamp(s->in_w - x, begin, width);
    const int32_t fill = flip ? s->in_zero + 128 : s->in_zero;
    int32_t y = oy * s->stride_h - s->pad_top;
    for (int32_t row = 0; row < height; ++row, ++y, band += pitch) {
        if (y < 0 || y >= s->in_h) {
            memset(band, fill, (size_t)(width * s->in_c));
            continue;
        }
        if (begin > 0) {
            memset(band, fill, (size_t)(begin * s->in_c));
        }
        if (end > begin) {
            const int8_t *const from = image + (y * s->in_w + x + begin) * s->in_c;
            strop_move_bytes(band + begin * s->in_c, from, (end - begin) * s->in_c, flip);
        }
        if (end < width) {
            memset(band + end * s->in_c, fill, (size_t)((width - end) * s->in_c));
        }
    }
}

#endif
