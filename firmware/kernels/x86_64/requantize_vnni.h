/* Requantization with AVX-512, rounded twice: sixteen sums in a register of 512 bits, or eight in one of 256. */
#ifndef STROP_REQUANTIZE_VNNI_H
#define STROP_REQUANTIZE_VNNI_H

#include <immintrin.h>

#include "common.h"

#define STROP_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* Channels: addend holds one half and the zero point before the shift. odd: mantissas of odd channels. counts: minus the shifts, or
 * zeros where nothing is rounded away from zero. plain: then, and where every channel shifts right, both shifts are one of 64 bits,
 * with both roundings in even_add and odd_add, which leaves the results of odd channels in the upper halves. */
typedef struct {
    __m512i mantissa, odd, addend, shift, counts, even_add, odd_add, even_right, odd_right;
    bool plain;
} strop_scale_vnni;

STROP_VNNI STROP_INLINE strop_scale_vnni strop_scale_of_vnni(__m512i mantissa, __m512i shift, int32_t zero, bool away) {
    strop_scale_vnni p;
    const __m512i one = _mm512_set1_epi32(1), half = _mm512_set1_epi64(1 << 30);
    p.mantissa = mantissa;
    p.odd = _mm512_srli_epi64(mantissa, 32);
    p.shift = shift;
    p.counts = away ? _mm512_sub_epi32(_mm512_setzero_si512(), shift) : _mm512_setzero_si512();
    p.addend = _mm512_add_epi32(_mm512_srli_epi32(_mm512_sllv_epi32(one, shift), 1),
                                _mm512_sllv_epi32(_mm512_set1_epi32(zero), shift));
    p.even_add = _mm512_add_epi64(_mm512_srai_epi64(_mm512_slli_epi64(p.addend, 32), 1), half);
    p.odd_add = _mm512_add_epi64(_mm512_srai_epi64(_mm512_slli_epi64(_mm512_srli_epi64(p.addend, 32), 32), 1), half);
    p.even_right = _mm512_add_epi64(_mm512_srli_epi64(_mm512_slli_epi64(shift, 32), 32), _mm512_set1_epi64(31));
    p.odd_right = _mm512_sub_epi64(_mm512_srli_epi64(shift, 32), _mm512_set1_epi64(1));
    p.plain = !away && _mm512_test_epi32_mask(shift, shift) == 0xFFFF;
    return p;
}

/* Sums as outputs in 32 bits, not clamped. plain: a constant. */
STROP_VNNI STROP_INLINE __m512i strop_requantize_vnni(__m512i sums, const strop_scale_vnni *p, const bool plain) {
    const __m512i even = _mm512_mul_epi32(sums, p->mantissa), odd = _mm512_mul_epi32(_mm512_srli_epi64(sums, 32), p->odd);
    if (plain) {
        const __m512i low = _mm512_srav_epi64(_mm512_add_epi64(even, p->even_add), p->even_right);
        return _mm512_mask_blend_epi32(0xAAAA, low, _mm512_srav_epi64(_mm512_add_epi64(odd, p->odd_add), p->odd_right));
    }
    const __m512i half = _mm512_set1_epi64(1 << 30);
    const __m512i low = _mm512_srli_epi64(_mm512_add_epi64(even, half), 31);
    const __m512i y = _mm512_mask_blend_epi32(0xAAAA, low, _mm512_slli_epi64(_mm512_add_epi64(odd, half), 1));
    const __m512i away = _mm512_srai_epi32(_mm512_and_si512(y, p->counts), 31);
    return _mm512_srav_epi32(_mm512_add_epi32(_mm512_add_epi32(y, away), p->addend), p->shift);
}

/* The same of eight channels in 256 bits. */
typedef struct {
    __m256i mantissa, odd, addend, shift, counts, even_add, odd_add, even_right, odd_right;
    bool plain;
} strop_scale_eight_vnni;

STROP_VNNI STROP_INLINE strop_scale_eight_vnni strop_scale_eight_of_vnni(__m256i mantissa, __m256i shift, int32_t zero, bool away) {
    const strop_scale_vnni whole =
        strop_scale_of_vnni(_mm512_broadcast_i64x4(mantissa), _mm512_broadcast_i64x4(shift), zero, away);
    strop_scale_eight_vnni p;
    p.mantissa = mantissa;
    p.shift = shift;
    p.odd = _mm512_castsi512_si256(whole.odd);
    p.addend = _mm512_castsi512_si256(whole.addend);
    p.counts = _mm512_castsi512_si256(whole.counts);
    p.even_add = _mm512_castsi512_si256(whole.even_add);
    p.odd_add = _mm512_castsi512_si256(whole.odd_add);
    p.even_right = _mm512_castsi512_si256(whole.even_right);
    p.odd_right = _mm512_castsi512_si256(whole.odd_right);
    p.plain = whole.plain;
    return p;
}

STROP_VNNI STROP_INLINE __m256i strop_requantize_eight_vnni(__m256i sums, const strop_scale_eight_vnni *p, const bool plain) {
    const __m256i even = _mm256_mul_epi32(sums, p->mantissa), odd = _mm256_mul_epi32(_mm256_srli_epi64(sums, 32), p->odd);
    if (plain) {
        const __m256i low = _mm256_srav_epi64(_mm256_add_epi64(even, p->even_add), p->even_right);
        return _mm256_blend_epi32(low, _mm256_srav_epi64(_mm256_add_epi64(odd, p->odd_add), p->odd_right), 0xAA);
    }
    const __m256i half = _mm256_set1_epi64x(1 << 30);
    const __m256i low = _mm256_srli_epi64(_mm256_add_epi64(even, half), 31);
    const __m256i y = _mm256_blend_epi32(low, _mm256_slli_epi64(_mm256_add_epi64(odd, half), 1), 0xAA);
    const __m256i away = _mm256_srai_epi32(_mm256_and_si256(y, p->counts), 31);
    return _mm256_srav_epi32(_mm256_add_epi32(_mm256_add_epi32(y, away), p->addend), p->shift);
}

#endif
