/* Dot products of contiguous float32. Cost: about 3.3 instructions per MAC in fours, 5 alone, with an FPU. */
#ifndef STROP_DOT_F32_H
#define STROP_DOT_F32_H

#include "common.h"

/* acc[i] += sum of in[k] * weights[i * step + k] over n contiguous activations. */
STROP_KERNEL void strop_dot_4_f32(const float *restrict in, const float *restrict weights, int32_t n, int32_t step,
                                  float acc[4]) {
    const float *const w1 = weights + step, *const w2 = w1 + step, *const w3 = w2 + step;
    float a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    for (int32_t k = 0; k < n; ++k) {
        const float x = in[k];
        a += x * weights[k];
        b += x * w1[k];
        c += x * w2[k];
        d += x * w3[k];
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

/* sum + the sum of in[k] * weights[k]. */
STROP_KERNEL float strop_dot_f32(const float *restrict in, const float *restrict weights, int32_t n, float sum) {
    for (int32_t k = 0; k < n; ++k) {
        sum += in[k] * weights[k];
    }
    return sum;
}

#endif
