/* Copies of whole tensors, and of rows to lower addresses of the same buffer.
 * Cost: memcpy; 7 instructions per 16 bytes that move down, 5 per byte where the places are not aligned to words. */
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

/* Down only: where the places overlap, every word is read before another is written over it. */
STROP_KERNEL void strop_move_down(const void *from, void *to, const strop_copy_shape *s) {
    const uint8_t *in = from;
    uint8_t *out = to;
    size_t left = s->bytes;
    if ((((uintptr_t)from | (uintptr_t)to) & 3U) == 0) {
        for (; left >= 16; left -= 16, in += 16, out += 16) {
            uint32_t four[4];
            __builtin_memcpy(four, __builtin_assume_aligned(in, 4), 16);
            __builtin_memcpy(__builtin_assume_aligned(out, 4), four, 16);
        }
    }
    for (; left > 0; --left) {
        *out++ = *in++;
    }
}

#endif
