/* Channels of four pixels (quad.h) on RV32IM, two channels at a time.
 * Registers: 8 sums, 4 words of activations, 2 weights, 2 products, rounding, 3 pointers, end.
 * Cost: 38 instructions per pair of taps (16 multiply-accumulates), 16 per output. */
#ifndef STROP_QUAD_CHANNELS_H
#define STROP_QUAD_CHANNELS_H

#include "finish.h"
#include "quad.h"

/* Words of n activations of each pixel. */
STROP_SHARED int32_t *strop_quad_interleave(const int8_t *const runs[4], int32_t n, int32_t *to) {
    const int8_t *a = runs[0], *b = runs[1], *c = runs[2], *d = runs[3];
    for (const int8_t *const end = a + n; a != end; to += 2) {
        const int32_t low_0 = *a++, high_0 = *b++, low_1 = *c++, high_1 = *d++;
        to[0] = low_0 + (int32_t)((uint32_t)high_0 << 16);
        to[1] = low_1 + (int32_t)((uint32_t)high_1 << 16);
    }
    return to;
}

/* Sums of one channel: of the words and of their upper halves, for two pairs of pixels. */
typedef struct {
    int32_t words_0, high_0, words_1, high_1;
} strop_quad_sums;

STROP_KERNEL strop_quad_sums strop_quad_begin(const strop_scaled_channel *p) {
    const strop_quad_sums sums = {p->words, p->bias, p->words, p->bias};
    return sums;
}

/* Two taps of one channel. */
STROP_KERNEL void strop_quad_step(const int32_t *x, const int8_t *w, strop_quad_sums *sums) {
    const int32_t first = w[0], second = w[1];
    const int32_t word_0 = x[0] * first + x[2] * second + STROP_QUAD_ROUND;
    const int32_t word_1 = x[1] * first + x[3] * second + STROP_QUAD_ROUND;
    sums->words_0 += word_0;
    sums->words_1 += word_1;
    sums->high_0 += word_0 >> 16;
    sums->high_1 += word_1 >> 16;
}

STROP_KERNEL void strop_quad_store(const strop_quad_sums *sums, const strop_scaled_channel *p, int8_t *out,
                                   const strop_quad_block *block) {
    out[0] = strop_finish(sums->words_0 - strop_shift_left(sums->high_0, 16), p, block->low, block->high);
    out[block->at[0]] = strop_finish(sums->high_0, p, block->low, block->high);
    out[block->at[1]] = strop_finish(sums->words_1 - strop_shift_left(sums->high_1, 16), p, block->low, block->high);
    out[block->at[2]] = strop_finish(sums->high_1, p, block->low, block->high);
}

/* All channels of four pixels. An odd last channel is computed twice. */
STROP_SHARED void strop_quad_channels(const int32_t *activations, const int8_t *weights, const strop_scaled_channel *channels,
                                      int8_t *out, const strop_quad_block *block) {
    const int32_t taps = block->taps;
    for (int32_t left = block->channels; left > 0; left -= 2, channels += 2, weights += 2 * taps, out += 2) {
        const int32_t next = left > 1 ? 1 : 0;
        const int8_t *w = weights, *v = weights + next * taps;
        strop_quad_sums sums_0 = strop_quad_begin(channels), sums_1 = strop_quad_begin(channels + next);
        const int32_t *x = activations;
        for (const int32_t *const end = x + 2 * taps; x != end; x += 4, w += 2, v += 2) {
            strop_quad_step(x, w, &sums_0);
            strop_quad_step(x, v, &sums_1);
        }
        strop_quad_store(&sums_0, channels, out, block);
        strop_quad_store(&sums_1, channels + next, out + next, block);
    }
}

#endif
