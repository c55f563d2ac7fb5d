/* Fully connected layer on one row, int8: one row x four channels.
 * Weights: the stream of dot_dsp.h in steps of eight taps, four pairs of taps each; inputs are widened once into the scratch.
 * Registers: r0 inputs, r1 stream, r2-r5 inputs, r6-r9 sums, r10-r12 and lr weights.
 * On the stack: output, row, end of row, end of stream, entry into the steps.
 * Cost of a block of four channels: wide 21, byte 27 instructions a step of 32 multiply-accumulates, 3 for every 8 steps
 * begun, 36 (byte 42) for its outputs. Scratch: 2 bytes per input, filled to eight inputs. */
#ifndef STROP_FULLY_CONNECTED_DSP_H
#define STROP_FULLY_CONNECTED_DSP_H

#include "clamp_dsp.h"
#include "conv_2d.h"

#define STROP_DENSE_STEPS 8
#define STROP_DENSE_WIDE_STEP_BYTES 84
#define STROP_DENSE_BYTE_STEP_BYTES 108

/* back: bytes of code from the first step to the end of the steps, less the Thumb bit. */
typedef struct {
    const int32_t *row, *row_end;
    int32_t back, stream_bytes;
} strop_dense;

/* Inputs less the zero point as int16 in lane order, groups of four as two words; what fills the last group is undefined. */
STROP_SHARED void strop_widen_row(const int8_t *in, int32_t n, int32_t lanes, int32_t *row) {
    const int8_t *const end = in + n / 4 * 4;
    for (; in != end; in += 4, row += 2) {
        const int32_t bytes = strop_load_bytes(in);
        row[0] = strop_widen_even(lanes, bytes);
        row[1] = strop_widen_odd(lanes, bytes);
    }
    int32_t bytes = 0;
    for (int32_t i = 0; i < n % 4; ++i) {
        bytes |= (int32_t)((uint32_t)(uint8_t)in[i] << (8 * i));
    }
    if (n % 4 != 0) {
        row[0] = strop_widen_even(lanes, bytes);
        row[1] = strop_widen_odd(lanes, bytes);
    }
}

#define STROP_DENSE_BEGIN      \
    "ldmia.w r0, {r3-r6}\n\t"  \
    "adr.w r7, 3f\n\t"         \
    "sub.w r7, r7, r5\n\t"     \
    "add.w r6, r6, r1\n\t"     \
    "push {r2-r4, r6, r7}\n\t" \
    "1:\n\t"                   \
    "ldmia.w r1!, {r6-r9}\n\t" \
    "ldr r0, [sp, #4]\n\t"     \
    "ldr pc, [sp, #16]\n\t"    \
    "2:\n\t"                   \
    ".rept 8\n\t"              \
    "ldmia.w r0!, {r2-r5}\n\t"

/* One pair of taps of four channels. */
#define STROP_DENSE_WIDE_PAIR(pair)        \
    "ldmia.w r1!, {r10, r11, r12, lr}\n\t" \
    "smlad r6, " pair ", r10, r6\n\t"      \
    "smlad r7, " pair ", r11, r7\n\t"      \
    "smlad r8, " pair ", r12, r8\n\t"      \
    "smlad r9, " pair ", lr, r9\n\t"

#define STROP_DENSE_WIDE_STEP \
    STROP_DENSE_WIDE_PAIR("r2") STROP_DENSE_WIDE_PAIR("r3") STROP_DENSE_WIDE_PAIR("r4") STROP_DENSE_WIDE_PAIR("r5")

#define STROP_DENSE_BYTE_PAIR(pair, weights_0, weights_1) \
    "smlad r6, " pair ", " weights_0 ", r6\n\t"           \
    "smlad r8, " pair ", " weights_1 ", r8\n\t"           \
    "sxtb16 " weights_0 ", " weights_0 "\n\t"             \
    "sxtb16 " weights_1 ", " weights_1 "\n\t"             \
    "smlad r7, " pair ", " weights_0 ", r7\n\t"           \
    "smlad r9, " pair ", " weights_1 ", r9\n\t"

#define STROP_DENSE_BYTE_STEP                                                          \
    "ldmia.w r1!, {r10, r11, r12, lr}\n\t"                                             \
    STROP_DENSE_BYTE_PAIR("r2", "r10", "r11") STROP_DENSE_BYTE_PAIR("r3", "r12", "lr") \
    "ldmia.w r1!, {r10, r11, r12, lr}\n\t"                                             \
    STROP_DENSE_BYTE_PAIR("r4", "r10", "r11") STROP_DENSE_BYTE_PAIR("r5", "r12", "lr")

