/* Sixteen channels of a depthwise convolution for the pixels of a band (dot.h: runs are taps, run_count counts pairs of them).
 * A pair of taps is 64 bytes of weights in 16 bits, of both taps in turn for channels 0 to 3 and 8 to 11, then for the others, as
 * interleaving two taps of sixteen channels within halves of a register orders them. Products of pairs are exact.
 * Two pixels at a time, four sums in registers. Cost: 11 instructions per pair of taps of sixteen channels, 40 per sixteen outputs. */
#ifndef STROP_DEPTHWISE_BLOCK_H
#define STROP_DEPTHWISE_BLOCK_H

#include "dot.h"
#include "requantize_avx2.h"

#define STROP_PAIR_BYTES 64

/* What all pixels share; [0]: channels 0 to 3 and 8 to 11. */
typedef struct {
    __m256i bias[2];
    strop_scale_avx2 scale[2];
    __m128i low, high;
} strop_taps_scale;

/* Rows of parameters of four channels and of those eight behind them. */
STROP_INLINE __m256i strop_fours(const int8_t *from) {
    const __m128i first = _mm_loadu_si128((const __m128i *)(const void *)from);
    const __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(from + 32));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

STROP_INLINE strop_taps_scale strop_taps_scale_of(const strop_dot *d) {
    strop_taps_scale p;
    STROP_UNROLLED
    for (int32_t half = 0; half < 2; ++half) {
        const int8_t *const rows = d->block + 16 * half;
        p.bias[half] = strop_fours(rows);
        p.scale[half] = strop_scale_of_avx2(strop_fours(rows + 64), strop_fours(rows + 128), d->zero);
    }
    p.low = _mm_set1_epi8((char)d->low);
    p.high = _mm_set1_epi8((char)d->high);
    return p;
}

STROP_INLINE __m256i strop_sixteen(const int8_t *from) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)from));
}

STROP_INLINE void strop_taps_finish(const strop_dot *d, const strop_taps_scale *p, int32_t pixel, __m256i a, __m256i b) {
    const __m256i x = strop_requantize_avx2(a, &p->scale[0], d->away), y = strop_requantize_avx2(b, &p->scale[1], d->away);
    const __m256i words = _mm256_packs_epi32(x, y);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    strop_store_bytes(d->out + pixel * d->pitch, _mm_min_epi8(_mm_max_epi8(bytes, p->low), p->high), d->channels);
}

/* `pixels` pixels from `first` on; behind the last one, it again. */
STROP_INLINE void strop_taps_tile(const strop_dot *d, const strop_taps_scale *p, int32_t first, const int32_t pixels) {
    const int8_t *at[2];
    __m256i a[2], b[2];
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        at[i] = d->band + d->pixels[strop_min(first + i, d->count - 1)];
        a[i] = p->bias[0];
        b[i] = p->bias[1];
    }
    const int8_t *w = d->block + 192;
    for (int32_t pair = 0; pair < d->run_count; ++pair, w += STROP_PAIR_BYTES) {
        const int64_t one = d->runs[2 * pair], two = d->runs[2 * pair + 1];
        const __m256i wa = _mm256_loadu_si256((const __m256i *)(const void *)w);
        const __m256i wb = _mm256_loadu_si256((const __m256i *)(const void *)(w + 32));
        STROP_UNROLLED
        for (int32_t i = 0; i < pixels; ++i) {
            const __m256i x = strop_sixteen(at[i] + one), y = strop_sixteen(at[i] + two);
            a[i] = _mm256_add_epi32(a[i], _mm256_madd_epi16(_mm256_unpacklo_epi16(x, y), wa));
            b[i] = _mm256_add_epi32(b[i], _mm256_madd_epi16(_mm256_unpackhi_epi16(x, y), wb));
        }
    }
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        strop_taps_finish(d, p, strop_min(first + i, d->count - 1), a[i], b[i]);
    }
}

STROP_SHARED void strop_depthwise_block_avx2(const strop_dot *d) {
    const strop_taps_scale p = strop_taps_scale_of(d);
    for (int32_t first = 0; first < d->count; first += 2) {
        strop_taps_tile(d, &p, first, 2);
    }
}

STROP_KERNEL strop_dot_block strop_depthwise_block_of(void) { return strop_depthwise_block_avx2; }

#endif
