/* Moves bytes, offset by 128 where asked: dot products take one operand unsigned. 32 bytes a step, the last of them again. */
#ifndef STROP_MOVE_FLIPPED_H
#define STROP_MOVE_FLIPPED_H

#include <immintrin.h>

#include "common.h"

#define STROP_FLIP true

STROP_KERNEL void strop_flip_32(int8_t *to, const int8_t *from) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)from);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_xor_si256(x, _mm256_set1_epi8(INT8_MIN)));
}

STROP_KERNEL void strop_flip_8(int8_t *to, const int8_t *from) {
    uint64_t word;
    __builtin_memcpy(&word, from, sizeof word);
    word ^= 0x8080808080808080U;
    __builtin_memcpy(to, &word, sizeof word);
}

STROP_KERNEL void strop_flip_bytes(int8_t *to, const int8_t *from, int32_t bytes) {
    int32_t i = 0;
    if (bytes >= 32) {
        for (; i + 32 < bytes; i += 32) {
            strop_flip_32(to + i, from + i);
        }
        strop_flip_32(to + bytes - 32, from + bytes - 32);
        return;
    }
    for (; i + 8 <= bytes; i += 8) {
        strop_flip_8(to + i, from + i);
    }
    for (; i < bytes; ++i) {
        to[i] = (int8_t)(from[i] ^ INT8_MIN);
    }
}

STROP_KERNEL void strop_move_bytes(int8_t *to, const int8_t *from, int32_t bytes, bool flip) {
    if (flip) {
        strop_flip_bytes(to, from, bytes);
    } else {
        memcpy(to, from, (size_t)bytes);
    }
}

#endif