#define STROP_DENSE_SPLIT \
    "sub r6, r6, r7\n\t"  \
    "sub r8, r8, r9\n\t"  \
    "asr r6, r6, #7\n\t"  \
    "asr r8, r8, #7\n\t"  \
    "lsl r7, r7, #1\n\t"  \
    "lsl r9, r9, #1\n\t"

#define STROP_DENSE_FINISH(sum)           \
    "ldmia r1!, {r0, r4, r5}\n\t"         \
    "add r3, r4, " sum ", asr #31\n\t"    \
    "smmlar " sum ", " sum ", r0, r3\n\t" \
    "asr " sum ", " sum ", r5\n\t"        \
    "ssat " sum ", #8, " sum "\n\t"       \
    "strb " sum ", [r2], #1\n\t"

#define STROP_DENSE_NEXT   \
    ".endr\n\t"            \
    "3:\n\t"               \
    "ldr r2, [sp, #8]\n\t" \
    "cmp r2, r0\n\t"       \
    "bne.w 2b\n\t"         \
    "ldr r2, [sp]\n\t"

#define STROP_DENSE_END                                                                                 \
    STROP_DENSE_FINISH("r6") STROP_DENSE_FINISH("r7") STROP_DENSE_FINISH("r8") STROP_DENSE_FINISH("r9") \
    "str r2, [sp]\n\t"                                                                                  \
    "ldr r0, [sp, #12]\n\t"                                                                             \
    "cmp r0, r1\n\t"                                                                                    \
    "bne.w 1b\n\t"                                                                                      \
    "add sp, sp, #20\n\t"

#define STROP_DENSE_BODY(STEP, SPLIT)                                                                        \
    register const strop_dense *r0 __asm__("r0") = dense;                                                    \
    register const int32_t *r1 __asm__("r1") = stream;                                                       \
    register int8_t *r2 __asm__("r2") = out;                                                                 \
    __asm__ volatile(STROP_DENSE_BEGIN STEP STROP_DENSE_NEXT SPLIT STROP_DENSE_END                           \
                     : "+r"(r0), "+r"(r1), "+r"(r2)                                                          \
                     :                                                                                       \
                     : "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory"); \
    return r1

/* The blocks of one stream; returns the stream behind them. */
STROP_SHARED const int32_t *strop_dense_wide(const strop_dense *dense, const int32_t *stream, int8_t *out) {
    STROP_DENSE_BODY(STROP_DENSE_WIDE_STEP, "");
}

STROP_SHARED const int32_t *strop_dense_byte(const strop_dense *dense, const int32_t *stream, int8_t *out) {
    STROP_DENSE_BODY(STROP_DENSE_BYTE_STEP, STROP_DENSE_SPLIT);
}

STROP_KERNEL const int32_t *strop_dense_blocks(const strop_dense *dense, const int32_t *stream, int8_t *out, bool wide) {
    return wide ? strop_dense_wide(dense, stream, out) : strop_dense_byte(dense, stream, out);
}

STROP_KERNEL void strop_dense_row_dsp(const int8_t *in, const int32_t *weights, int32_t *row, int8_t *out,
                                  const strop_conv_2d_shape *s, bool wide) {
    const int32_t steps = (s->in_c + 7) / 8;
    const int32_t block_bytes = steps * (wide ? 64 : 32) + 64;
    const int32_t step_bytes = wide ? STROP_DENSE_WIDE_STEP_BYTES : STROP_DENSE_BYTE_STEP_BYTES;
    const int32_t first = (steps - 1) % STROP_DENSE_STEPS + 1;
    const int32_t whole = s->out_c / 4 * 4;
    strop_dense dense = {row, row + 4 * steps, first * step_bytes - 1, whole / 4 * block_bytes};
    strop_widen_row(in, s->in_c, (int32_t)((uint32_t)(uint16_t)s->in_offset * 0x10001U), row);
    if (whole != 0) {
        weights = strop_dense_blocks(&dense, weights, out, wide);
    }
    if (whole != s->out_c) {
        int8_t last[4];
        dense.stream_bytes = block_bytes;
        strop_dense_blocks(&dense, weights, last, wide);
        for (int32_t i = whole; i < s->out_c; ++i) {
            out[i] = last[i - whole];
        }
    }
    strop_clamp_outputs(out, s->out_c, s->act_min, s->act_max);
}

STROP_KERNEL void strop_fully_connected_dsp(const int8_t *restrict in, const int32_t *restrict weights, int32_t *restrict row,
                                            int8_t *restrict out, const strop_conv_2d_shape *s) {
    strop_dense_row_dsp(in, weights, row, out, s, true);
}

STROP_KERNEL void strop_fully_connected_byte_dsp(const int8_t *restrict in, const int32_t *restrict weights,
                                                 int32_t *restrict row, int8_t *restrict out, const strop_conv_2d_shape *s) {
    strop_dense_row_dsp(in, weights, row, out, s, false);
}

#endif
