/* Passes of a depthwise convolution over a row: sums[i] += three taps of the row at i * stride. n: a multiple of 4.
 * Registers: 4 sums, 3 weights, 3 activations, 2 pointers, count.
 * Cost: 22 instructions for 12 multiply-accumulates at stride 1, 25 at stride 2. */
#ifndef STROP_DEPTHWISE_TAPS_H
#define STROP_DEPTHWISE_TAPS_H

#include "common.h"

/* Sum += three taps. */
#define STROP_THREE_TAPS(SUM, A, B, C)             \
    "mla " SUM ", %[" A "], %[w0], " SUM "\n\t"    \
    "mla " SUM ", %[" B "], %[w1], " SUM "\n\t"    \
    "mla " SUM ", %[" C "], %[w2], " SUM "\n\t"

#define STROP_NEXT(X) "ldrsb %[" X "], [%[row]], #1\n\t"

/* Three neighbouring taps at stride 1: two activations are kept from four outputs to the next. */
STROP_SHARED void strop_depthwise_taps_3(const int8_t *row, const int8_t *w, int32_t *sums, int32_t n) {
    int32_t a = *row++, b = *row++, c;
    __asm__ volatile("1:\n\t"
                     "ldmia %[sums], {r4, r5, r6, r8}\n\t"
                     STROP_NEXT("c") STROP_THREE_TAPS("r4", "a", "b", "c")
                     STROP_NEXT("a") STROP_THREE_TAPS("r5", "b", "c", "a")
                     STROP_NEXT("b") STROP_THREE_TAPS("r6", "c", "a", "b")
                     STROP_NEXT("c") STROP_THREE_TAPS("r8", "a", "b", "c")
                     "mov %[a], %[b]\n\t"
                     "mov %[b], %[c]\n\t"
                     "stmia %[sums]!, {r4, r5, r6, r8}\n\t"
                     "subs %[n], %[n], #4\n\t"
                     "bne 1b\n\t"
                     : [row] "+r"(row), [sums] "+r"(sums), [n] "+r"(n), [a] "+r"(a), [b] "+r"(b), [c] "=&r"(c)
                     : [w0] "r"((int32_t)w[0]), [w1] "r"((int32_t)w[1]), [w2] "r"((int32_t)w[2])
                     : "cc", "memory", "r4", "r5", "r6", "r8");
}

/* Three neighbouring taps at stride 2: one activation is kept. */
STROP_SHARED void strop_depthwise_taps_3_by_2(const int8_t *row, const int8_t *w, int32_t *sums, int32_t n) {
    int32_t a = *row++, b, c;
    __asm__ volatile("1:\n\t"
                     "ldmia %[sums], {r4, r5, r6, r8}\n\t"
                     STROP_NEXT("b") STROP_NEXT("c") STROP_THREE_TAPS("r4", "a", "b", "c")
                     STROP_NEXT("a") STROP_NEXT("b") STROP_THREE_TAPS("r5", "c", "a", "b")
                     STROP_NEXT("c") STROP_NEXT("a") STROP_THREE_TAPS("r6", "b", "c", "a")
                     STROP_NEXT("b") STROP_NEXT("c") STROP_THREE_TAPS("r8", "a", "b", "c")
                     "mov %[a], %[c]\n\t"
                     "stmia %[sums]!, {r4, r5, r6, r8}\n\t"
                     "subs %[n], %[n], #4\n\t"
                     "bne 1b\n\t"
                     : [row] "+r"(row), [sums] "+r"(sums), [n] "+r"(n), [a] "+r"(a), [b] "=&r"(b), [c] "=&r"(c)
                     : [w0] "r"((int32_t)w[0]), [w1] "r"((int32_t)w[1]), [w2] "r"((int32_t)w[2])
                     : "cc", "memory", "r4", "r5", "r6", "r8");
}

#endif
