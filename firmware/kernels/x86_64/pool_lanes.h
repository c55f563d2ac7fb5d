/* Sums and maxima of a window, sixteen channels at a time, with AVX2. */
#ifndef STROP_POOL_LANES_H
#define STROP_POOL_LANES_H

#include <immintrin.h>

#include "pool_2d.h"

STROP_INLINE __m128i strop_pool_bytes(const int8_t *from) { return _mm_loadu_si128((const __m128i *)(const void *)from); }

/* Of at most 255 elements a channel. */
STROP_INLINE void strop_pool_sums_simd(const strop_pool_block *block, int32_t channel, int16_t sums[16]) {
    const int8_t *p = block->in + channel;
    __m256i total = _mm256_setzero_si256();
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            total = _mm256_add_epi16(total, _mm256_cvtepi8_epi16(strop_pool_bytes(p)));
        }
    }
    _mm256_storeu_si256((__m256i *)(void *)sums, total);
}

/* Clamped. */
STROP_INLINE void strop_pool_tops_simd(const strop_pool_block *block, int32_t channel, int8_t *out, int32_t low, int32_t high) {
    const int8_t *p = block->in + channel;
    __m128i tops = _mm_set1_epi8((char)low);
    for (int32_t row = block->rows; row > 0; --row, p += block->row_step) {
        for (int32_t n = block->columns; n > 0; --n, p += block->step) {
            tops = _mm_max_epi8(tops, strop_pool_bytes(p));
        }
    }
    _mm_storeu_si128((__m128i *)(void *)out, _mm_min_epi8(tops, _mm_set1_epi8((char)high)));
}

#endif
