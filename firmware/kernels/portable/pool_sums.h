/* Average pooling of whole images that come row by row: sums per channel, and their mean at the end.
 * Layout: pixels of int8 channels one after the other; one int32 sum per channel.
 * Cost: 12 instructions per pixel and four channels, 40 per four channels, 60 per four means. */
#ifndef STROP_POOL_SUMS_H
#define STROP_POOL_SUMS_H

#include "pool_2d.h"

typedef struct {
    int32_t pixels, channels;
} strop_pool_sums_shape;

/* pixels: of the whole image. */
typedef struct {
    int32_t pixels, channels, act_min, act_max;
} strop_pool_mean_shape;

/* sums = before + the sums of some pixels; `before` is null for the first ones, else it may be `sums` itself. */
STROP_SHARED void strop_pool_sums_run(const int8_t *in, const int32_t *before, int32_t *sums, int32_t pixels,
                                      int32_t channels) {
    const strop_pool_block block = {in, 1, pixels, channels, 0};
    int32_t channel = 0;
    for (int32_t fours = channels / 4; fours > 0; --fours, channel += 4) {
        strop_pool_four four;
        strop_sum_four(&block, channel, &four);
        const int32_t sum[4] = {four.a, four.b, four.c, four.d};
        for (int32_t i = 0; i < 4; ++i) {
            *sums++ = sum[i] + (before != NULL ? *before++ : 0);
        }
    }
    for (int32_t ones = channels % 4; ones > 0; --ones, ++channel) {
        *sums++ = strop_sum_one(&block, channel) + (before != NULL ? *before++ : 0);
    }
}

STROP_KERNEL void strop_pool_sums_first(const int8_t *in, int32_t *sums, const strop_pool_sums_shape *s) {
    strop_pool_sums_run(in, NULL, sums, s->pixels, s->channels);
}

STROP_KERNEL void strop_pool_sums_next(const int8_t *in, const int32_t *before, int32_t *sums,
                                       const strop_pool_sums_shape *s) {
    strop_pool_sums_run(in, before, sums, s->pixels, s->channels);
}

STROP_KERNEL void strop_pool_mean(const int32_t *sums, int8_t *out, const strop_pool_mean_shape *s) {
    const strop_pool_divisor divisor = strop_pool_divisor_of(s->pixels);
    const strop_pool_2d_shape bounds = {.act_min = s->act_min, .act_max = s->act_max};
    for (int32_t channel = 0; channel < s->channels; ++channel) {
        out[channel] = strop_pool_average(sums[channel], &divisor, &bounds);
    }
}

#endif
