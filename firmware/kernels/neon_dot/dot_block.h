/* Sixteen output channels of the pixels of a band (dot.h) with dot products (Armv8.2 SDOT): four pixels x sixteen channels, sixteen
 * registers of sums, four of activations, each sixteen taps of a pixel, and four of weights.
 * Cost: 24 instructions per 256 products, 45 per sixteen outputs. */
#ifndef STROP_DOT_BLOCK_H
#define STROP_DOT_BLOCK_H

#include "requantize_neon.h"

/* Four taps of every pixel, those in a lane of x, times weights at w. */
#define STROP_FOUR_TAPS(sums, w, x, lane, pixels)                                  \
    STROP_UNROLLED                                                                 \
    for (int32_t c = 0; c < 4; ++c) {                                              \
        const int8x16_t v = vld1q_s8((w) + 16 * c);                                \
        STROP_UNROLLED                                                             \
        for (int32_t i = 0; i < (pixels); ++i) {                                   \
            (sums)[i][c] = vdotq_laneq_s32((sums)[i][c], v, (x)[i], lane);         \
        }                                                                          \
    }

/* `pixels` pixels from `first` on; behind the last one, it again. */
STROP_INLINE void strop_tile_dot(const strop_dot *d, const strop_scale_neon *p, int32_t first, const int32_t pixels) {
    const int8_t *at[4];
    int32x4_t sums[4][4];
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        at[i] = d->band + d->pixels[strop_min(first + i, d->count - 1)];
        STROP_UNROLLED
        for (int32_t c = 0; c < 4; ++c) {
            sums[i][c] = p->bias[c];
        }
    }
    const int8_t *w = d->block + 192;
    for (int32_t run = 0; run < d->run_count; ++run) {
        int64_t k = d->runs[run];
        int32_t left = d->quads;
        int8x16_t x[4];
        for (; left >= 4; left -= 4, k += 16, w += 256) {
            STROP_UNROLLED
            for (int32_t i = 0; i < pixels; ++i) {
                x[i] = vld1q_s8(at[i] + k);
            }
            STROP_FOUR_TAPS(sums, w, x, 0, pixels)
            STROP_FOUR_TAPS(sums, w + 64, x, 1, pixels)
            STROP_FOUR_TAPS(sums, w + 128, x, 2, pixels)
            STROP_FOUR_TAPS(sums, w + 192, x, 3, pixels)
        }
        for (; left > 0; --left, k += 4, w += 64) {
            STROP_UNROLLED
            for (int32_t i = 0; i < pixels; ++i) {
                x[i] = vreinterpretq_s8_s32(vdupq_n_s32(strop_word_at(at[i] + k)));
            }
            STROP_FOUR_TAPS(sums, w, x, 0, pixels)
        }
    }
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        strop_finish_neon(d, p, strop_min(first + i, d->count - 1), sums[i]);
    }
}

STROP_SHARED void strop_dot_block_sdot(const strop_dot *d) {
    const strop_scale_neon p = strop_scale_of_neon(d);
    int32_t first = 0;
    for (; d->count - first > 1; first += 4) {
        strop_tile_dot(d, &p, first, 4);
    }
    if (d->count - first == 1) {
        strop_tile_dot(d, &p, first, 1);
    }
}

STROP_KERNEL strop_dot_block strop_dot_block_of(void) { return strop_dot_block_sdot; }

#endif
