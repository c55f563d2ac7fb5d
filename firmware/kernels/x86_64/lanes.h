/* Sixteen elements at a time, as 32-bit lanes of two AVX2 registers: what elementwise kernels are written with. */
#ifndef STROP_LANES_H
#define STROP_LANES_H

#include "requantize_avx2.h"

/* low: elements 0 to 7. */
typedef struct {
    __m256i low, high;
} strop_lanes;

STROP_INLINE strop_lanes strop_lanes_load(const int8_t *from) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);
    const strop_lanes x = {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))};
    return x;
}

/* (x + offset) << bits. */
STROP_INLINE strop_lanes strop_lanes_raise(strop_lanes x, int32_t offset, int32_t bits) {
    const __m256i add = _mm256_set1_epi32(offset);
    const strop_lanes y = {_mm256_slli_epi32(_mm256_add_epi32(x.low, add), bits), _mm256_slli_epi32(_mm256_add_epi32(x.high, add), bits)};
    return y;
}

STROP_INLINE strop_lanes strop_lanes_add(strop_lanes x, strop_lanes y) {
    const strop_lanes z = {_mm256_add_epi32(x.low, y.low), _mm256_add_epi32(x.high, y.high)};
    return z;
}

STROP_INLINE strop_lanes strop_lanes_sub(strop_lanes x, strop_lanes y) {
    const strop_lanes z = {_mm256_sub_epi32(x.low, y.low), _mm256_sub_epi32(x.high, y.high)};
    return z;
}

STROP_INLINE strop_lanes strop_lanes_mul(strop_lanes x, strop_lanes y) {
    const strop_lanes z = {_mm256_mullo_epi32(x.low, y.low), _mm256_mullo_epi32(x.high, y.high)};
    return z;
}

/* x * mantissa / 2^(31 + right), rounded twice. */
STROP_INLINE __m256i strop_eight_scale(__m256i x, int32_t mantissa, int32_t right) {
    const __m256i factor = _mm256_set1_epi32(mantissa);
    const __m256i y = strop_high_mul_avx2(x, factor, factor);
    if (right == 0) {
        return y;
    }
    const __m256i half = _mm256_set1_epi32(1 << (right - 1));
    return _mm256_srai_epi32(_mm256_add_epi32(_mm256_add_epi32(y, half), _mm256_srai_epi32(y, 31)), right);
}

/* The same of all; |x| < 2^30, 0 <= right <= 30. */
STROP_INLINE strop_lanes strop_lanes_scale(strop_lanes x, int32_t mantissa, int32_t right) {
    const strop_lanes y = {strop_eight_scale(x.low, mantissa, right), strop_eight_scale(x.high, mantissa, right)};
    return y;
}

/* Values with the zero point added, clamped. */
STROP_INLINE void strop_lanes_store(int8_t *out, strop_lanes x, int32_t zero, int32_t low, int32_t high) {
    const __m256i words = _mm256_adds_epi16(_mm256_packs_epi32(x.low, x.high), _mm256_set1_epi16((int16_t)zero));
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xD8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    const __m128i clamped = _mm_min_epi8(_mm_max_epi8(bytes, _mm_set1_epi8((char)low)), _mm_set1_epi8((char)high));
    _mm_storeu_si128((__m128i *)(void *)out, clamped);
}

#endif
