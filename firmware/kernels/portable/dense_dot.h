/* sums[i] += the dot product of n activations with rows[i]. Cost: 3.4 instructions per MAC. */
#ifndef STROP_DENSE_DOT_H
#define STROP_DENSE_DOT_H

#include "common.h"

STROP_KERNEL void strop_dense_dot(const int8_t *x, const int8_t *const rows[4], int32_t n, int32_t sums[4]) {
    const int8_t *p = rows[0], *q = rows[1], *r = rows[2], *t = rows[3];
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    const int8_t *const end = x + n, *const last_4 = x + n / 4 * 4;
    for (; x != last_4; x += 4, p += 4, q += 4, r += 4, t += 4) {
        a += x[0] * p[0] + x[1] * p[1] + x[2] * p[2] + x[3] * p[3];
        b += x[0] * q[0] + x[1] * q[1] + x[2] * q[2] + x[3] * q[3];
        c += x[0] * r[0] + x[1] * r[1] + x[2] * r[2] + x[3] * r[3];
        d += x[0] * t[0] + x[1] * t[1] + x[2] * t[2] + x[3] * t[3];
    }
    for (; x != end; ++x) {
        a += *x * *p++;
        b += *x * *q++;
        c += *x * *r++;
        d += *x * *t++;
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

#endif
