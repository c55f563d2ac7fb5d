/* Passes of a depthwise convolution over a row: sums[i] += three taps of the row at i * stride. n: a multiple of 4.
 * Each activation goes to the outputs it belongs to: one is finished, the others wait in registers. Weights are in high
 * registers; the row's index counts up to 0 and ends the loop.
 * Cost: 14 instructions per 3 multiply-accumulates at stride 1, 16 at stride 2. */
#ifndef STROP_DEPTHWISE_TAPS_H
#define STROP_DEPTHWISE_TAPS_H

#include "common.h"

/* Three neighbouring taps at stride 1. next: what the coming output has got of its first two taps; after: of its first. */
STROP_SHARED void strop_depthwise_taps_3(const int8_t *row, const int8_t *w, int32_t *sums, int32_t n) {
    const int32_t w0 = w[0], w1 = w[1], w2 = w[2];
    int32_t next = row[0] * w0 + row[1] * w1, after = row[1] * w0, i = -n, x, sum, old;
    __asm__ volatile(".syntax unified\n\t" /* GCC passes the divided syntax to the assembler otherwise */
                     "1:\n\t"
                     "ldrsb %[x], [%[row], %[i]]\n\t"
                     "mov %[sum], %[w2]\n\t"
                     "muls %[sum], %[x], %[sum]\n\t"
                     "adds %[sum], %[sum], %[next]\n\t"
                     "ldr %[old], [%[sums]]\n\t"
                     "adds %[sum], %[sum], %[old]\n\t"
                     "stmia %[sums]!, {%[sum]}\n\t"
                     "mov %[next], %[w1]\n\t"
                     "muls %[next], %[x], %[next]\n\t"
                     "adds %[next], %[next], %[after]\n\t"
                     "mov %[after], %[w0]\n\t"
                     "muls %[after], %[x], %[after]\n\t"
                     "adds %[i], %[i], #1\n\t"
                     "bne 1b\n\t"
                     : [sums] "+l"(sums), [i] "+l"(i), [next] "+l"(next), [after] "+l"(after), [x] "=&l"(x),
                       [sum] "=&l"(sum), [old] "=&l"(old)
                     : [row] "l"(row + n + 2), [w0] "h"(w0), [w1] "h"(w1), [w2] "h"(w2)
                     : "cc", "memory");
}

/* Three neighbouring taps at stride 2. next: what the coming output has got of its first tap. */
STROP_SHARED void strop_depthwise_taps_3_by_2(const int8_t *row, const int8_t *w, int32_t *sums, int32_t n) {
    const int32_t w0 = w[0], w1 = w[1], w2 = w[2];
    int32_t next = row[0] * w0, i = -2 * n, x, sum;
    __asm__ volatile(".syntax unified\n\t"
                     "1:\n\t"
                     "ldr %[sum], [%[sums]]\n\t"
                     "adds %[sum], %[sum], %[next]\n\t"
                     "ldrsb %[x], [%[row], %[i]]\n\t"
                     "adds %[i], %[i], #1\n\t"
                     "mov %[next], %[w1]\n\t"
                     "muls %[next], %[x], %[next]\n\t"
                     "adds %[sum], %[sum], %[next]\n\t"
                     "ldrsb %[x], [%[row], %[i]]\n\t"
                     "mov %[next], %[w2]\n\t"
                     "muls %[next], %[x], %[next]\n\t"
                     "adds %[sum], %[sum], %[next]\n\t"
                     "stmia %[sums]!, {%[sum]}\n\t"
                     "mov %[next], %[w0]\n\t"
                     "muls %[next], %[x], %[next]\n\t"
                     "adds %[i], %[i], #1\n\t"
                     "bne 1b\n\t"
                     : [sums] "+l"(sums), [i] "+l"(i), [next] "+l"(next), [x] "=&l"(x), [sum] "=&l"(sum)
                     : [row] "l"(row + 2 * n + 1), [w0] "h"(w0), [w1] "h"(w1), [w2] "h"(w2)
                     : "cc", "memory");
}

#endif
