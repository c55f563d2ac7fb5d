/* Average and maximum pooling, float32 and plain integers, NHWC. Rows of an average are summed apart, which keeps the
 * rounding error of large windows small. Cost: about 6 instructions per window element with an FPU. No scratch. */
#ifndef STROP_POOL_2D_F32_H
#define STROP_POOL_2D_F32_H

#include "activation_f32.h"
#include "pool_2d.h"

/* pool: geometry; its integer bounds are not read. */
typedef struct {
    strop_pool_2d_shape pool;
    strop_activation_f32 activation;
} strop_pool_2d_f32_shape;

STROP_KERNEL float strop_average_of_f32(const float *restrict in, const strop_pool_2d_shape *s,
                                        const strop_pool_window *w) {
    float sum = 0.0F;
    for (int32_t y = w->first_y; y < w->end_y; ++y) {
        float row = 0.0F;
        const float *pixel = in + (y * s->in_w + w->first_x) * s->channels;
        for (int32_t x = w->first_x; x < w->end_x; ++x, pixel += s->channels) {
            row += *pixel;
        }
        sum += row;
    }
    return sum / (float)strop_pool_count(s, w);
}

STROP_KERNEL void strop_average_pool_2d_f32(const float *restrict in, float *restrict out,
                                            const strop_pool_2d_f32_shape *shape) {
    const strop_pool_2d_shape *const s = &shape->pool;
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                for (int32_t c = 0; c < s->channels; ++c) {
                    *out++ = strop_activate_f32(strop_average_of_f32(in + c, s, &w), &shape->activation);
                }
            }
        }
    }
}

/* The element of a window that none is greater than; NaN wins. */
STROP_KERNEL float strop_max_of_f32(const float *restrict in, const strop_pool_2d_shape *s, const strop_pool_window *w) {
    float top = in[(w->first_y * s->in_w + w->first_x) * s->channels];
    for (int32_t y = w->first_y; y < w->end_y; ++y) {
        const float *pixel = in + (y * s->in_w + w->first_x) * s->channels;
        for (int32_t x = w->first_x; x < w->end_x; ++x, pixel += s->channels) {
            top = *pixel > top || *pixel != *pixel ? *pixel : top;
        }
    }
    return top;
}

STROP_KERNEL void strop_max_pool_2d_f32(const float *restrict in, float *restrict out,
                                        const strop_pool_2d_f32_shape *shape) {
    const strop_pool_2d_shape *const s = &shape->pool;
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                for (int32_t c = 0; c < s->channels; ++c) {
                    *out++ = strop_activate_f32(strop_max_of_f32(in + c, s, &w), &shape->activation);
                }
            }
        }
    }
}

/* Maximum pooling of a plain integer type: strop_max_pool_2d_<name>, without activation. */
#define STROP_MAX_POOL(name, type)                                                                                     \
    STROP_KERNEL void strop_max_pool_2d_##name(const type *restrict in, type *restrict out,                            \
                                               const strop_pool_2d_f32_shape *shape) {                                 \
        const strop_pool_2d_shape *const s = &shape->pool;                                                             \
        for (int32_t at = 0; at < s->batch * s->out_h * s->out_w; ++at) {                                              \
            const strop_pool_window w = strop_pool_window_at(s, at / s->out_w % s->out_h, at % s->out_w);              \
            const type *const image = in + at / (s->out_w * s->out_h) * s->in_h * s->in_w * s->channels;               \
            for (int32_t c = 0; c < s->channels; ++c) {                                                                \
                type top = image[(w.first_y * s->in_w + w.first_x) * s->channels + c];                                 \
                for (int32_t y = w.first_y; y < w.end_y; ++y) {                                                        \
                    for (int32_t x = w.first_x; x < w.end_x; ++x) {                                                    \
                        const type value = image[(y * s->in_w + x) * s->channels + c];                                 \
                        top = value > top ? value : top;                                                               \
                    }                                                                                                  \
                }                                                                                                      \
                *out++ = top;                                                                                          \
            }                                                                                                          \
        }                                                                                                              \
    }

STROP_MAX_POOL(i8, int8_t)
STROP_MAX_POOL(u8, uint8_t)
STROP_MAX_POOL(i16, int16_t)
STROP_MAX_POOL(i32, int32_t)

#endif
