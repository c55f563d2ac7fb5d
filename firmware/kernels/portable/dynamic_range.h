/* Float32 as int16 counts of steps: a grid of 256 steps spans the range of the numbers, and 0.
 * Cost per element: about 30 instructions, without an FPU 270. */
#ifndef STROP_DYNAMIC_RANGE_H
#define STROP_DYNAMIC_RANGE_H

#include "quantize.h"

/* A number x counts round(x * inverse) steps, cut to low … low + 255. Of a range without end nothing counts, and step is infinite. */
typedef struct {
    float inverse, step;
    int32_t low;
} strop_grid;

STROP_KERNEL strop_grid strop_grid_of(const float *restrict in, int32_t n) {
    float low = 0.0F, high = 0.0F;
    for (int32_t i = 0; i < n; ++i) {
        const float x = in[i];
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    const float span = high - low;
    strop_grid grid = {0.0F, 0.0F, 0};
    if (span > 1e-30F) {
        grid.inverse = 255.0F / span;
        grid.step = span / 255.0F;
        grid.low = grid.inverse > 0.0F ? strop_round_f32(low * grid.inverse) : 0;
    }
    return grid;
}

STROP_KERNEL void strop_count_steps(const float *restrict in, int16_t *restrict out, int32_t n, const strop_grid *grid) {
    for (int32_t i = 0; i < n; ++i) {
        out[i] = (int16_t)strop_clamp(strop_round_f32(in[i] * grid->inverse), grid->low, grid->low + 255);
    }
}

#endif
