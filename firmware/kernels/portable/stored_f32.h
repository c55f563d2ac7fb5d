/* Weights as they are stored, and their real numbers: float32, float16, int8, int4.
 * Layout: four weights side by side, or single ones in a row. int4: two to a byte, the first in the low nibble.
 * Cost with an FPU, of four weights: 4 loads as float32; 2 loads and 4 VCVT as float16 where the core has them (about 7 each by
 * shifts where not); 4 loads, 4 moves and 4 VCVT as int8; 2 loads, 4 shifts, 4 moves and 4 VCVT as int4. */
#ifndef STROP_STORED_F32_H
#define STROP_STORED_F32_H

#include "common.h"

typedef enum { STROP_STORED_F32, STROP_STORED_F16, STROP_STORED_S8, STROP_STORED_S4 } strop_storage;

/* Four numbers, of as many output channels. */
typedef struct {
    float a, b, c, d;
} strop_four;

/* Bytes of so many elements; of an odd number of int4 the last half byte is left empty. */
STROP_KERNEL int32_t strop_stored_bytes(strop_storage storage, int32_t elements) {
    switch (storage) {
    case STROP_STORED_F32:
        return 4 * elements;
    case STROP_STORED_F16:
        return 2 * elements;
    case STROP_STORED_S8:
        return elements;
    default:
        return (elements + 1) / 2;
    }
}

/* Two finite float16 to float32, exactly; the first in the low half of the word. */
typedef struct {
    float first, second;
} strop_pair;

#if defined(__ARM_FP) && (__ARM_FP & 4) && __ARM_ARCH_PROFILE == 'M'
/* Every single-precision FPU of Cortex-M converts halves; a compiler says so only when it is told to have the type. */
STROP_KERNEL strop_pair strop_halves(const void *restrict at) {
    float word;
    strop_pair found;
    __builtin_memcpy(&word, at, sizeof word);
    __asm__("vcvtb.f32.f16 %0, %1" : "=t"(found.first) : "t"(word));
    __asm__("vcvtt.f32.f16 %0, %1" : "=t"(found.second) : "t"(word));
    return found;
}

STROP_KERNEL float strop_half(uint16_t bits) {
    const uint32_t word = bits;
    float number, found;
    __builtin_memcpy(&number, &word, sizeof number);
    __asm__("vcvtb.f32.f16 %0, %1" : "=t"(found) : "t"(number));
    return found;
}
#else
STROP_KERNEL float strop_half(uint16_t bits) {
    const uint32_t sign = (uint32_t)(bits & 0x8000U) << 16;
    const uint32_t rest = (uint32_t)(bits & 0x7FFFU) << 13;
    const bool normal = rest >= 1U << 23;
    const uint32_t word = sign | (normal ? rest + (112U << 23) : rest);
    float found;
    __builtin_memcpy(&found, &word, sizeof found);
    if (normal) {
        return found;
    }
    /* Subnormal: an integer of 10 bits in steps of 2^-24. */
    found = (float)(rest >> 13) * 0x1p-24F;
    return sign ? -found : found;
}

STROP_KERNEL strop_pair strop_halves(const void *restrict at) {
    const uint16_t *const bits = at;
    const strop_pair found = {strop_half(bits[0]), strop_half(bits[1])};
    return found;
}
#endif

/* The signed nibbles of a byte. */
STROP_KERNEL float strop_low_nibble(int8_t byte) { return (float)((int32_t)((uint32_t)byte << 28) >> 28); }

STROP_KERNEL float strop_high_nibble(int8_t byte) { return (float)(byte >> 4); }

/* Four stored weights side by side, the first at the start of a byte. */
STROP_KERNEL strop_four strop_load_4(const void *restrict at, strop_storage storage) {
    strop_four found;
    if (storage == STROP_STORED_F32) {
        const float *const w = at;
        found = (strop_four){w[0], w[1], w[2], w[3]};
    } else if (storage == STROP_STORED_F16) {
        const strop_pair low = strop_halves(at), high = strop_halves((const uint16_t *)at + 2);
        found = (strop_four){low.first, low.second, high.first, high.second};
    } else if (storage == STROP_STORED_S8) {
        const int8_t *const w = at;
        found = (strop_four){(float)w[0], (float)w[1], (float)w[2], (float)w[3]};
    } else {
        const int8_t *const w = at;
        found = (strop_four){strop_low_nibble(w[0]), strop_high_nibble(w[0]), strop_low_nibble(w[1]), strop_high_nibble(w[1])};
    }
    return found;
}

/* The stored weight at an index from the start of a row. */
STROP_KERNEL float strop_load_1(const void *restrict row, int32_t index, strop_storage storage) {
    switch (storage) {
    case STROP_STORED_F32:
        return ((const float *)row)[index];
    case STROP_STORED_F16:
        return strop_half(((const uint16_t *)row)[index]);
    case STROP_STORED_S8:
        return (float)((const int8_t *)row)[index];
    default: {
        const int8_t byte = ((const int8_t *)row)[index / 2];
        return index % 2 ? strop_high_nibble(byte) : strop_low_nibble(byte);
    }
    }
}

#endif
