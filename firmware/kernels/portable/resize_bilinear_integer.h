/* Bilinear resizing of NHWC images, int8 and int16: weights have 10 bits, tables give the two inputs and the weight of the
 * second for every output row and column. Cost: about 22 instructions per output. No scratch. */
#ifndef STROP_RESIZE_BILINEAR_INTEGER_H
#define STROP_RESIZE_BILINEAR_INTEGER_H

#include "fixed_point.h"

typedef struct {
    int32_t low, high, weight;
} strop_bilinear_tap;

typedef struct {
    int32_t batch, in_h, in_w, channels, out_h, out_w;
} strop_bilinear_shape;

STROP_KERNEL void strop_resize_bilinear_s8(const int8_t *restrict in, const strop_bilinear_tap *restrict rows,
                                           const strop_bilinear_tap *restrict columns, int8_t *restrict out,
                                           const strop_bilinear_shape *s) {
    const int32_t pitch = s->in_w * s->channels;
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * pitch) {
        for (int32_t i = 0; i < s->out_h * s->out_w; ++i) {
            const strop_bilinear_tap y = rows[i / s->out_w];
            const strop_bilinear_tap x = columns[i % s->out_w];
            const int8_t *const upper = in + y.low * pitch;
            const int8_t *const lower = in + y.high * pitch;
            for (int32_t c = 0; c < s->channels; ++c) {
                const int32_t l = x.low * s->channels + c;
                const int32_t r = x.high * s->channels + c;
                const int32_t left = upper[l] * (1024 - y.weight) + lower[l] * y.weight;
                const int32_t right = upper[r] * (1024 - y.weight) + lower[r] * y.weight;
                *out++ = (int8_t)strop_rounding_shift_right(left * (1024 - x.weight) + right * x.weight, 20);
            }
        }
    }
}

/* x / 2^20, halves away from zero. */
STROP_KERNEL int32_t strop_bilinear_result(int64_t x) {
    return (int32_t)(x >= 0 ? (x + (1 << 19)) >> 20 : -((-x + (1 << 19)) >> 20));
}

STROP_KERNEL void strop_resize_bilinear_s16(const int16_t *restrict in, const strop_bilinear_tap *restrict rows,
                                            const strop_bilinear_tap *restrict columns, int16_t *restrict out,
                                            const strop_bilinear_shape *s) {
    const int32_t pitch = s->in_w * s->channels;
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * pitch) {
        for (int32_t i = 0; i < s->out_h * s->out_w; ++i) {
            const strop_bilinear_tap y = rows[i / s->out_w];
            const strop_bilinear_tap x = columns[i % s->out_w];
            const int16_t *const upper = in + y.low * pitch;
            const int16_t *const lower = in + y.high * pitch;
            for (int32_t c = 0; c < s->channels; ++c) {
                const int32_t l = x.low * s->channels + c;
                const int32_t r = x.high * s->channels + c;
                const int64_t left = upper[l] * (1024 - y.weight) + lower[l] * y.weight;
                const int64_t right = upper[r] * (1024 - y.weight) + lower[r] * y.weight;
                *out++ = (int16_t)strop_bilinear_result(left * (1024 - x.weight) + right * x.weight);
            }
        }
    }
}

#endif
