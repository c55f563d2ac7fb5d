/* Sixteen elements at a time, as 32-bit lanes of two AVX2 registers, for elementwise kernels. Elements 0 to 3 and 8 to 11 are in one
 * register, as interleaving within halves orders them. */
#ifndef STROP_LANES_H
#define STROP_LANES_H

#include "fixed_point.h"
#include "requantize_avx2.h"

typedef struct {
    __m256i low, high;
} strop_lanes;

/* Sixteen stored values less their zero point, in 16 bits. */
STROP_INLINE __m256i strop_centred(const int8_t *from, int32_t offset) {
    const __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)from));
    return _mm256_add_epi16(x, _mm256_set1_epi16((int16_t)offset));
}

/* Two weights of 16 bits for the two parts of every lane. */
STROP_INLINE __m256i strop_two_weights(int32_t first, int32_t second) {
    return _mm256_set1_epi32((int32_t)((uint32_t)first & 0xFFFFU) | strop_shift_left(second, 16));
}

/* Values, each beside its sign, times 2^20 * mantissa / 2^(31 + right), rounded twice: by the mantissa's two halves, the lower
 * one signed; right shifts of multiples of the upper one's place are exact. */
STROP_INLINE __m256i strop_common_eight(__m256i x, int32_t mantissa, int32_t right) {
    const int32_t upper = (mantissa + (1 << 15)) >> 16, lower = mantissa - strop_shift_left(upper, 16);
    const int32_t half = right > 0 ? 1 << (right - 1) : 0;
    const __m256i above = _mm256_slli_epi32(_mm256_madd_epi16(x, strop_two_weights(upper, 0)), 5);
    const __m256i below = _mm256_madd_epi16(x, strop_two_weights(lower, right > 0 ? 1 << 11 : 0));
    const __m256i rounded = _mm256_add_epi32(below, _mm256_set1_epi32((1 << 10) + (half << 11)));
    return _mm256_srai_epi32(_mm256_add_epi32(above, _mm256_srai_epi32(rounded, 11)), right);
}

/* Sixteen stored values at the common scale of a sum: shifted left by 20 and scaled; one half is a smaller shift.
 * mantissa < 2^31 - 2^15, right <= 18. */
STROP_INLINE strop_lanes strop_lanes_common(const int8_t *from, int32_t offset, int32_t mantissa, int32_t right) {
    const __m256i x = strop_centred(from, offset), zero = _mm256_setzero_si256();
    if (mantissa == 1 << 30 && right == 0) {
        const strop_lanes halves = {_mm256_slli_epi32(_mm256_unpacklo_epi16(zero, x), 3),
                                    _mm256_slli_epi32(_mm256_unpackhi_epi16(zero, x), 3)};
        return halves;
    }
    const __m256i sign = _mm256_srai_epi16(x, 15);
    const strop_lanes y = {strop_common_eight(_mm256_unpacklo_epi16(x, sign), mantissa, right),
                           strop_common_eight(_mm256_unpackhi_epi16(x, sign), mantissa, right)};
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

/* Products of sixteen pairs of stored values less their zero points. */
STROP_INLINE strop_lanes strop_lanes_product(const int8_t *a, const int8_t *b, int32_t a_offset, int32_t b_offset) {
    const __m256i x = strop_centred(a, a_offset), y = strop_centred(b, b_offset);
    const __m256i lower = _mm256_mullo_epi16(x, y), upper = _mm256_mulhi_epi16(x, y);
    const strop_lanes z = {_mm256_unpacklo_epi16(lower, upper), _mm256_unpackhi_epi16(lower, upper)};
    return z;
}

/* x * mantissa / 2^(31 + right) + zero, rounded twice; |x| < 2^30, right <= 21. away: negative halves matter. */
STROP_INLINE __m256i strop_eight_result(__m256i x, int32_t mantissa, int32_t right, int32_t zero, bool away) {
    const __m256i factor = _mm256_set1_epi32(mantissa);
    __m256i y = strop_high_mul_avx2(x, factor, factor);
    if (away && right > 0) {
        y = _mm256_add_epi32(y, _mm256_srai_epi32(y, 31));
    }
    const int32_t half = right > 0 ? 1 << (right - 1) : 0;
    return _mm256_srai_epi32(_mm256_add_epi32(y, _mm256_set1_epi32(half + strop_shift_left(zero, right))), right);
}

/* Sixteen results, scaled and clamped. */
STROP_INLINE void strop_lanes_finish(int8_t *out, strop_lanes x, int32_t mantissa, int32_t right, int32_t zero, int32_t low,
                                     int32_t high) {
    const __m256i first = strop_eight_result(x.low, mantissa, right, zero, low < zero);
    const __m256i words = _mm256_packs_epi32(first, strop_eight_result(x.high, mantissa, right, zero, low < zero));
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    const __m128i clamped = _mm_min_epi8(_mm_max_epi8(bytes, _mm_set1_epi8((char)low)), _mm_set1_epi8((char)high));
    _mm_storeu_si128((__m128i *)(void *)out, clamped);
}

#endif
