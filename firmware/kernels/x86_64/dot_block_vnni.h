/* The AVX512-VNNI form of dot_block.h. */
#ifndef STROP_DOT_BLOCK_VNNI_H
#define STROP_DOT_BLOCK_VNNI_H

#include "dot.h"
#include "requantize_vnni.h"

/* What all pixels of a block share. order: brings the outputs of four pixels, packed within quarters, together. */
typedef struct {
    __m512i bias, low, high, order;
    strop_scale_vnni scale;
    __mmask16 store;
} strop_dot_scale_vnni;

STROP_VNNI STROP_INLINE strop_dot_scale_vnni strop_dot_scale_of_vnni(const strop_dot *d) {
    strop_dot_scale_vnni p;
    p.bias = _mm512_loadu_si512(d->block);
    p.scale = strop_scale_of_vnni(_mm512_loadu_si512(d->block + 64), _mm512_loadu_si512(d->block + 128), d->zero, d->away);
    p.low = _mm512_set1_epi8((char)d->low);
    p.high = _mm512_set1_epi8((char)d->high);
    p.order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    p.store = (__mmask16)((1U << d->channels) - 1U);
    return p;
}

/* The sums of four pixels as their outputs. plain: a constant. */
STROP_VNNI STROP_INLINE void strop_finish_four_vnni(const strop_dot_scale_vnni *p, const __m512i sums[4], int8_t *out, int32_t pitch,
                                                    const bool plain) {
    const __m512i a = _mm512_packs_epi32(strop_requantize_vnni(sums[0], &p->scale, plain),
                                         strop_requantize_vnni(sums[1], &p->scale, plain));
    const __m512i b = _mm512_packs_epi32(strop_requantize_vnni(sums[2], &p->scale, plain),
                                         strop_requantize_vnni(sums[3], &p->scale, plain));
    const __m512i bytes = _mm512_permutexvar_epi32(p->order, _mm512_packs_epi16(a, b));
    const __m512i y = _mm512_min_epi8(_mm512_max_epi8(bytes, p->low), p->high);
    _mm_mask_storeu_epi8(out, p->store, _mm512_castsi512_si128(y));
    _mm_mask_storeu_epi8(out + pitch, p->store, _mm512_extracti32x4_epi32(y, 1));
    _mm_mask_storeu_epi8(out + 2 * pitch, p->store, _mm512_extracti32x4_epi32(y, 2));
    _mm_mask_storeu_epi8(out + 3 * pitch, p->store, _mm512_extracti32x4_epi32(y, 3));
}

/* Four taps of pixel i, at its address and the offset in rax, times the weights in zmm31. */
#define STROP_STEP_VNNI(i)                            \
    "vpbroadcastd (%[at" #i "],%%rax), %%zmm30\n\t"   \
    "vpdpbusd %%zmm31, %%zmm30, %[s" #i "]\n\t"

/* All steps of four or eight pixels, in assembly because compilers copy the sums in each. */
#define STROP_STEPS_VNNI(STEPS)                       \
    "1:\n\t"                                          \
    "movslq (%[step]), %%rax\n\t"                     \
    "vmovdqu64 (%[from]), %%zmm31\n\t" STEPS          \
    "add $4, %[step]\n\t"                             \
    "add $64, %[from]\n\t"                            \
    "cmp %[end], %[step]\n\t"                         \
    "jne 1b"

STROP_VNNI STROP_INLINE void strop_eight_sums_vnni(const strop_dot *d, const int8_t *const at[8], __m512i s[8]) {
    const int8_t *from = d->block + 192;
    const int32_t *step = d->runs, *const end = step + d->run_count;
    __asm__ volatile(STROP_STEPS_VNNI(STROP_STEP_VNNI(0) STROP_STEP_VNNI(1) STROP_STEP_VNNI(2) STROP_STEP_VNNI(3)
                                          STROP_STEP_VNNI(4) STROP_STEP_VNNI(5) STROP_STEP_VNNI(6) STROP_STEP_VNNI(7))
                     : [s0] "+v"(s[0]), [s1] "+v"(s[1]), [s2] "+v"(s[2]), [s3] "+v"(s[3]), [s4] "+v"(s[4]), [s5] "+v"(s[5]),
                       [s6] "+v"(s[6]), [s7] "+v"(s[7]), [step] "+r"(step), [from] "+r"(from)
                     : [at0] "r"(at[0]), [at1] "r"(at[1]), [at2] "r"(at[2]), [at3] "r"(at[3]), [at4] "r"(at[4]),
                       [at5] "r"(at[5]), [at6] "r"(at[6]), [at7] "r"(at[7]), [end] "m"(end)
                     : "rax", "xmm30", "xmm31", "cc", "memory");
}

