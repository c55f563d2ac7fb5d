/* The high half of a doubled product, rounded, from 16-bit pieces: Armv6-M has no long multiplication.
 * Cost: 25 to 30 instructions. */
#ifndef STROP_HIGH_MUL_H
#define STROP_HIGH_MUL_H

#include "common.h"

/* (2ab + 2^31) >> 32; halves away from zero and the floor agree here. b > INT32_MIN. */
STROP_KERNEL int32_t strop_doubling_high_mul(int32_t a, int32_t b) {
    const uint32_t a_low = (uint16_t)a, b_low = (uint16_t)b;
    const int32_t a_high = a >> 16, b_high = b >> 16;
    const int32_t left = a_high * (int32_t)b_low, right = b_high * (int32_t)a_low;
    /* The middle products fill 32 bits each, so their sum is taken of the upper 17 and the lower 15 bits. */
    const int32_t lower = (left & 0x7FFF) + (right & 0x7FFF) + (int32_t)(a_low * b_low >> 16) + (1 << 14);
    const int32_t middle = (left >> 15) + (right >> 15) + (lower >> 15);
    return (int32_t)(2U * (uint32_t)(a_high * b_high) + (uint32_t)middle);
}

#endif
