/* Columns of an image: rows of bytes at even steps on both sides, for slices along the width and images joined along it.
 * in_start, out_start, in_step, out_step: bytes. The places do not overlap.
 * Cost: 15 instructions per row, then 8 per 32 bytes; 5 per byte where a row does not begin and end at words. No scratch. */
#ifndef STROP_MOVE_COLUMNS_H
#define STROP_MOVE_COLUMNS_H

#include "move.h"

typedef struct {
    int32_t rows, bytes, in_start, in_step, out_start, out_step;
} strop_columns_shape;

STROP_KERNEL void strop_move_columns(const void *restrict from, void *restrict to, const strop_columns_shape *s) {
    const uint8_t *in = (const uint8_t *)from + s->in_start;
    uint8_t *out = (uint8_t *)to + s->out_start;
    for (int32_t row = 0; row < s->rows; ++row, in += s->in_step, out += s->out_step) {
        strop_move_bytes_down(in, out, (size_t)s->bytes);
    }
}

#endif
