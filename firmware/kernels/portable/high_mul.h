/* The high half of a doubled product, rounded. */
#ifndef STROP_HIGH_MUL_H
#define STROP_HIGH_MUL_H

#include "common.h"

/* (2ab + 2^31) >> 32; halves away from zero and the floor agree here. b > INT32_MIN. */
STROP_KERNEL int32_t strop_doubling_high_mul(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

#endif
