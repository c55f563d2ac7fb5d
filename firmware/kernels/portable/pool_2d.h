/* Average and maximum pooling, int8, NHWC. Cost: about 5 instructions per window element. No scratch. */
#ifndef STROP_POOL_2D_H
#define STROP_POOL_2D_H

#include "common.h"

/* count_padding: divide by the whole window rather than by the part of it inside the input. */
typedef struct {
    int32_t batch, in_h, in_w, channels, out_h, out_w;
    int32_t k_h, k_w, stride_h, stride_w, pad_top, pad_left;
    int32_t act_min, act_max, count_padding;
} strop_pool_2d_shape;

/* The window of one output pixel cut to the input: rows first_y to end_y, columns first_x to end_x. */
typedef struct {
    int32_t first_y, end_y, first_x, end_x;
} strop_pool_window;

STROP_KERNEL strop_pool_window strop_pool_window_at(const strop_pool_2d_shape *s, int32_t oy, int32_t ox) {
    const int32_t y = oy * s->stride_h - s->pad_top;
    const int32_t x = ox * s->stride_w - s->pad_left;
    const strop_pool_window w = {strop_max(y, 0), strop_min(y + s->k_h, s->in_h), strop_max(x, 0),
                                 strop_min(x + s->k_w, s->in_w)};
    return w;
}

/* Elements that an average divides by. */
STROP_KERNEL int32_t strop_pool_count(const strop_pool_2d_shape *s, const strop_pool_window *w) {
    return s->count_padding ? s->k_h * s->k_w : (w->end_y - w->first_y) * (w->end_x - w->first_x);
}

STROP_KERNEL int8_t strop_average_of(const int8_t *restrict in, const strop_pool_2d_shape *s, const strop_pool_window *w,
                                     int32_t count) {
    int32_t sum = 0;
    for (int32_t y = w->first_y; y < w->end_y; ++y) {
        for (int32_t x = w->first_x; x < w->end_x; ++x) {
            sum += in[(y * s->in_w + x) * s->channels];
        }
    }
    const int32_t rounded = sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
    return (int8_t)strop_clamp(rounded, s->act_min, s->act_max);
}

STROP_KERNEL int8_t strop_max_of(const int8_t *restrict in, const strop_pool_2d_shape *s, const strop_pool_window *w) {
    int32_t top = INT8_MIN;
    for (int32_t y = w->first_y; y < w->end_y; ++y) {
        for (int32_t x = w->first_x; x < w->end_x; ++x) {
            top = strop_max(top, in[(y * s->in_w + x) * s->channels]);
        }
    }
    return (int8_t)strop_clamp(top, s->act_min, s->act_max);
}

STROP_KERNEL void strop_average_pool_2d_s8(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                const int32_t count = strop_pool_count(s, &w);
                for (int32_t c = 0; c < s->channels; ++c) {
                    *out++ = strop_average_of(in + c, s, &w, count);
                }
            }
        }
    }
}

STROP_KERNEL void strop_max_pool_2d_s8(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                for (int32_t c = 0; c < s->channels; ++c) {
                    *out++ = strop_max_of(in + c, s, &w);
                }
            }
        }
    }
}

#endif
