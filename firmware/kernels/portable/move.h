/* Copies of whole tensors, and of bytes between places that overlap.
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

/* From the start to the end: every word is read before another is written over it, where `out` lies below `in`. */
STROP_SHARED void strop_move_bytes_down(const uint8_t *in, uint8_t *out, size_t bytes) {
    if ((((uintptr_t)in | (uintptr_t)out) & 3U) == 0) {
        for (; bytes >= 16; bytes -= 16, in += 16, out += 16) {
            uint32_t four[4];
            __builtin_memcpy(four, __builtin_assume_aligned(in, 4), 16);
            __builtin_memcpy(__builtin_assume_aligned(out, 4), four, 16);
        }
    }
    for (; bytes > 0; --bytes) {
        *out++ = *in++;
    }
}

/* From the end to the start, where `out` lies above `in`. */
STROP_SHARED void strop_move_bytes_up(const uint8_t *in, uint8_t *out, size_t bytes) {
    for (; (bytes & 15U) != 0 || ((((uintptr_t)in | (uintptr_t)out) & 3U) != 0 && bytes > 0); --bytes) {
        out[bytes - 1] = in[bytes - 1];
    }
    for (; bytes > 0; bytes -= 16) {
        uint32_t four[4];
        __builtin_memcpy(four, __builtin_assume_aligned(in + bytes - 16, 4), 16);
        __builtin_memcpy(__builtin_assume_aligned(out + bytes - 16, 4), four, 16);
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
