/* A sum as an output: requantized with double rounding and clamped. Cost: 13 instructions with a high multiplication. */
#ifndef STROP_FINISH_H
#define STROP_FINISH_H

#include "scaled_channel.h"

STROP_KERNEL int8_t strop_finish(int32_t sum, const strop_scaled_channel *p, int32_t low, int32_t high) {
    const int64_t product = (int64_t)sum * p->mantissa;
    const int32_t scaled = (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31) + sum;
    const int32_t y = (scaled + (scaled >> 31) + p->addend) >> p->shift;
    return (int8_t)strop_clamp(y, low, high);
}

#endif
