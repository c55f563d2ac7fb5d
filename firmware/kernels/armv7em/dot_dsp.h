/* All output channels of two gathered pixels: the heart of the Armv7E-M convolutions, compiled once for every shape.
 * Stream of weights, for each block of four channels: 4 biases | steps | 4 x (mantissa, addend, shift).
 *   wide: a step is two int16 taps of each channel, 4 words; weights and biases are doubled, so that the high half of a
 *     product with the mantissa is the doubling multiply.
 *   byte: a step is 2 words, each with two taps of two channels as lanes of 256 * first + second channel, so that one word
 *     serves both: as it is it sums 256 * first + second, sign extended from its low bytes it sums the second channel.
 *   half, for int16 outputs: as wide, but not doubled, and behind the steps 4 mantissas times 2^(32 - right shift).
 * addend = (1 << (shift - 1)) + (output zero point << shift): rounding and zero point in one addition.
 * Registers: r0 activations, r1 stream, r2-r3 activations, r4-r5 weights, r6-r9 sums of pixel 0, r10-r12 and lr of pixel 1.
 * On the stack: output 0, output 1, pair, end of pair, end of stream, entry into the steps.
 * Cost of a block: wide 11, byte 12 instructions a step of 16 multiply-accumulates, 3 for every 16 steps begun, and for
 * its eight outputs 49 (floored) or 58 (signed) and 12 more of byte weights. */
#ifndef STROP_DOT_DSP_H
#define STROP_DOT_DSP_H

#include "dsp.h"

#define STROP_DOT_STEPS 16
#define STROP_WIDE_STEP_BYTES 44
#define STROP_BYTE_STEP_BYTES 48

/* What all pixels of a layer share. back: bytes of code from the first step to the end of the steps, less the Thumb bit. */
typedef struct {
    const int32_t *pair, *pair_end;
    int32_t back, stream_bytes;
} strop_dot;

/* The blocks to run are set later. steps: of two taps. */
STROP_KERNEL strop_dot strop_dot_of(const int32_t *pair, int32_t steps, int32_t step_bytes) {
    const int32_t first = (steps - 1) % STROP_DOT_STEPS + 1;
    const strop_dot dot = {pair, pair + 2 * steps, first * step_bytes - 1, 0};
    return dot;
}

#define STROP_DOT_BEGIN         \
    "ldmia.w r0, {r4-r7}\n\t"   \
    "adr.w r9, 3f\n\t"          \
    "sub.w r9, r9, r6\n\t"      \
    "add.w r7, r7, r1\n\t"      \
    "push {r2-r5, r7, r9}\n\t"  \
    "1:\n\t"                    \
    "ldmia r1!, {r6-r9}\n\t"    \
    "mov r10, r6\n\t"           \
    "mov r11, r7\n\t"           \
    "mov r12, r8\n\t"           \
    "mov lr, r9\n\t"            \
    "ldr r0, [sp, #8]\n\t"      \
    "ldr pc, [sp, #20]\n\t"     \
    "2:\n\t"                    \
    ".rept 16\n\t"              \
    "ldrd r2, r3, [r0], #8\n\t" \
    "ldrd r4, r5, [r1], #8\n\t"

#define STROP_DOT_WIDE_STEP      \
    "smlad r6, r2, r4, r6\n\t"   \
    "smlad r10, r3, r4, r10\n\t" \
    "smlad r7, r2, r5, r7\n\t"   \
    "smlad r11, r3, r5, r11\n\t" \
    "ldrd r4, r5, [r1], #8\n\t"  \
    "smlad r8, r2, r4, r8\n\t"   \
    "smlad r12, r3, r4, r12\n\t" \
    "smlad r9, r2, r5, r9\n\t"   \
    "smlad lr, r3, r5, lr\n\t"

#define STROP_DOT_BYTE_STEP      \
    "smlad r6, r2, r4, r6\n\t"   \
    "smlad r10, r3, r4, r10\n\t" \
    "sxtb16 r4, r4\n\t"          \
    "smlad r8, r2, r5, r8\n\t"   \
    "smlad r12, r3, r5, r12\n\t" \
    "sxtb16 r5, r5\n\t"          \
    "smlad r7, r2, r4, r7\n\t"   \
    "smlad r11, r3, r4, r11\n\t" \
    "smlad r9, r2, r5, r9\n\t"   \
    "smlad lr, r3, r5, lr\n\t"

#define STROP_DOT_NEXT      \
    ".endr\n\t"             \
    "3:\n\t"                \
    "ldr r2, [sp, #12]\n\t" \
    "cmp r2, r0\n\t"        \
    "bne.w 2b\n\t"          \
    "ldrd r2, r3, [sp]\n\t"

/* 256 * first + second of all sums become twice the first and twice the second. */
#define STROP_DOT_SPLIT     \
    "sub r6, r6, r7\n\t"    \
    "sub r8, r8, r9\n\t"    \
    "sub r10, r10, r11\n\t" \
    "sub r12, r12, lr\n\t"  \
    "asr r6, r6, #7\n\t"    \
    "asr r8, r8, #7\n\t"    \
    "asr r10, r10, #7\n\t"  \
    "asr r12, r12, #7\n\t"  \
    "lsl r7, r7, #1\n\t"    \
    "lsl r9, r9, #1\n\t"    \
    "lsl r11, r11, #1\n\t"  \
    "lsl lr, lr, #1\n\t"

