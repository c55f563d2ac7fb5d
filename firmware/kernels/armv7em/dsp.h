/* Instructions of the Armv7E-M DSP extension that C cannot spell. They are volatile so that the compiler keeps the order
 * they are written in: its scheduler would hoist loads and spill the accumulators. */
#ifndef STROP_DSP_H
#define STROP_DSP_H

#include "common.h"

/* Bytes 0 and 2, sign extended, plus the lanes of offset. */
STROP_KERNEL int32_t strop_widen_even(int32_t offset, int32_t bytes) {
    int32_t lanes;
    __asm__("sxtab16 %0, %1, %2" : "=r"(lanes) : "r"(offset), "r"(bytes));
    return lanes;
}

/* Bytes 1 and 3, sign extended, plus the lanes of offset. */
STROP_KERNEL int32_t strop_widen_odd(int32_t offset, int32_t bytes) {
    int32_t lanes;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(lanes) : "r"(offset), "r"(bytes));
    return lanes;
}

/* acc + (a * b + 2^31 >> 32). */
STROP_KERNEL int32_t strop_smmlar(int32_t a, int32_t b, int32_t acc) {
    int32_t sum;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}

/* x shifted right and saturated to int8. */
STROP_KERNEL int32_t strop_saturate_s8(int32_t x) {
    int32_t y;
    __asm__("ssat %0, #8, %1" : "=r"(y) : "r"(x));
    return y;
}

/* Four bytes from any address. */
STROP_KERNEL int32_t strop_load_bytes(const int8_t *from) {
    int32_t bytes;
    __asm__("ldr %0, %1" : "=r"(bytes) : "m"(*(const uint32_t *)(const void *)from));
    return bytes;
}

#endif
