/* Copies of whole tensors, and of bytes between places that overlap.
 * Cost: memcpy; about 8 instructions per 32 bytes that move, 5 per byte where the places are not aligned to words. */
#ifndef STROP_MOVE_H
#define STROP_MOVE_H

#include "common.h"

typedef struct {
    size_t bytes;
} strop_copy_shape;

STROP_KERNEL void strop_copy(const void *in, void *out, const strop_copy_shape *s) {
    if (in != out) {
        memcpy(out, in, s->bytes);
    }
}

enum { STROP_MOVE_BLOCK = 32 };

/* Four words through registers. */
STROP_KERNEL void strop_move_four(const uint8_t *in, uint8_t *out) {
    uint32_t four[4];
    __builtin_memcpy(four, __builtin_assume_aligned(in, 4), 16);
    __builtin_memcpy(__builtin_assume_aligned(out, 4), four, 16);
}

/* From the start to the end: every word is read before another is written over it, where `out` lies below `in`. */
STROP_SHARED void strop_move_bytes_down(const uint8_t *in, uint8_t *out, size_t bytes) {
    if ((((uintptr_t)in | (uintptr_t)out) & 3U) == 0) {
        for (; bytes >= STROP_MOVE_BLOCK; bytes -= STROP_MOVE_BLOCK, in += STROP_MOVE_BLOCK, out += STROP_MOVE_BLOCK) {
            strop_move_four(in, out);
            strop_move_four(in + 16, out + 16);
        }
        for (; bytes >= 4; bytes -= 4, in += 4, out += 4) {
            uint32_t word;
            __builtin_memcpy(&word, __builtin_assume_aligned(in, 4), 4);
            __builtin_memcpy(__builtin_assume_aligned(out, 4), &word, 4);
        }
    }
    for (; bytes > 0; --bytes) {
        *out++ = *in++;
    }
}

/* From the end to the start, where `out` lies above `in`. */
STROP_SHARED void strop_move_bytes_up(const uint8_t *in, uint8_t *out, size_t bytes) {
    const bool by_words = (((uintptr_t)in | (uintptr_t)out) & 3U) == 0;
    for (; by_words ? (bytes & 3U) != 0 : bytes > 0; --bytes) {
        out[bytes - 1] = in[bytes - 1];
    }
    for (; (bytes & (STROP_MOVE_BLOCK - 1U)) != 0; bytes -= 4) {
        uint32_t word;
        __builtin_memcpy(&word, __builtin_assume_aligned(in + bytes - 4, 4), 4);
        __builtin_memcpy(__builtin_assume_aligned(out + bytes - 4, 4), &word, 4);
    }
    for (; bytes > 0; bytes -= STROP_MOVE_BLOCK) {
        strop_move_four(in + bytes - 16, out + bytes - 16);
        strop_move_four(in + bytes - 32, out + bytes - 32);
    }
}

/* Between places that may overlap. */
STROP_KERNEL void strop_move(const void *in, void *out, const strop_copy_shape *s) {
    if ((uintptr_t)out < (uintptr_t)in) {
        strop_move_bytes_down(in, out, s->bytes);
    } else {
        strop_move_bytes_up(in, out, s->bytes);
    }
}

#endif
