/* A sum as an output: requantized with double rounding and clamped, without a long multiplication.
 * Cost: 32 instructions. */
#ifndef STROP_FINISH_H
#define STROP_FINISH_H

#include "scaled_channel.h"

/* (sum * m + 2^30) >> 31 from 16-bit pieces; |sum| < 2^29 bounds the middle one. */
STROP_KERNEL int32_t strop_scale_sum(int32_t sum, int32_t m_low, int32_t m_high) {
    const int32_t low = (int16_t)sum;
    const int32_t high = (sum - low) >> 16;
    const int32_t middle = low * m_high + high * m_low + ((low * m_low) >> 16) + (1 << 14);
    return 2 * high * m_high + (middle >> 15);
}

STROP_KERNEL int8_t strop_finish(int32_t sum, const strop_scaled_channel *p, int32_t low, int32_t high) {
    const uint32_t m = (uint32_t)p->mantissa >> 1;
    const int32_t scaled = strop_scale_sum(sum, (int32_t)(m & 0xFFFF), (int32_t)(m >> 16));
    const int32_t over_low = ((scaled + (scaled >> 31) + p->addend) >> p->shift) - low;
    const int32_t below_high = (over_low & ~(over_low >> 31)) - (high - low);
    return (int8_t)((below_high & (below_high >> 31)) + high);
}

#endif
