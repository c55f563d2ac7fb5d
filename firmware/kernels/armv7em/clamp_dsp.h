/* Bounds of an activation that are tighter than int8, on outputs that lie one after the other, eight at a time.
 * Cost: 1.9 instructions per output. No scratch. */
#ifndef STROP_CLAMP_DSP_H
#define STROP_CLAMP_DSP_H

#include "dsp.h"

/* Four outputs; the bounds in every byte. */
STROP_KERNEL void strop_clamp_four(int8_t *out, int32_t lows, int32_t highs) {
    int32_t y = strop_load_bytes(out), unused;
    __asm__ volatile("ssub8 %[unused], %[y], %[low]\n\t"
                     "sel %[y], %[y], %[low]\n\t"
                     "ssub8 %[unused], %[high], %[y]\n\t"
                     "sel %[y], %[y], %[high]\n\t"
                     "str %[y], [%[out]]"
                     : [y] "+r"(y), [unused] "=&r"(unused)
                     : [low] "r"(lows), [high] "r"(highs), [out] "r"(out)
                     : "memory");
}

/* n outputs to low … high. */
STROP_SHARED void strop_clamp_bytes(int8_t *out, int32_t n, int32_t low, int32_t high) {
    const int32_t lows = (int32_t)((uint32_t)(uint8_t)low * 0x01010101U);
    const int32_t highs = (int32_t)((uint32_t)(uint8_t)high * 0x01010101U);
    int8_t *const end_8 = out + n / 8 * 8;
    for (; out != end_8; out += 8) {
        strop_clamp_four(out, lows, highs);
        strop_clamp_four(out + 4, lows, highs);
    }
    if (n % 8 >= 4) {
        strop_clamp_four(out, lows, highs);
        out += 4;
    }
    for (int32_t i = 0; i < n % 4; ++i) {
        out[i] = (int8_t)strop_clamp(out[i], low, high);
    }
}

/* The same for outputs that were saturated to int8, if they need it. */
STROP_KERNEL void strop_clamp_outputs(int8_t *out, int32_t n, int32_t low, int32_t high) {
    if (low > INT8_MIN || high < INT8_MAX) {
        strop_clamp_bytes(out, n, low, high);
    }
}

/* Int16 outputs, which are rarely bounded. */
STROP_KERNEL void strop_clamp_outputs_s16(int16_t *out, int32_t n, int32_t low, int32_t high) {
    if (low > INT16_MIN || high < INT16_MAX) {
        for (const int16_t *const end = out + n; out != end; ++out) {
            *out = (int16_t)strop_clamp(*out, low, high);
        }
    }
}

#endif
