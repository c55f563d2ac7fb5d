/* Columns of an image copied for convolutions with the vector extension: a run of bytes per column, evenly spaced on both sides.
 * Cost: 5 instructions per column of 16 bytes, 7 of 32, 6 of a rest below 16; 3 of up to 4 bytes. */
#ifndef STROP_COLUMNS_MVE_H
#define STROP_COLUMNS_MVE_H

#include <arm_mve.h>

#include "common.h"

/* columns: at least 1. Steps in bytes from one column to the next. bytes: of a column's run. */
typedef struct {
    const int8_t *from;
    int8_t *to;
    int32_t columns, from_step, to_step, bytes;
} strop_columns;

#define STROP_COLUMNS_LOOP_MVE(BODY)                                                                 \
    __asm__ volatile("dls lr, %[n]\n\t"                                                              \
                     "1:\n\t" BODY "le lr, 1b\n\t"                                                   \
                     : [f] "+r"(from), [t] "+r"(to)                                                  \
                     : [n] "r"(c.columns), [fs] "r"(c.from_step), [ts] "r"(c.to_step), [b] "r"(left) \
                     : "lr", "memory", "q0", "q1")

STROP_SHARED void strop_copy_columns_mve(const strop_columns *columns) {
    const strop_columns c = *columns;
    int32_t done = 0, left = c.bytes;
    for (; left >= 32; done += 32, left -= 32) {
        const int8_t *from = c.from + done;
        int8_t *to = c.to + done;
        STROP_COLUMNS_LOOP_MVE("vldrb.8 q0, [%[f]]\n\t"
                               "vldrb.8 q1, [%[f], #16]\n\t"
                               "add %[f], %[fs]\n\t"
                               "vstrb.8 q0, [%[t]]\n\t"
                               "vstrb.8 q1, [%[t], #16]\n\t"
                               "add %[t], %[ts]\n\t");
    }
    for (; left > 0; done += 16, left -= 16) {
        const int8_t *from = c.from + done;
        int8_t *to = c.to + done;
        if (left >= 16) {
            STROP_COLUMNS_LOOP_MVE("vldrb.8 q0, [%[f]]\n\t"
                                   "add %[f], %[fs]\n\t"
                                   "vstrb.8 q0, [%[t]]\n\t"
                                   "add %[t], %[ts]\n\t");
        } else {
            __asm__ volatile("vctp.8 %0" : : "r"(left));
            STROP_COLUMNS_LOOP_MVE("vpstt\n\t"
                                   "vldrbt.8 q0, [%[f]]\n\t"
                                   "vstrbt.8 q0, [%[t]]\n\t"
                                   "add %[f], %[fs]\n\t"
                                   "add %[t], %[ts]\n\t");
        }
    }
}

/* The same bytes in every column. */
STROP_SHARED void strop_fill_columns_mve(int8_t *to, int8_t value, int32_t columns, int32_t to_step, int32_t bytes) {
    for (; columns > 0; --columns, to += to_step) {
        for (int32_t at = 0; at < bytes; at += 16) {
            vstrbq_p_s8(to + at, vdupq_n_s8(value), vctp8q((uint32_t)(bytes - at)));
        }
    }
}

/* One column of `bytes` bytes, a constant from 1 to 4. */
STROP_KERNEL void strop_copy_small_mve(const int8_t *from, int8_t *to, int32_t bytes) {
    if (bytes == 1) {
        *to = *from;
    } else if (bytes == 2) {
        __builtin_memcpy(to, from, 2);
    } else if (bytes == 3) {
        __builtin_memcpy(to, from, 3);
    } else {
        __builtin_memcpy(to, from, 4);
    }
}

/* Columns of a constant number of bytes up to 4, in scalars. spare: the byte behind a column may be read and written, if another
 * column follows. */
STROP_KERNEL void strop_copy_small_columns_mve(const strop_columns *c, int32_t bytes, bool spare) {
    const int32_t fs = c->from_step, ts = c->to_step, moved = spare ? 4 : bytes;
    const int8_t *from = c->from;
    int8_t *to = c->to;
    int32_t n = c->columns;
    for (; n > 4; n -= 4, from += 4 * fs, to += 4 * ts) {
        strop_copy_small_mve(from, to, moved);
        strop_copy_small_mve(from + fs, to + ts, moved);
        strop_copy_small_mve(from + 2 * fs, to + 2 * ts, moved);
        strop_copy_small_mve(from + 3 * fs, to + 3 * ts, moved);
    }
    for (; n > 0; --n, from += fs, to += ts) {
        strop_copy_small_mve(from, to, bytes);
    }
}

#endif
