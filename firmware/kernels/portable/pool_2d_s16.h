/* Average and maximum pooling, int16, NHWC. Cost: about 5 instructions per window element. No scratch. */
#ifndef STROP_POOL_2D_S16_H
#define STROP_POOL_2D_S16_H

#include "pool_2d.h"

STROP_KERNEL int16_t strop_average_of_s16(const int16_t *restrict in, const strop_pool_2d_shape *s, const strop_pool_window *w,
                                          int32_t count) {
    int32_t sum = 0;
    for (int32_t y = w->first_y; y < w->end_y; ++y) {
        for (int32_t x = w->first_x; x < w->end_x; ++x) {
            sum += in[(y * s->in_w + x) * s->channels];
        }
    }
    const int32_t rounded = sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
    return (int16_t)strop_clamp(rounded, s->act_min, s->act_max);
}

STROP_KERNEL int16_t strop_max_of_s16(const int16_t *restrict in, const strop_pool_2d_shape *s, const strop_pool_window *w) {
    int32_t top = INT16_MIN;
    for (int32_t y = w->first_y; y < w->end_y; ++y) {
        for (int32_t x = w->first_x; x < w->end_x; ++x) {
            top = strop_max(top, in[(y * s->in_w + x) * s->channels]);
        }
    }
    return (int16_t)strop_clamp(top, s->act_min, s->act_max);
}

STROP_KERNEL void strop_average_pool_2d_s16(const int16_t *restrict in, int16_t *restrict out, const strop_pool_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                const int32_t count = strop_pool_count(s, &w);
                for (int32_t c = 0; c < s->channels; ++c) {
                    *out++ = strop_average_of_s16(in + c, s, &w, count);
                }
            }
        }
    }
}

STROP_KERNEL void strop_max_pool_2d_s16(const int16_t *restrict in, int16_t *restrict out, const strop_pool_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                for (int32_t c = 0; c < s->channels; ++c) {
                    *out++ = strop_max_of_s16(in + c, s, &w);
                }
            }
        }
    }
}

#endif
