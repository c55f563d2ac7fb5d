/* sums[i] += the dot product of n activations with rows[i]. Registers: 4 sums, 5 pointers, 2 ends, activation, weight.
 * Cost: 58 instructions per 16 multiply-accumulates. */
#ifndef STROP_DENSE_DOT_H
#define STROP_DENSE_DOT_H

#include "common.h"

#define STROP_DENSE_MAC(SUM, ROW, AT)           \
    "lb %[w], " AT "(%[" ROW "])\n\t"           \
    "mul %[w], %[w], %[v]\n\t"                  \
    "add %[" SUM "], %[" SUM "], %[w]\n\t"

/* One activation with four channels. */
#define STROP_DENSE_STEP(AT) "lb %[v], " AT "(%[x])\n\t" \
    STROP_DENSE_MAC("a", "p", AT) STROP_DENSE_MAC("b", "q", AT) STROP_DENSE_MAC("c", "r", AT) STROP_DENSE_MAC("d", "t", AT)

#define STROP_DENSE_NEXT(N)             \
    "addi %[x], %[x], " N "\n\t"        \
    "addi %[p], %[p], " N "\n\t"        \
    "addi %[q], %[q], " N "\n\t"        \
    "addi %[r], %[r], " N "\n\t"        \
    "addi %[t], %[t], " N "\n\t"

STROP_KERNEL void strop_dense_dot(const int8_t *x, const int8_t *const rows[4], int32_t n, int32_t sums[4]) {
    const int8_t *p = rows[0], *q = rows[1], *r = rows[2], *t = rows[3];
    const int8_t *const last_4 = x + n / 4 * 4, *const end = x + n;
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3], v, w;
    __asm__ volatile("beq %[x], %[last_4], 2f\n\t"
                     "1:\n\t" STROP_DENSE_STEP("0") STROP_DENSE_STEP("1") STROP_DENSE_STEP("2") STROP_DENSE_STEP("3")
                     STROP_DENSE_NEXT("4")
                     "bne %[x], %[last_4], 1b\n\t"
                     "2:\n\t"
                     "beq %[x], %[end], 4f\n\t"
                     "3:\n\t" STROP_DENSE_STEP("0") STROP_DENSE_NEXT("1")
                     "bne %[x], %[end], 3b\n\t"
                     "4:\n\t"
                     : [x] "+r"(x), [p] "+r"(p), [q] "+r"(q), [r] "+r"(r), [t] "+r"(t), [a] "+r"(a), [b] "+r"(b),
                       [c] "+r"(c), [d] "+r"(d), [v] "=&r"(v), [w] "=&r"(w)
                     : [last_4] "r"(last_4), [end] "r"(end)
                     : "memory");
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

#endif
