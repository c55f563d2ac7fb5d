/* Bilinear resizing of float32 NHWC images. rows, columns: the first input row and column of each output row and column,
 * the second is the next one; their weights are of the second. Cost: about 20 instructions per element. No scratch. */
#ifndef STROP_RESIZE_BILINEAR_F32_H
#define STROP_RESIZE_BILINEAR_F32_H

#include "common.h"

typedef struct {
    int32_t batch, in_h, in_w, out_h, out_w, channels;
} strop_resize_bilinear_f32_shape;

STROP_KERNEL void strop_resize_bilinear_f32(const float *restrict in, const int32_t *restrict rows,
                                            const float *restrict row_weights, const int32_t *restrict columns,
                                            const float *restrict column_weights, float *restrict out,
                                            const strop_resize_bilinear_f32_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t y = 0; y < s->out_h; ++y) {
            const float *const top = in + rows[y] * s->in_w * s->channels;
            const float *const bottom = in + strop_min(rows[y] + 1, s->in_h - 1) * s->in_w * s->channels;
            for (int32_t x = 0; x < s->out_w; ++x) {
                const int32_t left = columns[x] * s->channels;
                const int32_t right = strop_min(columns[x] + 1, s->in_w - 1) * s->channels;
                const float down = row_weights[y], across = column_weights[x];
                for (int32_t c = 0; c < s->channels; ++c) {
                    const float first = top[left + c] * (1.0F - down) + bottom[left + c] * down;
                    const float second = top[right + c] * (1.0F - down) + bottom[right + c] * down;
                    *out++ = first * (1.0F - across) + second * across;
                }
            }
        }
    }
}

#endif
