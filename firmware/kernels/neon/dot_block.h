/* Sixteen output channels of the pixels of a band (dot.h) on cores without dot products: two pixels x sixteen channels, sixteen
 * registers of sums, each of two channels in two parts. Two products are added in 16 bits, which hold them as long as they are not
 * both of -128 and -128; then pairs of them in 32.
 * Cost: 24 instructions per eight taps of a pixel, 8 of weights, 45 per sixteen outputs. */
#ifndef STROP_DOT_BLOCK_H
#define STROP_DOT_BLOCK_H

#include "requantize_neon.h"

/* Four taps, twice. */
STROP_INLINE int8x16_t strop_four_taps(const int8_t *from) { return vreinterpretq_s8_s32(vdupq_n_s32(strop_word_at(from))); }

/* `pixels` pixels from `first` on; behind the last one, it again. */
STROP_INLINE void strop_tile_neon(const strop_dot *d, const strop_scale_neon *p, int32_t first, const int32_t pixels) {
    const int8_t *at[2];
    int32x4_t sums[2][8];
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        at[i] = d->band + d->pixels[strop_min(first + i, d->count - 1)];
        STROP_UNROLLED
        for (int32_t c = 0; c < 8; ++c) {
            sums[i][c] = vdupq_n_s32(0);
        }
    }
    const int8_t *w = d->block + 192;
    for (int32_t run = 0; run < d->run_count; ++run) {
        int64_t k = d->runs[run];
        int32_t left = d->quads;
        for (; left >= 2; left -= 2, k += 8, w += 128) {
            int8x16_t x[2], y[2];
            STROP_UNROLLED
            for (int32_t i = 0; i < pixels; ++i) {
                x[i] = strop_four_taps(at[i] + k);
                y[i] = strop_four_taps(at[i] + k + 4);
            }
            STROP_UNROLLED
            for (int32_t c = 0; c < 4; ++c) {
                const int8x16_t v = vld1q_s8(w + 16 * c), u = vld1q_s8(w + 64 + 16 * c);
                STROP_UNROLLED
                for (int32_t i = 0; i < pixels; ++i) {
                    const int16x8_t even = vmlal_s8(vmull_s8(vget_low_s8(v), vget_low_s8(x[i])), vget_low_s8(u), vget_low_s8(y[i]));
                    const int16x8_t odd = vmlal_high_s8(vmull_high_s8(v, x[i]), u, y[i]);
                    sums[i][2 * c] = vpadalq_s16(sums[i][2 * c], even);
                    sums[i][2 * c + 1] = vpadalq_s16(sums[i][2 * c + 1], odd);
                }
            }
        }
        if (left > 0) {
            STROP_UNROLLED
            for (int32_t c = 0; c < 4; ++c) {
                const int8x16_t v = vld1q_s8(w + 16 * c);
                STROP_UNROLLED
                for (int32_t i = 0; i < pixels; ++i) {
                    const int8x16_t x = strop_four_taps(at[i] + k);
                    sums[i][2 * c] = vpadalq_s16(sums[i][2 * c], vmull_s8(vget_low_s8(v), vget_low_s8(x)));
                    sums[i][2 * c + 1] = vpadalq_s16(sums[i][2 * c + 1], vmull_high_s8(v, x));
                }
            }
            w += 64;
        }
    }
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        int32x4_t whole[4];
        STROP_UNROLLED
        for (int32_t c = 0; c < 4; ++c) {
            whole[c] = vaddq_s32(vpaddq_s32(sums[i][2 * c], sums[i][2 * c + 1]), p->bias[c]);
        }
        strop_finish_neon(d, p, strop_min(first + i, d->count - 1), whole);
    }
}

STROP_SHARED void strop_dot_block_neon(const strop_dot *d) {
    const strop_scale_neon p = strop_scale_of_neon(d);
    int32_t first = 0;
    for (; d->count - first > 1; first += 2) {
        strop_tile_neon(d, &p, first, 2);
    }
    if (d->count - first == 1) {
        strop_tile_neon(d, &p, first, 1);
    }
}

STROP_KERNEL strop_dot_block strop_dot_block_of(void) { return strop_dot_block_neon; }

#endif
