/* sums[i] += the dot product of n activations with rows[i]. Registers: 4 sums, 5 pointers, activation, weight, count.
 * Cost: 38 instructions per 16 multiply-accumulates. */
#ifndef STROP_DENSE_DOT_H
#define STROP_DENSE_DOT_H

#include "common.h"

#define STROP_DENSE_MLA(SUM, ROW)          \
    "ldrsb %[w], [%[" ROW "]], #1\n\t"     \
    "mla %[" SUM "], %[w], %[v], %[" SUM "]\n\t"

/* One activation with four channels. */
#define STROP_DENSE_STEP "ldrsb %[v], [%[x]], #1\n\t" \
    STROP_DENSE_MLA("a", "p") STROP_DENSE_MLA("b", "q") STROP_DENSE_MLA("c", "r") STROP_DENSE_MLA("d", "t")

STROP_KERNEL void strop_dense_dot(const int8_t *x, const int8_t *const rows[4], int32_t n, int32_t sums[4]) {
    const int8_t *p = rows[0], *q = rows[1], *r = rows[2], *t = rows[3];
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3], v, w;
    __asm__ volatile("subs %[n], %[n], #4\n\t"
                     "blt 2f\n\t"
                     "1:\n\t" STROP_DENSE_STEP STROP_DENSE_STEP STROP_DENSE_STEP STROP_DENSE_STEP
                     "subs %[n], %[n], #4\n\t"
                     "bge 1b\n\t"
                     "2:\n\t"
                     "adds %[n], %[n], #4\n\t"
                     "beq 4f\n\t"
                     "3:\n\t" STROP_DENSE_STEP
                     "subs %[n], %[n], #1\n\t"
                     "bne 3b\n\t"
                     "4:\n\t"
                     : [x] "+r"(x), [p] "+r"(p), [q] "+r"(q), [r] "+r"(r), [t] "+r"(t), [a] "+r"(a), [b] "+r"(b),
                       [c] "+r"(c), [d] "+r"(d), [n] "+r"(n), [v] "=&r"(v), [w] "=&r"(w)
                     :
                     : "cc", "memory");
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

#endif
