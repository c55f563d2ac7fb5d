/* Nearest-neighbour resizing of NHWC images of any element type. rows, columns: the input row and column of each output
 * row and column. Cost: about 6 instructions per pixel plus memcpy. No scratch. */
#ifndef STROP_RESIZE_NEAREST_H
#define STROP_RESIZE_NEAREST_H

#include "common.h"

typedef struct {
    int32_t batch, in_h, in_w, out_h, out_w, pixel_bytes;
} strop_resize_nearest_shape;

STROP_KERNEL void strop_resize_nearest(const void *restrict in, const int32_t *restrict rows,
                                       const int32_t *restrict columns, void *restrict out,
                                       const strop_resize_nearest_shape *s) {
    const uint8_t *from = in;
    uint8_t *to = out;
    for (int32_t image = 0; image < s->batch; ++image, from += s->in_h * s->in_w * s->pixel_bytes) {
        for (int32_t y = 0; y < s->out_h; ++y) {
            for (int32_t x = 0; x < s->out_w; ++x, to += s->pixel_bytes) {
                const int32_t pixel = rows[y] * s->in_w + columns[x];
                memcpy(to, from + (ptrdiff_t)pixel * s->pixel_bytes, (size_t)s->pixel_bytes);
            }
        }
    }
}

#endif
