/* The AVX2 form of depthwise_block.h, and the interleaving of both. */
#ifndef STROP_DEPTHWISE_BLOCK_AVX2_H
#define STROP_DEPTHWISE_BLOCK_AVX2_H

#include "dot.h"
#include "requantize_avx2.h"

/* Four taps of thirty-two channels, a channel in each lane. */
typedef struct {
    __m256i lanes[4];
} strop_taps_four;

STROP_INLINE strop_taps_four strop_interleave(const int8_t *at, const int32_t *taps) {
    const __m256i a = strop_load_avx2(at + taps[0]), b = strop_load_avx2(at + taps[1]);
    const __m256i c = strop_load_avx2(at + taps[2]), e = strop_load_avx2(at + taps[3]);
    const __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
    const __m256i low_2 = _mm256_unpacklo_epi8(c, e), high_2 = _mm256_unpackhi_epi8(c, e);
    const strop_taps_four four = {{_mm256_unpacklo_epi16(low, low_2), _mm256_unpackhi_epi16(low, low_2),
                                   _mm256_unpacklo_epi16(high, high_2), _mm256_unpackhi_epi16(high, high_2)}};
    return four;
}

/* sums + products of unsigned and signed bytes, by parts of 16 bits. */
STROP_INLINE __m256i strop_bytes_product_avx2(__m256i sums, __m256i x, __m256i w) {
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(x, _mm256_set1_epi16(0x00FF)),
                                           _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(x, 8), _mm256_srai_epi16(w, 8));
    return _mm256_add_epi32(sums, _mm256_add_epi32(even, odd));
}

STROP_SHARED void strop_depthwise_block_avx2(const strop_dot *d) {
    strop_scale_avx2 scale[4];
    for (int32_t i = 0; i < 4; ++i) {
        const int8_t *const rows = d->block + 32 * i;
        scale[i] = strop_scale_of_avx2(strop_load_avx2(rows + 128), strop_load_avx2(rows + 256), d->zero);
    }
    const __m256i low = _mm256_set1_epi8((char)d->low), high = _mm256_set1_epi8((char)d->high);
    for (int32_t pixel = 0; pixel < d->count; ++pixel) {
        const int8_t *const at = d->band + d->pixels[pixel], *w = d->block + 384;
        __m256i sums[4];
        STROP_UNROLLED
        for (int32_t i = 0; i < 4; ++i) {
            sums[i] = strop_load_avx2(d->block + 32 * i);
        }
        for (int32_t run = 0; run < d->run_count; ++run, w += 128) {
            const strop_taps_four x = strop_interleave(at, d->runs + 4 * run);
            STROP_UNROLLED
            for (int32_t i = 0; i < 4; ++i) {
                sums[i] = strop_bytes_product_avx2(sums[i], x.lanes[i], strop_load_avx2(w + 32 * i));
            }
        }
        STROP_UNROLLED
        for (int32_t i = 0; i < 4; ++i) {
            sums[i] = strop_requantize_avx2(sums[i], &scale[i], d->away);
        }
        const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(sums[0], sums[1]), _mm256_packs_epi32(sums[2], sums[3]));
        strop_store_avx2(d->out + pixel * d->pitch, _mm256_min_epi8(_mm256_max_epi8(bytes, low), high), d->channels);
    }
}

#endif