STROP_VNNI STROP_INLINE void strop_four_sums_vnni(const strop_dot *d, const int8_t *const at[4], __m512i s[4]) {
    const int8_t *from = d->block + 192;
    const int32_t *step = d->runs, *const end = step + d->run_count;
    __asm__ volatile(STROP_STEPS_VNNI(STROP_STEP_VNNI(0) STROP_STEP_VNNI(1) STROP_STEP_VNNI(2) STROP_STEP_VNNI(3))
                     : [s0] "+v"(s[0]), [s1] "+v"(s[1]), [s2] "+v"(s[2]), [s3] "+v"(s[3]), [step] "+r"(step), [from] "+r"(from)
                     : [at0] "r"(at[0]), [at1] "r"(at[1]), [at2] "r"(at[2]), [at3] "r"(at[3]), [end] "m"(end)
                     : "rax", "xmm30", "xmm31", "cc", "memory");
}

/* Four or eight pixels from `first` on; pixels and plain are constants. */
STROP_VNNI STROP_INLINE void strop_tile_vnni(const strop_dot *d, const strop_dot_scale_vnni *p, int32_t first, const int32_t pixels,
                                             const bool plain) {
    const int8_t *at[8];
    __m512i sums[8];
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; ++i) {
        at[i] = d->band + d->pixels[first + i];
        sums[i] = p->bias;
    }
    if (pixels == 8) {
        strop_eight_sums_vnni(d, at, sums);
    } else {
        strop_four_sums_vnni(d, at, sums);
    }
    int8_t *out = d->out + first * d->pitch;
    STROP_UNROLLED
    for (int32_t i = 0; i < pixels; i += 4, out += 4 * d->pitch) {
        strop_finish_four_vnni(p, sums + i, out, d->pitch, plain);
    }
}

/* One pixel: four sums of every fourth four taps, so that they need not wait for each other. */
STROP_VNNI STROP_INLINE void strop_pixel_vnni(const strop_dot *d, const strop_dot_scale_vnni *p, int32_t pixel) {
    const int8_t *const x = d->band + d->pixels[pixel], *w = d->block + 192;
    const int32_t *step = d->runs;
    __m512i a = p->bias, b = _mm512_setzero_si512(), c = b, e = b;
    int32_t left = d->run_count;
    for (; left >= 4; left -= 4, step += 4, w += 256) {
        a = _mm512_dpbusd_epi32(a, _mm512_set1_epi32(strop_word_at(x + step[0])), _mm512_loadu_si512(w));
        b = _mm512_dpbusd_epi32(b, _mm512_set1_epi32(strop_word_at(x + step[1])), _mm512_loadu_si512(w + 64));
        c = _mm512_dpbusd_epi32(c, _mm512_set1_epi32(strop_word_at(x + step[2])), _mm512_loadu_si512(w + 128));
        e = _mm512_dpbusd_epi32(e, _mm512_set1_epi32(strop_word_at(x + step[3])), _mm512_loadu_si512(w + 192));
    }
    for (; left > 0; --left, ++step, w += 64) {
        a = _mm512_dpbusd_epi32(a, _mm512_set1_epi32(strop_word_at(x + *step)), _mm512_loadu_si512(w));
    }
    const __m512i sums = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, e));
    const __m128i y = _mm512_cvtsepi32_epi8(strop_requantize_vnni(sums, &p->scale, false));
    const __m128i low = _mm512_castsi512_si128(p->low), high = _mm512_castsi512_si128(p->high);
    _mm_mask_storeu_epi8(d->out + pixel * d->pitch, p->store, _mm_min_epi8(_mm_max_epi8(y, low), high));
}

/* Tiles of eight pixels, then one of four or eight that takes some again; fewer than four one by one. */
STROP_VNNI STROP_INLINE void strop_tiles_vnni(const strop_dot *d, const strop_dot_scale_vnni *p, const bool plain) {
    int32_t first = 0;
    for (; d->count - first >= 8; first += 8) {
        strop_tile_vnni(d, p, first, 8, plain);
    }
    if (d->count - first > 4 && d->count >= 8) {
        strop_tile_vnni(d, p, d->count - 8, 8, plain);
        return;
    }
    for (; d->count - first > 1 && d->count >= 4; first += 4) {
        strop_tile_vnni(d, p, strop_min(first, d->count - 4), 4, plain);
    }
    for (; first < d->count; ++first) {
        strop_pixel_vnni(d, p, first);
    }
}

STROP_VNNI STROP_SHARED void strop_dot_block_vnni(const strop_dot *d) {
    const strop_dot_scale_vnni p = strop_dot_scale_of_vnni(d);
    if (p.scale.plain) {
        strop_tiles_vnni(d, &p, true);
    } else {
        strop_tiles_vnni(d, &p, false);
    }
}

#endif
