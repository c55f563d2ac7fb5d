/* Channels of four pixels (quad.h) on RV32IM, two channels at a time.
 * Registers: 8 sums, 4 words of activations, 2 weights, 2 products, rounding, 3 pointers, end.
 * Cost: 76 instructions per two pairs of taps (32 multiply-accumulates), 18 per output. */
#ifndef STROP_QUAD_CHANNELS_H
#define STROP_QUAD_CHANNELS_H

#include "finish.h"
#include "quad.h"

/* Two pixels' activations as a word. */
STROP_KERNEL int32_t strop_quad_word(int32_t low, int32_t high) { return low + (int32_t)((uint32_t)high << 16); }

/* Words of n activations of each pixel. */
STROP_SHARED int32_t *strop_quad_interleave(const int8_t *const runs[4], int32_t n, int32_t *to) {
    const int8_t *a = runs[0], *b = runs[1], *c = runs[2], *d = runs[3];
    for (; n >= 4; n -= 4, a += 4, b += 4, c += 4, d += 4, to += 8) {
        to[0] = strop_quad_word(a[0], b[0]);
        to[1] = strop_quad_word(c[0], d[0]);
        to[2] = strop_quad_word(a[1], b[1]);
        to[3] = strop_quad_word(c[1], d[1]);
        to[4] = strop_quad_word(a[2], b[2]);
        to[5] = strop_quad_word(c[2], d[2]);
        to[6] = strop_quad_word(a[3], b[3]);
        to[7] = strop_quad_word(c[3], d[3]);
    }
    for (; n > 0; --n, to += 2) {
        to[0] = strop_quad_word(*a++, *b++);
        to[1] = strop_quad_word(*c++, *d++);
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

/* Two taps of a channel on one pair of pixels. A, B: words of the taps, T, U: where products go. */
#define STROP_QUAD_PAIR(A, B, T, U, WORDS, HIGH)       \
    "mul " T ", " A ", t0\n\t"                         \
    "mul " U ", " B ", t1\n\t"                         \
    "add " T ", " T ", " U "\n\t"                      \
    "add " T ", " T ", %[round]\n\t"                   \
    "add %[" WORDS "], %[" WORDS "], " T "\n\t"        \
    "srai " T ", " T ", 16\n\t"                        \
    "add %[" HIGH "], %[" HIGH "], " T "\n\t"

/* Two taps of two channels; the second channel's products overwrite the activations. */
#define STROP_QUAD_STEP(X, W)                                    \
    "lw t3, " X "(%[x])\n\t"                                     \
    "lw t4, " X "+4(%[x])\n\t"                                   \
    "lw t5, " X "+8(%[x])\n\t"                                   \
    "lw t6, " X "+12(%[x])\n\t"                                  \
    "lb t0, " W "(%[w])\n\t"                                     \
    "lb t1, " W "+1(%[w])\n\t"                                   \
    STROP_QUAD_PAIR("t3", "t5", "t2", "a7", "words_0", "high_0") \
    STROP_QUAD_PAIR("t4", "t6", "t2", "a7", "words_1", "high_1") \
    "lb t0, " W "(%[v])\n\t"                                     \
    "lb t1, " W "+1(%[v])\n\t"                                   \
    STROP_QUAD_PAIR("t3", "t5", "t3", "t5", "words_2", "high_2") \
    STROP_QUAD_PAIR("t4", "t6", "t4", "t6", "words_3", "high_3")

/* n taps of two channels with weights w and v. */
STROP_KERNEL void strop_quad_sum(const int32_t *x, const int8_t *w, const int8_t *v, int32_t n, strop_quad_sums *p,
                                 strop_quad_sums *q) {
    const int8_t *const last_4 = w + n / 4 * 4;
    int32_t words_0 = p->words_0, high_0 = p->high_0, words_1 = p->words_1, high_1 = p->high_1;
    int32_t words_2 = q->words_0, high_2 = q->high_0, words_3 = q->words_1, high_3 = q->high_1;
    __asm__ volatile("beq %[w], %[end], 2f\n\t"
                     "1:\n\t" STROP_QUAD_STEP("0", "0") STROP_QUAD_STEP("16", "2")
                     "addi %[x], %[x], 32\n\t"
                     "addi %[w], %[w], 4\n\t"
                     "addi %[v], %[v], 4\n\t"
                     "bne %[w], %[end], 1b\n\t"
                     "2:\n\t"
                     "andi t0, %[n], 2\n\t"
                     "beqz t0, 3f\n\t" STROP_QUAD_STEP("0", "0")
                     "3:\n\t"
                     : [words_0] "+r"(words_0), [high_0] "+r"(high_0), [words_1] "+r"(words_1), [high_1] "+r"(high_1),
                       [words_2] "+r"(words_2), [high_2] "+r"(high_2), [words_3] "+r"(words_3), [high_3] "+r"(high_3),
                       [x] "+r"(x), [w] "+r"(w), [v] "+r"(v)
                     : [round] "r"(STROP_QUAD_ROUND), [end] "r"(last_4), [n] "r"(n)
                     : "memory", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a7");
    *p = (strop_quad_sums){words_0, high_0, words_1, high_1};
    *q = (strop_quad_sums){words_2, high_2, words_3, high_3};
}

STROP_KERNEL void strop_quad_store(const strop_quad_sums *sums, const strop_scaled_channel *p, int8_t *out,
                                   const strop_quad_block *block) {
    const int32_t low = block->low, high = block->high;
    out[0] = strop_finish(sums->words_0 - strop_shift_left(sums->high_0, 16), p, low, high);
    out[block->at[0]] = strop_finish(sums->high_0, p, low, high);
    out[block->at[1]] = strop_finish(sums->words_1 - strop_shift_left(sums->high_1, 16), p, low, high);
    out[block->at[2]] = strop_finish(sums->high_1, p, low, high);
}

/* All channels of four pixels. An odd last channel is computed twice. */
STROP_SHARED void strop_quad_channels(const int32_t *activations, const int8_t *weights, const strop_scaled_channel *channels,
                                      int8_t *out, const strop_quad_block *block) {
    const int32_t taps = block->taps;
    for (int32_t left = block->channels; left > 0; left -= 2, channels += 2, weights += 2 * taps, out += 2) {
        const int32_t next = left > 1 ? 1 : 0;
        strop_quad_sums sums_0 = strop_quad_begin(channels), sums_1 = strop_quad_begin(channels + next);
        strop_quad_sum(activations, weights, weights + next * taps, taps, &sums_0, &sums_1);
        strop_quad_store(&sums_0, channels, out, block);
        strop_quad_store(&sums_1, channels + next, out + next, block);
    }
}

#endif
