/* A sum as an output: requantized with double rounding and clamped. Cost: 13 instructions. */
#ifndef STROP_FINISH_H
#define STROP_FINISH_H

#include "scaled_channel.h"

/* The sum is added to the high half as the mantissa is less by 2^32, with bit 31 of the low half as carry: rounding. */
STROP_KERNEL int8_t strop_finish(int32_t sum, const strop_scaled_channel *p, int32_t low, int32_t high) {
    int32_t rest, scaled;
    __asm__("smull %[rest], %[scaled], %[sum], %[mantissa]\n\t"
            "lsls %[rest], %[rest], #1\n\t"
            "adc %[scaled], %[scaled], %[sum]\n\t"
            : [rest] "=&r"(rest), [scaled] "=&r"(scaled)
            : [sum] "r"(sum), [mantissa] "r"(p->mantissa)
            : "cc");
    const int32_t y = (scaled + (scaled >> 31) + p->addend) >> p->shift;
    return (int8_t)strop_clamp(y, low, high);
}

#endif
