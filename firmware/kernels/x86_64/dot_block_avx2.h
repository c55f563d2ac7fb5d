/* The AVX2 form of dot_block.h. */
#ifndef STROP_DOT_BLOCK_AVX2_H
#define STROP_DOT_BLOCK_AVX2_H

#include "dot.h"
#include "requantize_avx2.h"

/* What all pixels of a block share: channels 0 to 7 and 8 to 15. */
typedef struct {
    __m256i bias[2];
    strop_scale_avx2 scale[2];
    __m128i low, high;
} strop_dot_scale_avx2;

STROP_INLINE strop_dot_scale_avx2 strop_dot_scale_of_avx2(const strop_dot *d) {
    strop_dot_scale_avx2 p;
    STROP_UNROLLED
    for (int32_t half = 0; half < 2; ++half) {
        const int8_t *const rows = d->block + 32 * half;
        p.bias[half] = strop_load_avx2(rows);
        p.scale[half] = strop_scale_of_avx2(strop_load_avx2(rows + 64), strop_load_avx2(rows + 128), d->zero);
    }
    p.low = _mm_set1_epi8((char)d->low);
    p.high = _mm_set1_epi8((char)d->high);
    return p;
}

STROP_INLINE void strop_finish_avx2(const strop_dot *d, const strop_dot_scale_avx2 *p, int32_t pixel, __m256i a, __m256i b) {
    const __m256i x = strop_requantize_avx2(a, &p->scale[0], d->away), y = strop_requantize_avx2(b, &p->scale[1], d->away);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x, y), 0xD8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    strop_store_bytes(d->out + pixel * d->pitch, _mm_min_epi8(_mm_max_epi8(bytes, p->low), p->high), d->channels);
}

/* `pixels` pixels from `first` on; behind the last one, it again. */
STROP_INLINE void strop_tile_avx2(const strop_dot *d, const strop_dot_scale_avx2 *p, int32_t first, const int32_t pixels) {
    const __m256i even_bytes = _mm256_set1_epi16(0x00FF);
    const int8_t *at[4];
    __m256i a[4], b[4];
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        at[i] = d->band + d->pixels[strop_min(first + i, d->count - 1)];
        a[i] = p->bias[0];
        b[i] = p->bias[1];
    }
    const int8_t *w = d->block + 192;
    const int32_t *step = d->runs, *const end = step + d->run_count;
    do {
        const int64_t k = *step;
        const __m256i wa = strop_load_avx2(w), wb = strop_load_avx2(w + 32);
        const __m256i odd_a = _mm256_srai_epi16(wa, 8), even_a = _mm256_srai_epi16(_mm256_slli_epi16(wa, 8), 8);
        const __m256i odd_b = _mm256_srai_epi16(wb, 8), even_b = _mm256_srai_epi16(_mm256_slli_epi16(wb, 8), 8);
        STROP_UNROLLED
        for (int32_t i = 0; i < pixels; ++i) {
            const __m256i x = _mm256_set1_epi32(strop_word_at(at[i] + k));
            const __m256i even = _mm256_and_si256(x, even_bytes), odd = _mm256_srli_epi16(x, 8);
            a[i] = _mm256_add_epi32(a[i], _mm256_add_epi32(_mm256_madd_epi16(even, even_a), _mm256_madd_epi16(odd, odd_a)));
            b[i] = _mm256_add_epi32(b[i], _mm256_add_epi32(_mm256_madd_epi16(even, even_b), _mm256_madd_epi16(odd, odd_b)));
        }
        w += 64;
    } while (++step != end);
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        strop_finish_avx2(d, p, strop_min(first + i, d->count - 1), a[i], b[i]);
    }
}

STROP_SHARED void strop_dot_block_avx2(const strop_dot *d) {
    const strop_dot_scale_avx2 p = strop_dot_scale_of_avx2(d);
    int32_t first = 0;
    for (; d->count - first > 1; first += 4) {
        strop_tile_avx2(d, &p, first, 4);
    }
    if (d->count - first == 1) {
        strop_tile_avx2(d, &p, first, 1);
    }
}

#endif
