/* sums[i] += the dot product of n activations with rows[i]: all five rows at one index, which counts up to 0 and ends the
 * loop; sums in high registers. Cost: 15 instructions per 4 multiply-accumulates. */
#ifndef STROP_DENSE_DOT_H
#define STROP_DENSE_DOT_H

#include "common.h"

STROP_KERNEL void strop_dense_dot(const int8_t *x, const int8_t *const rows[4], int32_t n, int32_t sums[4]) {
    const int8_t *const from = x + n, *const p = rows[0] + n, *const q = rows[1] + n, *const r = rows[2] + n;
    const int8_t *const t = rows[3] + n;
    int32_t i = -n, v, w, a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    __asm__ volatile(".syntax unified\n\t" /* GCC passes the divided syntax to the assembler otherwise */
                     "1:\n\t"
                     "ldrsb %[v], [%[x], %[i]]\n\t"
                     "ldrsb %[w], [%[p], %[i]]\n\t"
                     "muls %[w], %[v], %[w]\n\t"
                     "add %[a], %[a], %[w]\n\t"
                     "ldrsb %[w], [%[q], %[i]]\n\t"
                     "muls %[w], %[v], %[w]\n\t"
                     "add %[b], %[b], %[w]\n\t"
                     "ldrsb %[w], [%[r], %[i]]\n\t"
                     "muls %[w], %[v], %[w]\n\t"
                     "add %[c], %[c], %[w]\n\t"
                     "ldrsb %[w], [%[t], %[i]]\n\t"
                     "muls %[v], %[w], %[v]\n\t"
                     "add %[d], %[d], %[v]\n\t"
                     "adds %[i], %[i], #1\n\t"
                     "bne 1b\n\t"
                     : [a] "+h"(a), [b] "+h"(b), [c] "+h"(c), [d] "+h"(d), [i] "+l"(i), [v] "=&l"(v), [w] "=&l"(w)
                     : [x] "l"(from), [p] "l"(p), [q] "l"(q), [r] "l"(r), [t] "l"(t)
                     : "cc", "memory");
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

#endif
