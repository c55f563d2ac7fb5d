/* Channels of four pixels (quad.h) on Armv7-M: MLA starts a pair of products with the rounding in its addend, and the halves
 * are parted by a shifted operand. Registers: 4 sums, 4 words of activations, weight, rounding, 2 pointers, count.
 * Cost: 11 instructions per pair of taps (8 multiply-accumulates) + 0.5 of loop, 16 per output. */
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

/* Two taps of four pixels. */
#define STROP_QUAD_STEP                            \
    "ldmia %[x]!, {r4, r5, r6, r8}\n\t"            \
    "ldrsb %[v], [%[w]], #1\n\t"                   \
    "mla r4, r4, %[v], %[round]\n\t"               \
    "mla r5, r5, %[v], %[round]\n\t"               \
    "ldrsb %[v], [%[w]], #1\n\t"                   \
    "mla r4, r6, %[v], r4\n\t"                     \
    "mla r5, r8, %[v], r5\n\t"                     \
    "add %[h0], %[h0], r4, asr #16\n\t"            \
    "add %[s0], %[s0], r4\n\t"                     \
    "add %[h1], %[h1], r5, asr #16\n\t"            \
    "add %[s1], %[s1], r5\n\t"

/* All channels of four pixels. */
STROP_SHARED void strop_quad_channels(const int32_t *activations, const int8_t *w, const strop_scaled_channel *channels,
                                      int8_t *out, const strop_quad_block *block) {
    for (const strop_scaled_channel *const end = channels + block->channels; channels != end; ++channels, ++out) {
        const int32_t *x = activations;
        int32_t s0 = channels->words, h0 = channels->bias, s1 = s0, h1 = h0, n = block->taps, v;
        __asm__ volatile("subs %[n], %[n], #8\n\t"
                         "blt 2f\n\t"
                         "1:\n\t" STROP_QUAD_STEP STROP_QUAD_STEP STROP_QUAD_STEP STROP_QUAD_STEP
                         "subs %[n], %[n], #8\n\t"
                         "bge 1b\n\t"
                         "2:\n\t"
                         "adds %[n], %[n], #8\n\t"
                         "beq 4f\n\t"
                         "3:\n\t" STROP_QUAD_STEP
                         "subs %[n], %[n], #2\n\t"
                         "bne 3b\n\t"
                         "4:\n\t"
                         : [s0] "+r"(s0), [h0] "+r"(h0), [s1] "+r"(s1), [h1] "+r"(h1), [x] "+r"(x), [w] "+r"(w),
                           [n] "+r"(n), [v] "=&r"(v)
                         : [round] "r"(STROP_QUAD_ROUND)
                         : "cc", "memory", "r4", "r5", "r6", "r8");
        out[0] = strop_finish(s0 - strop_shift_left(h0, 16), channels, block->low, block->high);
        out[block->at[0]] = strop_finish(h0, channels, block->low, block->high);
        out[block->at[1]] = strop_finish(s1 - strop_shift_left(h1, 16), channels, block->low, block->high);
        out[block->at[2]] = strop_finish(h1, channels, block->low, block->high);
    }
}

#endif
