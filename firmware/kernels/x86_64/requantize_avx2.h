/* Requantization of sixteen sums with AVX2, rounded twice. */
#ifndef STROP_REQUANTIZE_AVX2_H
#define STROP_REQUANTIZE_AVX2_H

#include <immintrin.h>

#include "common.h"

STROP_INLINE __m256i strop_load_avx2(const int8_t *from) { return _mm256_loadu_si256((const __m256i *)(const void *)from); }

/* Eight channels: addend holds one half and the zero point before the shift. odd: mantissas of odd channels. */
typedef struct {
    __m256i mantissa, odd, addend, shift, counts;
} strop_scale_avx2;

STROP_INLINE strop_scale_avx2 strop_scale_of_avx2(__m256i mantissa, __m256i shift, int32_t zero) {
    strop_scale_avx2 p;
    p.mantissa = mantissa;
    p.shift = shift;
    p.odd = _mm256_srli_epi64(mantissa, 32);
    p.counts = _mm256_sub_epi32(_mm256_setzero_si256(), shift);
    p.addend = _mm256_add_epi32(_mm256_srli_epi32(_mm256_sllv_epi32(_mm256_set1_epi32(1), shift), 1),
                                _mm256_sllv_epi32(_mm256_set1_epi32(zero), shift));
    return p;
}

/* x * mantissa / 2^31, halves up. */
STROP_INLINE __m256i strop_high_mul_avx2(__m256i x, __m256i mantissa, __m256i odd_mantissa) {
    const __m256i half = _mm256_set1_epi64x(1 << 30);
    const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(x, mantissa), half);
    const __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(x, 32), odd_mantissa), half);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 31), _mm256_slli_epi64(odd, 1), 0xAA);
}

/* Sums as outputs in 32 bits, not clamped. away: halves of negative values are rounded away from zero. */
STROP_INLINE __m256i strop_requantize_avx2(__m256i sums, const strop_scale_avx2 *p, bool away) {
    __m256i y = strop_high_mul_avx2(sums, p->mantissa, p->odd);
    if (away) {
        y = _mm256_add_epi32(y, _mm256_srai_epi32(_mm256_and_si256(y, p->counts), 31));
    }
    return _mm256_srav_epi32(_mm256_add_epi32(y, p->addend), p->shift);
}

/* The first `count` of sixteen bytes. */
STROP_INLINE void strop_store_bytes(int8_t *out, __m128i y, int32_t count) {
    if (count == 16) {
        _mm_storeu_si128((__m128i *)(void *)out, y);
    } else if (count == 8) {
        _mm_storel_epi64((__m128i *)(void *)out, y);
    } else {
        int8_t bytes[16];
        _mm_storeu_si128((__m128i *)(void *)bytes, y);
        memcpy(out, bytes, (size_t)count);
    }
}

/* The first `count` of thirty-two bytes. */
STROP_INLINE void strop_store_avx2(int8_t *out, __m256i y, int32_t count) {
    if (count == 32) {
        _mm256_storeu_si256((__m256i *)(void *)out, y);
    } else if (count <= 16) {
        strop_store_bytes(out, _mm256_castsi256_si128(y), count);
    } else {
        strop_store_bytes(out, _mm256_castsi256_si128(y), 16);
        strop_store_bytes(out + 16, _mm256_extracti128_si256(y, 1), count - 16);
    }
}

#endif
