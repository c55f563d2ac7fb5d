/* Average and maximum pooling, int8, NHWC, four channels at a time, the last of them again where they are no multiple of four.
 * Cost: 2.5 (average) to 4 (maximum) instructions per window element. No scratch. */
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

/* A window in memory. in: its first element of the first channel. row_step: from the end of a row to the next row's begin. */
typedef struct {
    const int8_t *in;
    int32_t rows, columns, step, row_step;
} strop_pool_block;

STROP_KERNEL strop_pool_block strop_pool_block_of(const int8_t *in, const strop_pool_2d_shape *s, const strop_pool_window *w) {
    const int32_t columns = w->end_x - w->first_x;
    const strop_pool_block block = {in + (w->first_y * s->in_w + w->first_x) * s->channels, w->end_y - w->first_y, columns,
                                    s->channels, (s->in_w - columns) * s->channels};
    return block;
}

/* Four channels of a result. */
typedef struct {
    int32_t a, b, c, d;
} strop_pool_four;

STROP_SHARED void strop_sum_four(const strop_pool_block *block, int32_t channel, strop_pool_four *result) {
    const int8_t *p = block->in + channel;
    strop_pool_four sums = {0, 0, 0, 0};
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            sums.a += p[0];
            sums.b += p[1];
            sums.c += p[2];
            sums.d += p[3];
        }
    }
    *result = sums;
}

STROP_SHARED void strop_max_four(const strop_pool_block *block, int32_t channel, strop_pool_four *result) {
    const int8_t *p = block->in + channel;
    strop_pool_four tops = {INT8_MIN, INT8_MIN, INT8_MIN, INT8_MIN};
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            tops.a = strop_max(tops.a, p[0]);
            tops.b = strop_max(tops.b, p[1]);
            tops.c = strop_max(tops.c, p[2]);
            tops.d = strop_max(tops.d, p[3]);
        }
    }
    *result = tops;
}

/* One channel where there are fewer than four. */
STROP_SHARED int32_t strop_sum_one(const strop_pool_block *block, int32_t channel) {
    const int8_t *p = block->in + channel;
    int32_t sum = 0;
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            sum += *p;
        }
    }
    return sum;
}

STROP_SHARED int32_t strop_max_one(const strop_pool_block *block, int32_t channel) {
    const int8_t *p = block->in + channel;
    int32_t top = INT8_MIN;
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            top = strop_max(top, *p);
        }
    }
    return top;
}

#define STROP_POOL_EXACT 255
#define STROP_POOL_BITS 23

/* What an average is divided by. factor: a little more than 2^23 / count, with which quotients up to 128 are exact while
 * count^2 * 129 < 2^23; 0 for larger counts. */
typedef struct {
    int32_t count;
    uint32_t factor;
} strop_pool_divisor;

STROP_KERNEL strop_pool_divisor strop_pool_divisor_of(int32_t count) {
    const bool exact = count > 0 && count <= STROP_POOL_EXACT;
    const strop_pool_divisor d = {count, exact ? (1U << STROP_POOL_BITS) / (uint32_t)count + 1 : 0};
    return d;
}

/* sum / count, halves away from zero, clamped. */
STROP_SHARED int8_t strop_pool_average(int32_t sum, const strop_pool_divisor *d, const strop_pool_2d_shape *s) {
    const int32_t sign = sum >> 31;
    const uint32_t n = (uint32_t)((sum ^ sign) - sign + d->count / 2);
    const int32_t rounded = (int32_t)(d->factor != 0 ? n * d->factor >> STROP_POOL_BITS : n / (uint32_t)d->count);
    return (int8_t)strop_clamp((rounded ^ sign) - sign, s->act_min, s->act_max);
}

/* All channels of one output pixel. */
STROP_SHARED void strop_average_pixel(const strop_pool_block *block, int32_t count, int8_t *out, const strop_pool_2d_shape *s) {
    const strop_pool_divisor divisor = strop_pool_divisor_of(count);
    const int32_t fours = s->channels < 4 ? 0 : s->channels;
    for (int32_t c = 0; c < fours; c += 4) {
        const int32_t at = strop_min(c, s->channels - 4);
        strop_pool_four sums;
        strop_sum_four(block, at, &sums);
        out[at] = strop_pool_average(sums.a, &divisor, s);
        out[at + 1] = strop_pool_average(sums.b, &divisor, s);
        out[at + 2] = strop_pool_average(sums.c, &divisor, s);
        out[at + 3] = strop_pool_average(sums.d, &divisor, s);
    }
    for (int32_t c = fours; c < s->channels; ++c) {
        out[c] = strop_pool_average(strop_sum_one(block, c), &divisor, s);
    }
}

STROP_SHARED void strop_max_pixel(const strop_pool_block *block, int8_t *out, const strop_pool_2d_shape *s) {
    const int32_t low = s->act_min, high = s->act_max, fours = s->channels < 4 ? 0 : s->channels;
    for (int32_t c = 0; c < fours; c += 4) {
        const int32_t at = strop_min(c, s->channels - 4);
        strop_pool_four tops;
        strop_max_four(block, at, &tops);
        out[at] = (int8_t)strop_clamp(tops.a, low, high);
        out[at + 1] = (int8_t)strop_clamp(tops.b, low, high);
        out[at + 2] = (int8_t)strop_clamp(tops.c, low, high);
        out[at + 3] = (int8_t)strop_clamp(tops.d, low, high);
    }
    for (int32_t c = fours; c < s->channels; ++c) {
        out[c] = (int8_t)strop_clamp(strop_max_one(block, c), low, high);
    }
}

STROP_KERNEL void strop_average_pool_2d_s8(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->channels) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                const strop_pool_block block = strop_pool_block_of(in, s, &w);
                strop_average_pixel(&block, strop_pool_count(s, &w), out, s);
            }
        }
    }
}

STROP_KERNEL void strop_max_pool_2d_s8(const int8_t *restrict in, int8_t *restrict out, const strop_pool_2d_shape *s) {
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->channels) {
        for (int32_t oy = 0; oy < s->out_h; ++oy) {
            for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->channels) {
                const strop_pool_window w = strop_pool_window_at(s, oy, ox);
                const strop_pool_block block = strop_pool_block_of(in, s, &w);
                strop_max_pixel(&block, out, s);
            }
        }
    }
}

#endif
