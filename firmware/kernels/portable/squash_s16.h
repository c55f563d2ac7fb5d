/* Sigmoid and tanh of int16, outputs in Q0.15, by a table of sigmoid(i / 24) in Q0.16 with linear interpolation.
 * Cost: about 21 instructions per element. No scratch; may run in place. */
#ifndef STROP_SQUASH_S16_H
#define STROP_SQUASH_S16_H

#include "common.h"

/* multiplier, shift: bring an input to the table's address with 9 (sigmoid) or 8 (tanh) fraction bits. */
typedef struct {
    int32_t elements, multiplier, shift;
} strop_squash_s16_shape;

STROP_KERNEL int32_t strop_squash_address(int32_t x, const strop_squash_s16_shape *s) {
    const int32_t half = s->shift > 0 ? 1 << (s->shift - 1) : 0;
    return (x * s->multiplier + half) >> s->shift;
}

/* The table at address / 2^bits, with `bits` more fraction bits than the table; `end` from its last entry on. */
STROP_KERNEL int32_t strop_squash_table(const uint16_t *restrict table, int32_t address, int32_t bits, int32_t end) {
    const int32_t index = address >> bits;
    if (index >= 255) {
        return end;
    }
    return (table[index] << bits) + (address & ((1 << bits) - 1)) * (table[index + 1] - table[index]);
}

STROP_KERNEL void strop_sigmoid_s16(const int16_t *in, const uint16_t *restrict table, int16_t *out,
                                    const strop_squash_s16_shape *s) {
    for (int32_t i = 0; i < s->elements; ++i) {
        const int32_t at = strop_squash_address(in[i], s);
        const int32_t y = strop_squash_table(table, at < 0 ? -at : at, 9, 0x7FFF << 10) + (1 << 9);
        out[i] = (int16_t)((at >= 0 ? y : (1 << 25) + (1 << 10) - 1 - y) >> 10);
    }
}

STROP_KERNEL void strop_tanh_s16(const int16_t *in, const uint16_t *restrict table, int16_t *out,
                                 const strop_squash_s16_shape *s) {
    for (int32_t i = 0; i < s->elements; ++i) {
        const int32_t at = strop_squash_address(in[i], s);
        const int32_t y = strop_squash_table(table, at < 0 ? -at : at, 8, 0xFFFF << 8) - (1 << 23);
        out[i] = (int16_t)((at >= 0 ? y + (1 << 7) : (1 << 7) - 1 - y) >> 8);
    }
}

#endif
