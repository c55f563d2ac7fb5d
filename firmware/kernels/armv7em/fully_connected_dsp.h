/* Fully connected layer on one row, int8: one row x four channels.
 * Weights: the stream of conv_2d_dsp.h, doubled, in lane order. The inputs are widened once into the scratch.
 * Registers: 4 accumulators, 2 activations, 4 weights, 2 pointers.
 * Cost: 0.69 instructions per MAC + 0.1 of loop, 9 per output. Scratch: 2 bytes per input, filled to four inputs. */
#ifndef STROP_FULLY_CONNECTED_DSP_H
#define STROP_FULLY_CONNECTED_DSP_H

#include "conv_2d_dsp.h"

/* Inputs less the zero point as int16 in lane order, groups of four as two words. */
STROP_KERNEL void strop_widen_row(const int8_t *in, int32_t n, int32_t offset, int32_t *row) {
    const int32_t lanes = (int32_t)((uint32_t)(uint16_t)offset * 0x10001U);
    const int8_t *const end = in + n / 4 * 4;
    for (; in != end; in += 4, row += 2) {
        const int32_t bytes = strop_load_bytes(in);
        row[0] = strop_widen_even(lanes, bytes);
        row[1] = strop_widen_odd(lanes, bytes);
    }
    int16_t *const tail = (int16_t *)(void *)row;
    for (int32_t lane = 0; lane < n % 4; ++lane) {
        tail[2 * (lane & 1) + (lane >> 1)] = (int16_t)(in[lane] + offset);
    }
}

/* Four taps of four channels: 11 instructions for 16 multiply-accumulates. */
#define STROP_STEP_1X4                     \
    "ldrd %[a0], %[a1], [%[a]], #8\n\t"    \
    "ldmia %[w]!, {r8, r9, r10, r11}\n\t"  \
    "smlad %[s0], %[a0], r8, %[s0]\n\t"    \
    "smlad %[s1], %[a0], r9, %[s1]\n\t"    \
    "smlad %[s2], %[a0], r10, %[s2]\n\t"   \
    "smlad %[s3], %[a0], r11, %[s3]\n\t"   \
    "ldmia %[w]!, {r8, r9, r10, r11}\n\t"  \
    "smlad %[s0], %[a1], r8, %[s0]\n\t"    \
    "smlad %[s1], %[a1], r9, %[s1]\n\t"    \
    "smlad %[s2], %[a1], r10, %[s2]\n\t"   \
    "smlad %[s3], %[a1], r11, %[s3]\n\t"

#define STROP_LOOP_1X4(STEPS)                                                                                        \
    __asm__ volatile("push {%[a0]}\n\t"                                                                              \
                     "1:\n\t" STEPS "ldr r8, [sp]\n\t"                                                               \
                     "cmp r8, %[a]\n\t"                                                                              \
                     "bne 1b\n\t"                                                                                    \
                     "add sp, sp, #4\n\t"                                                                            \
                     : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [a] "+r"(a), [w] "+r"(w),         \
                       [a0] "+r"(a0), [a1] "=&r"(a1)                                                                 \
                     :                                                                                               \
                     : "cc", "memory", "r8", "r9", "r10", "r11")

/* One channel of the row. p: mantissa, addend, shift, bounds. */
STROP_KERNEL int8_t strop_requantize_one_dsp(int32_t sum, const int32_t *p, strop_finish finish) {
    return strop_requantize_dsp(sum, p[0], p[1], p[2], p[3], finish);
}

/* One block of four channels; returns the stream behind it. words: of the widened row. */
STROP_KERNEL const int32_t *strop_dense_block(const int32_t *a, const int32_t *w, int32_t words, int8_t *out,
                                              strop_finish finish) {
    int32_t s0 = w[0], s1 = w[1], s2 = w[2], s3 = w[3];
    int32_t a0 = (int32_t)(intptr_t)(a + words), a1;
    w += 4;
    if (words % 8 == 0) {
        STROP_LOOP_1X4(STROP_STEP_1X4 STROP_STEP_1X4 STROP_STEP_1X4 STROP_STEP_1X4);
    } else {
        STROP_LOOP_1X4(STROP_STEP_1X4);
    }
    out[0] = strop_requantize_one_dsp(s0, w, finish);
    out[1] = strop_requantize_one_dsp(s1, w + 4, finish);
    out[2] = strop_requantize_one_dsp(s2, w + 8, finish);
    out[3] = strop_requantize_one_dsp(s3, w + 12, finish);
    return w + 16;
}

STROP_SHARED const int32_t *strop_dense_block_floored(const int32_t *a, const int32_t *w, int32_t words, int8_t *out) {
    return strop_dense_block(a, w, words, out, (strop_finish){true, false});
}

STROP_SHARED const int32_t *strop_dense_block_floored_clamped(const int32_t *a, const int32_t *w, int32_t words, int8_t *out) {
    return strop_dense_block(a, w, words, out, (strop_finish){true, true});
}

STROP_SHARED const int32_t *strop_dense_block_signed(const int32_t *a, const int32_t *w, int32_t words, int8_t *out) {
    return strop_dense_block(a, w, words, out, (strop_finish){false, false});
}

STROP_SHARED const int32_t *strop_dense_block_signed_clamped(const int32_t *a, const int32_t *w, int32_t words, int8_t *out) {
    return strop_dense_block(a, w, words, out, (strop_finish){false, true});
}

/* Calls the block that finishes as asked. */
STROP_KERNEL const int32_t *strop_dense_block_1x4(const int32_t *a, const int32_t *w, int32_t words, int8_t *out,
                                                  strop_finish finish) {
    if (finish.floored) {
        return finish.clamped ? strop_dense_block_floored_clamped(a, w, words, out) : strop_dense_block_floored(a, w, words, out);
    }
    return finish.clamped ? strop_dense_block_signed_clamped(a, w, words, out) : strop_dense_block_signed(a, w, words, out);
}

STROP_KERNEL void strop_fully_connected_dsp(const int8_t *restrict in, const int32_t *restrict weights, int32_t *restrict row,
                                            int8_t *restrict out, const strop_conv_2d_shape *s) {
    const int32_t words = (s->in_c + 3) / 4 * 2;
    strop_widen_row(in, s->in_c, s->in_offset, row);
    int32_t c = 0;
    for (; c + 4 <= s->out_c; c += 4) {
        weights = strop_dense_block_1x4(row, weights, words, out + c, strop_finish_of(s));
    }
    if (s->out_c % 4 != 0) {
        int8_t last[4];
        strop_dense_block_1x4(row, weights, words, last, strop_finish_of(s));
        for (int32_t i = 0; i < s->out_c % 4; ++i) {
            out[c + i] = last[i];
        }
    }
}

#endif
