/* Channels of four pixels (quad.h) on Armv6-M: products overwrite the loaded activations; sums and the rounding are in high
 * registers, which ADD reaches; the weights' index counts up to 0 and ends the loop.
 * Cost: 20 instructions per pair of taps (8 multiply-accumulates), 35 per output. */
#ifndef STROP_QUAD_CHANNELS_H
#define STROP_QUAD_CHANNELS_H

#include "finish.h"
#include "quad.h"

/* Words of n activations of each pixel. */
STROP_SHARED int32_t *strop_quad_interleave(const int8_t *const runs[4], int32_t n, int32_t *to) {
    const int8_t *a = runs[0] + n, *b = runs[1] + n, *c = runs[2] + n, *d = runs[3] + n;
    int32_t word, high, i = -n;
    __asm__ volatile(".syntax unified\n\t" /* GCC passes the divided syntax to the assembler otherwise */
                     "1:\n\t"
                     "ldrsb %[word], [%[b], %[i]]\n\t"
                     "ldrsb %[high], [%[a], %[i]]\n\t"
                     "lsls %[word], %[word], #16\n\t"
                     "adds %[word], %[word], %[high]\n\t"
                     "stmia %[to]!, {%[word]}\n\t"
                     "ldrsb %[word], [%[d], %[i]]\n\t"
                     "ldrsb %[high], [%[c], %[i]]\n\t"
                     "lsls %[word], %[word], #16\n\t"
                     "adds %[word], %[word], %[high]\n\t"
                     "stmia %[to]!, {%[word]}\n\t"
                     "adds %[i], %[i], #1\n\t"
                     "bne 1b\n\t"
                     : [to] "+l"(to), [i] "+l"(i), [word] "=&l"(word), [high] "=&l"(high)
                     : [a] "l"(a), [b] "l"(b), [c] "l"(c), [d] "l"(d)
                     : "cc", "memory");
    return to;
}

/* Sums of one channel of four pixels. The last weight is at w_end[-1]. */
STROP_KERNEL void strop_quad_sums(const int32_t *activations, const int8_t *w_end, int32_t taps, const strop_scaled_channel *p,
                                  int32_t sums[4]) {
    register const int32_t *x __asm__("r0") = activations;
    register const int8_t *w __asm__("r1") = w_end;
    register int32_t i __asm__("r2") = -taps;
    register int32_t s0 __asm__("r8") = p->words;
    register int32_t h0 __asm__("r9") = p->bias;
    register int32_t s1 __asm__("r10") = p->words;
    register int32_t h1 __asm__("r11") = p->bias;
    register int32_t round __asm__("r12") = STROP_QUAD_ROUND;
    __asm__ volatile(".syntax unified\n\t" /* GCC passes the divided syntax to the assembler otherwise */
                     "1:\n\t"
                     "ldmia r0!, {r4, r5, r6, r7}\n\t"
                     "ldrsb r3, [r1, r2]\n\t"
                     "adds r2, r2, #1\n\t"
                     "muls r4, r3, r4\n\t"
                     "muls r5, r3, r5\n\t"
                     "ldrsb r3, [r1, r2]\n\t"
                     "muls r6, r3, r6\n\t"
                     "muls r7, r3, r7\n\t"
                     "adds r4, r4, r6\n\t"
                     "adds r5, r5, r7\n\t"
                     "add r4, r4, r12\n\t"
                     "add r5, r5, r12\n\t"
                     "add r8, r8, r4\n\t"
                     "add r10, r10, r5\n\t"
                     "asrs r4, r4, #16\n\t"
                     "asrs r5, r5, #16\n\t"
                     "add r9, r9, r4\n\t"
                     "add r11, r11, r5\n\t"
                     "adds r2, r2, #1\n\t"
                     "bne 1b\n\t"
                     : "+l"(x), "+l"(i), "+h"(s0), "+h"(h0), "+h"(s1), "+h"(h1)
                     : "l"(w), "h"(round)
                     : "cc", "memory", "r3", "r4", "r5", "r6", "r7");
    sums[0] = s0 - strop_shift_left(h0, 16);
    sums[1] = h0;
    sums[2] = s1 - strop_shift_left(h1, 16);
    sums[3] = h1;
}

/* All channels of four pixels. */
STROP_SHARED void strop_quad_channels(const int32_t *activations, const int8_t *w, const strop_scaled_channel *channels,
                                      int8_t *out, const strop_quad_block *block) {
    for (const strop_scaled_channel *const end = channels + block->channels; channels != end; ++channels, ++out) {
        int32_t sums[4];
        w += block->taps;
        strop_quad_sums(activations, w, block->taps, channels, sums);
        out[0] = strop_finish(sums[0], channels, block->low, block->high);
        out[block->at[0]] = strop_finish(sums[1], channels, block->low, block->high);
        out[block->at[1]] = strop_finish(sums[2], channels, block->low, block->high);
        out[block->at[2]] = strop_finish(sums[3], channels, block->low, block->high);
    }
}

#endif
