/* Average and maximum pooling, int8, NHWC, with the vector extension: sixteen channels of one output pixel at a time.
 * Averages add up to 255 elements in 16 bits, and divide by a multiplication that is exact for such sums.
 * Cost: 11 instructions per window element of sixteen channels for averages, 5 for maxima; 110 and 23 per sixteen outputs.
 * No scratch. */
#ifndef STROP_POOL_2D_MVE_H
#define STROP_POOL_2D_MVE_H

#include <arm_mve.h>

#include "pool_2d.h"

/* A window cut to the input. steps: bytes to the next row and column. inverse: 2^32 / count rounded up, count > 1. */
typedef struct {
    int32_t rows, columns, row_step, column_step, channels, count;
    uint32_t inverse;
    int32_t act_min, act_max;
} strop_pool_pixel;

/* Four sums divided by the count, halves away from zero. */
STROP_KERNEL int32x4_t strop_divide_mve(int32x4_t sums, const strop_pool_pixel *p) {
    if (p->count == 1) {
        return sums;
    }
    const uint32x4_t rounded = vaddq_n_u32(vreinterpretq_u32_s32(vabsq_s32(sums)), (uint32_t)p->count / 2U);
    const int32x4_t quotient = vreinterpretq_s32_u32(vmulhq_u32(rounded, vdupq_n_u32(p->inverse)));
    return vnegq_m_s32(quotient, quotient, vcmpltq_n_s32(sums, 0));
}

/* Eight sums to outputs in 16 bits. */
STROP_KERNEL int16x8_t strop_average_mve(int16x8_t sums, const strop_pool_pixel *p) {
    const int32x4_t even = strop_divide_mve(vmovlbq_s16(sums), p), odd = strop_divide_mve(vmovltq_s16(sums), p);
    const int16x8_t both = vmovntq_s32(vmovnbq_s32(sums, even), odd);
    return vminq_s16(vmaxq_s16(both, vdupq_n_s16((int16_t)p->act_min)), vdupq_n_s16((int16_t)p->act_max));
}

STROP_SHARED void strop_average_pixel_mve(const int8_t *in, int8_t *out, const strop_pool_pixel *p) {
    for (int32_t c = 0; c < p->channels; c += 16) {
        const mve_pred16_t low = vctp16q((uint32_t)(p->channels - c));
        const mve_pred16_t high = vctp16q((uint32_t)strop_max(p->channels - c - 8, 0));
        int16x8_t sums_0 = vdupq_n_s16(0), sums_1 = vdupq_n_s16(0);
        const int8_t *row = in + c;
        for (int32_t y = 0; y < p->rows; ++y, row += p->row_step) {
            const int8_t *at = row;
            for (int32_t x = 0; x < p->columns; ++x, at += p->column_step) {
                sums_0 = vaddq_s16(sums_0, vldrbq_z_s16(at, low));
                sums_1 = vaddq_s16(sums_1, vldrbq_z_s16(at + 8, high));
            }
        }
        vstrbq_p_s16(out + c, strop_average_mve(sums_0, p), low);
        vstrbq_p_s16(out + c + 8, strop_average_mve(sums_1, p), high);
    }
}

STROP_SHARED void strop_max_pixel_mve(const int8_t *in, int8_t *out, const strop_pool_pixel *p) {
    for (int32_t c = 0; c < p->channels; c += 16) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(p->channels - c));
        int8x16_t top = vdupq_n_s8((int8_t)p->act_min);
        const int8_t *row = in + c;
        for (int32_t y = 0; y < p->rows; ++y, row += p->row_step) {
            const int8_t *at = row;
            for (int32_t x = 0; x < p->columns; ++x, at += p->column_step) {
                top = vmaxq_s8(top, vldrbq_z_s8(at, lanes));
            }
        }
        vstrbq_p_s8(out + c, vminq_s8(top, vdupq_n_s8((int8_t)p->act_max)), lanes);
    }
}

/* The window of one output pixel; returns its first element. */
STROP_KERNEL const int8_t *strop_pool_pixel_at(const int8_t *in, const strop_pool_2d_shape *s, int32_t oy, int32_t ox,
                                               strop_pool_pixel *p) {
    const strop_pool_window w = strop_pool_window_at(s, oy, ox);
    p->rows = w.end_y - w.first_y;
    p->columns = w.end_x - w.first_x;
    return in + (w.first_y * s->in_w + w.first_x) * s->channels;
}

STROP_KERNEL strop_pool_pixel strop_pool_pixel_of(const strop_pool_2d_shape *s) {
    const strop_pool_pixel p = {0, 0, s->in_w * s->channels, s->channels, s->channels, 0, 0, s->act_min, s->act_max};
    return p;
}

STROP_KERNEL void strop_average_pool_2d_mve(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    strop_pool_pixel p = strop_pool_pixel_of(s);
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->channels) {
                const int8_t *const first = strop_pool_pixel_at(in, s, oy, ox, &p);
                p.count = s->count_padding ? s->k_h * s->k_w : p.rows * p.columns;
                p.inverse = UINT32_MAX / (uint32_t)p.count + 1U;
                strop_average_pixel_mve(first, out, &p);
            }
        }
    }
}

STROP_KERNEL void strop_max_pool_2d_mve(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    strop_pool_pixel p = strop_pool_pixel_of(s);
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->channels) {
                strop_max_pixel_mve(strop_pool_pixel_at(in, s, oy, ox, &p), out, &p);
            }
        }
    }
}

#endif
