/* What a block of output channels is computed from: pixels in a band, runs of taps, one block of the stream of conv_2d_simd.h. */
#ifndef STROP_DOT_H
#define STROP_DOT_H

#include "common.h"

/* pixels: the offset of each pixel's first tap in the band, `count` of them. runs: offsets of the runs, quads: taps / 4 of each.
 * channels: outputs to store, up to 16. pitch: bytes from a pixel's outputs to the next one's. */
typedef struct {
    const int8_t *band;
    const int32_t *pixels, *runs;
    const int8_t *block;
    int8_t *out;
    int32_t count, run_count, quads, channels, pitch, zero, low, high;
    bool away;
} strop_dot;

typedef void (*strop_dot_block)(const strop_dot *dot);

/* Before a loop over registers, which must be unrolled whole. */
#if defined(__clang__)
#define STROP_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define STROP_UNROLLED _Pragma("GCC unroll 16")
#endif

STROP_INLINE int32_t strop_word_at(const int8_t *from) {
    int32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return word;
}

#endif