/* Bounds and bytes of one channel of both pixels. */
#define STROP_DOT_STORE(sum_0, sum_1)   \
    "asr " sum_0 ", " sum_0 ", r5\n\t"  \
    "asr " sum_1 ", " sum_1 ", r5\n\t"  \
    "ssat " sum_0 ", #8, " sum_0 "\n\t" \
    "ssat " sum_1 ", #8, " sum_1 "\n\t" \
    "strb " sum_0 ", [r2], #1\n\t"      \
    "strb " sum_1 ", [r3], #1\n\t"

#define STROP_DOT_FLOORED(sum_0, sum_1)       \
    "ldmia r1!, {r0, r4, r5}\n\t"             \
    "smmlar " sum_0 ", " sum_0 ", r0, r4\n\t" \
    "smmlar " sum_1 ", " sum_1 ", r0, r4\n\t" \
    STROP_DOT_STORE(sum_0, sum_1)

/* spare: a register that is free. then: what brings back its value. */
#define STROP_DOT_SIGNED(sum_0, sum_1, spare, then)  \
    "ldmia r1!, {r0, r4, r5}\n\t"                    \
    "add " spare ", r4, " sum_0 ", asr #31\n\t"      \
    "add r4, r4, " sum_1 ", asr #31\n\t"             \
    "smmlar " sum_0 ", " sum_0 ", r0, " spare "\n\t" \
    "smmlar " sum_1 ", " sum_1 ", r0, r4\n\t"        \
    then STROP_DOT_STORE(sum_0, sum_1)

/* One int16 channel: the mantissa's high product is the rounded output. */
#define STROP_DOT_HALF(sum_0, sum_1)      \
    "ldr r0, [r1], #4\n\t"                \
    "smmulr " sum_0 ", " sum_0 ", r0\n\t" \
    "smmulr " sum_1 ", " sum_1 ", r0\n\t" \
    "ssat " sum_0 ", #16, " sum_0 "\n\t"  \
    "ssat " sum_1 ", #16, " sum_1 "\n\t"  \
    "strh " sum_0 ", [r2], #2\n\t"        \
    "strh " sum_1 ", [r3], #2\n\t"

#define STROP_DOT_HALF_ALL \
    STROP_DOT_HALF("r6", "r10") STROP_DOT_HALF("r7", "r11") STROP_DOT_HALF("r8", "r12") STROP_DOT_HALF("r9", "lr")

#define STROP_DOT_END       \
    "strd r2, r3, [sp]\n\t" \
    "ldr r0, [sp, #16]\n\t" \
    "cmp r0, r1\n\t"        \
    "bne.w 1b\n\t"          \
    "add sp, sp, #24\n\t"

#define STROP_DOT_FLOORED_ALL                                                                    \
    STROP_DOT_FLOORED("r6", "r10") STROP_DOT_FLOORED("r7", "r11") STROP_DOT_FLOORED("r8", "r12") \
    STROP_DOT_FLOORED("r9", "lr")

#define STROP_DOT_SIGNED_ALL(reload)                                                    \
    STROP_DOT_SIGNED("r6", "r10", "r3", reload) STROP_DOT_SIGNED("r7", "r11", "r6", "") \
    STROP_DOT_SIGNED("r8", "r12", "r6", "") STROP_DOT_SIGNED("r9", "lr", "r6", "")

#define STROP_DOT_BODY(STEP, SPLIT, FINISH)                                                            \
    register const strop_dot *r0 __asm__("r0") = dot;                                                  \
    register const int32_t *r1 __asm__("r1") = stream;                                                 \
    register int8_t *r2 __asm__("r2") = out_0;                                                         \
    register int8_t *r3 __asm__("r3") = out_1;                                                         \
    __asm__ volatile(STROP_DOT_BEGIN STEP STROP_DOT_NEXT SPLIT FINISH STROP_DOT_END                    \
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)                                          \
                     :                                                                                 \
                     : "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory"); \
    return r1

/* The blocks of one stream; returns the stream behind them. Outputs of a pixel lie one after the other. floored: no output
 * is below the zero point. signed: some are, and halves of negative sums need their own rounding. */
STROP_SHARED const int32_t *strop_dot_wide_floored(const strop_dot *dot, const int32_t *stream, int8_t *out_0, int8_t *out_1) {
    STROP_DOT_BODY(STROP_DOT_WIDE_STEP, "", STROP_DOT_FLOORED_ALL);
}

STROP_SHARED const int32_t *strop_dot_wide_signed(const strop_dot *dot, const int32_t *stream, int8_t *out_0, int8_t *out_1) {
    STROP_DOT_BODY(STROP_DOT_WIDE_STEP, "", STROP_DOT_SIGNED_ALL("ldr r3, [sp, #4]\n\t"));
}

STROP_SHARED const int32_t *strop_dot_byte_floored(const strop_dot *dot, const int32_t *stream, int8_t *out_0, int8_t *out_1) {
    STROP_DOT_BODY(STROP_DOT_BYTE_STEP, STROP_DOT_SPLIT, STROP_DOT_FLOORED_ALL);
}

STROP_SHARED const int32_t *strop_dot_byte_signed(const strop_dot *dot, const int32_t *stream, int8_t *out_0, int8_t *out_1) {
    STROP_DOT_BODY(STROP_DOT_BYTE_STEP, STROP_DOT_SPLIT, STROP_DOT_SIGNED_ALL("ldr r3, [sp, #4]\n\t"));
}

STROP_SHARED const int32_t *strop_dot_half(const strop_dot *dot, const int32_t *stream, int8_t *out_0, int8_t *out_1) {
    STROP_DOT_BODY(STROP_DOT_WIDE_STEP, "", STROP_DOT_HALF_ALL);
}

#endif
