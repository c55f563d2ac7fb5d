/* The AVX512-VNNI form of depthwise_block.h, in registers of 256 bits. */
#ifndef STROP_DEPTHWISE_BLOCK_VNNI_H
#define STROP_DEPTHWISE_BLOCK_VNNI_H

#include "depthwise_block_avx2.h"
#include "requantize_vnni.h"

/* What all pixels of a block share. */
typedef struct {
    strop_scale_eight_vnni scale[4];
    __m256i low, high;
    __mmask32 store;
} strop_taps_scale_vnni;

STROP_VNNI STROP_INLINE strop_taps_scale_vnni strop_taps_scale_of_vnni(const strop_dot *d) {
    strop_taps_scale_vnni p;
    for (int32_t i = 0; i < 4; ++i) {
        const int8_t *const rows = d->block + 32 * i;
        p.scale[i] = strop_scale_eight_of_vnni(strop_load_avx2(rows + 128), strop_load_avx2(rows + 256), d->zero, d->away);
    }
    p.low = _mm256_set1_epi8((char)d->low);
    p.high = _mm256_set1_epi8((char)d->high);
    p.store = 0xFFFFFFFFU >> (32 - d->channels);
    return p;
}

/* Four taps more. */
STROP_VNNI STROP_INLINE void strop_taps_step_vnni(__m256i sums[4], const int8_t *at, const int32_t *taps, const int8_t *w) {
    const strop_taps_four x = strop_interleave(at, taps);
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        sums[i] = _mm256_dpbusd_epi32(sums[i], x.lanes[i], strop_load_avx2(w + 32 * i));
    }
}

#define STROP_RUNS_3X3 3

/* One pixel; small, for filters of 3x3, and plain are constants. */
STROP_VNNI STROP_INLINE void strop_taps_pixel_vnni(const strop_dot *d, const strop_taps_scale_vnni *p, int32_t pixel,
                                                   const bool small, const bool plain) {
    const int8_t *const at = d->band + d->pixels[pixel], *const w = d->block + 384;
    __m256i sums[4];
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        sums[i] = strop_load_avx2(d->block + 32 * i);
    }
    if (small) {
        STROP_UNROLLED
        for (int32_t run = 0; run < STROP_RUNS_3X3; ++run) {
            strop_taps_step_vnni(sums, at, d->runs + 4 * run, w + 128 * run);
        }
    } else {
        for (int32_t run = 0; run < d->run_count; ++run) {
            strop_taps_step_vnni(sums, at, d->runs + 4 * run, w + 128 * run);
        }
    }
    STROP_UNROLLED
    for (int32_t i = 0; i < 4; ++i) {
        sums[i] = strop_requantize_eight_vnni(sums[i], &p->scale[i], plain);
    }
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(sums[0], sums[1]), _mm256_packs_epi32(sums[2], sums[3]));
    const __m256i y = _mm256_min_epi8(_mm256_max_epi8(bytes, p->low), p->high);
    _mm256_mask_storeu_epi8(d->out + pixel * d->pitch, p->store, y);
}

STROP_VNNI STROP_SHARED void strop_depthwise_block_vnni(const strop_dot *d) {
    const strop_taps_scale_vnni p = strop_taps_scale_of_vnni(d);
    const bool plain = p.scale[0].plain && p.scale[1].plain && p.scale[2].plain && p.scale[3].plain;
    if (plain && d->run_count == STROP_RUNS_3X3) {
        for (int32_t pixel = 0; pixel < d->count; ++pixel) {
            strop_taps_pixel_vnni(d, &p, pixel, true, true);
        }
    } else {
        for (int32_t pixel = 0; pixel < d->count; ++pixel) {
            strop_taps_pixel_vnni(d, &p, pixel, false, false);
        }
    }
}

#endif
