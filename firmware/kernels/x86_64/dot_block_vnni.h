/* The AVX512-VNNI form of dot_block.h. */
#ifndef STROP_DOT_BLOCK_VNNI_H
#define STROP_DOT_BLOCK_VNNI_H

#include <immintrin.h>

#include "dot.h"

#define STROP_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* A block's requantization: addend holds one half and the zero point before the shift. odd: mantissas of odd channels. */
typedef struct {
    __m512i bias, mantissa, odd, addend, shift, counts;
    __m128i low, high;
    __mmask16 store;
    bool away;
} strop_scale_vnni;

STROP_VNNI STROP_INLINE strop_scale_vnni strop_scale_of_vnni(const strop_dot *d) {
    strop_scale_vnni p;
    const __m512i one = _mm512_set1_epi32(1);
    p.bias = _mm512_loadu_si512(d->block);
    p.mantissa = _mm512_loadu_si512(d->block + 64);
    p.shift = _mm512_loadu_si512(d->block + 128);
    p.odd = _mm512_srli_epi64(p.mantissa, 32);
    p.counts = _mm512_sub_epi32(_mm512_setzero_si512(), p.shift);
    p.addend = _mm512_add_epi32(_mm512_srli_epi32(_mm512_sllv_epi32(one, p.shift), 1),
                                _mm512_sllv_epi32(_mm512_set1_epi32(d->zero), p.shift));
    p.low = _mm_set1_epi8((char)d->low);
    p.high = _mm_set1_epi8((char)d->high);
    p.store = (__mmask16)((1U << d->channels) - 1U);
    p.away = d->away;
    return p;
}

/* Sums as sixteen stored outputs, rounded twice. */
STROP_VNNI STROP_INLINE __m128i strop_requantize_vnni(__m512i sums, const strop_scale_vnni *p) {
    const __m512i half = _mm512_set1_epi64(1 << 30);
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(sums, p->mantissa), half);
    const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(sums, 32), p->odd), half);
    __m512i y = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1));
    if (p->away) {
        y = _mm512_add_epi32(y, _mm512_srai_epi32(_mm512_and_si512(y, p->counts), 31));
    }
    y = _mm512_srav_epi32(_mm512_add_epi32(y, p->addend), p->shift);
    return _mm_min_epi8(_mm_max_epi8(_mm512_cvtsepi32_epi8(y), p->low), p->high);
}

/* `pixels` pixels from `first` on; behind the last one, it again. */
STROP_VNNI STROP_INLINE void strop_tile_vnni(const strop_dot *d, const strop_scale_vnni *p, int32_t first, const int32_t pixels) {
    const int8_t *at[8];
    __m512i sums[8];
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        at[i] = d->band + d->pixels[strop_min(first + i, d->count - 1)];
        sums[i] = p->bias;
    }
    const int8_t *w = d->block + 192;
    for (int32_t run = 0; run < d->run_count; ++run) {
        const int64_t begin = d->runs[run], end = begin + 4 * d->quads;
        for (int64_t k = begin; k != end; k += 4, w += 64) {
            const __m512i weights = _mm512_loadu_si512(w);
            STROP_UNROLLED
            for (int32_t i = 0; i < pixels; ++i) {
                sums[i] = _mm512_dpbusd_epi32(sums[i], _mm512_set1_epi32(strop_word_at(at[i] + k)), weights);
            }
        }
    }
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        int8_t *const out = d->out + strop_min(first + i, d->count - 1) * d->pitch;
        _mm_mask_storeu_epi8(out, p->store, strop_requantize_vnni(sums[i], p));
    }
}

/* One pixel: four sums of every fourth four taps, so that they need not wait for each other. */
STROP_VNNI STROP_INLINE void strop_pixel_vnni(const strop_dot *d, const strop_scale_vnni *p, int32_t pixel) {
    const int8_t *const at = d->band + d->pixels[pixel];
    const int8_t *w = d->block + 192;
    __m512i a = p->bias, b = _mm512_setzero_si512(), c = b, e = b;
    for (int32_t run = 0; run < d->run_count; ++run) {
        const int8_t *x = at + d->runs[run];
        int32_t left = d->quads;
        for (; left >= 4; left -= 4, x += 16, w += 256) {
            a = _mm512_dpbusd_epi32(a, _mm512_set1_epi32(strop_word_at(x)), _mm512_loadu_si512(w));
            b = _mm512_dpbusd_epi32(b, _mm512_set1_epi32(strop_word_at(x + 4)), _mm512_loadu_si512(w + 64));
            c = _mm512_dpbusd_epi32(c, _mm512_set1_epi32(strop_word_at(x + 8)), _mm512_loadu_si512(w + 128));
            e = _mm512_dpbusd_epi32(e, _mm512_set1_epi32(strop_word_at(x + 12)), _mm512_loadu_si512(w + 192));
        }
        for (; left > 0; --left, x += 4, w += 64) {
            a = _mm512_dpbusd_epi32(a, _mm512_set1_epi32(strop_word_at(x)), _mm512_loadu_si512(w));
        }
    }
    const __m512i sums = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, e));
    _mm_mask_storeu_epi8(d->out + pixel * d->pitch, p->store, strop_requantize_vnni(sums, p));
}

STROP_VNNI STROP_SHARED void strop_dot_block_vnni(const strop_dot *d) {
    const strop_scale_vnni p = strop_scale_of_vnni(d);
    int32_t first = 0;
    for (; d->count - first > 4; first += 8) {
        strop_tile_vnni(d, &p, first, 8);
    }
    if (d->count - first > 1) {
        strop_tile_vnni(d, &p, first, 4);
    } else if (d->count - first == 1) {
        strop_pixel_vnni(d, &p, first);
    }
}

#endif
