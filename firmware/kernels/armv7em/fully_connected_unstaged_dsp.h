/* Fully connected layer on one row of int8, whole groups of eight from a word on: five or four channels, no widened copy.
 * First every even input byte is flipped where it lies, so that as unsigned it is the input plus 128. The halves of a word as it
 * is loaded are then even + 256 * odd, and one sxtb16 makes the odd inputs of them:
 *   (even + 256 * odd) * w0 + odd * (w1 - 256 * w0) = even * w0 + odd * w1.
 * The inputs stay flipped: nobody may read them again.
 * Stream of weights, blocks of five channels, then of four: sums | steps | channels x (mantissa, addend, shift) as in
 *   dot_dsp.h, sums not doubled. A step is, for both of its words of four inputs, (w0, w2) of every channel, then
 *   (w1 - 256 * w0, w3 - 256 * w2) of every channel.
 * Registers: r0 inputs, r1 stream, r2-r3 inputs, five: r4-r8 sums, r9-r12 and lr weights, four: r4-r7 sums, r8-r12 and lr
 *   weights. On the stack: output, end of row, row, end of stream, entry into the steps.
 * Cost: five 27 instructions a step of 40 multiply-accumulates, 3 for every 16 steps begun, 34 (signed 39) for its outputs;
 *   four 22 a step of 32, 3 for every 4, 29 (33); 12 for every 32 inputs flipped. No scratch. */
#ifndef STROP_FULLY_CONNECTED_UNSTAGED_DSP_H
#define STROP_FULLY_CONNECTED_UNSTAGED_DSP_H

#include "clamp_dsp.h"
#include "conv_2d.h"

/* Fewer channels are blocks of four: half the code, and the last block may have channels too many. */
#define STROP_UNSTAGED_FIVES_FROM 20
#define STROP_UNSTAGED_FIVE_STEPS 16
#define STROP_UNSTAGED_FOUR_STEPS 4
#define STROP_UNSTAGED_FIVE_STEP_BYTES 108
#define STROP_UNSTAGED_FOUR_STEP_BYTES 88

/* row_end: one less where no output is below the zero point, so that halves of negative sums do not count ("floored").
 * back: bytes of code from the first step to the end of the steps, less the Thumb bit. */
typedef struct {
    const int8_t *row_end, *row;
    int32_t back, stream_bytes;
} strop_unstaged;

/* The sign bits of all even bytes change; n is a multiple of eight. */
STROP_SHARED void strop_flip_even(int8_t *row, int32_t n) {
    const int8_t *const end = row + n, *const end_32 = row + n / 32 * 32;
    while (row != end_32) {
        __asm__ volatile("ldmia.w %0, {r2-r9}\n\t"
                         "eor r2, r2, #0x00800080\n\t"
                         "eor r3, r3, #0x00800080\n\t"
                         "eor r4, r4, #0x00800080\n\t"
                         "eor r5, r5, #0x00800080\n\t"
                         "eor r6, r6, #0x00800080\n\t"
                         "eor r7, r7, #0x00800080\n\t"
                         "eor r8, r8, #0x00800080\n\t"
                         "eor r9, r9, #0x00800080\n\t"
                         "stmia.w %0!, {r2-r9}"
                         : "+r"(row)
                         :
                         : "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "memory");
    }
    while (row != end) {
        __asm__ volatile("ldmia.w %0, {r2, r3}\n\t"
                         "eor r2, r2, #0x00800080\n\t"
                         "eor r3, r3, #0x00800080\n\t"
                         "stmia.w %0!, {r2, r3}"
                         : "+r"(row)
                         :
                         : "r2", "r3", "memory");
    }
}

#define STROP_UNSTAGED_BEGIN(count, sums) \
    "ldmia.w r0, {r3-r6}\n\t"             \
    "adr.w r7, 3f\n\t"                    \
    "sub.w r7, r7, r5\n\t"                \
    "add.w r6, r6, r1\n\t"                \
    "push {r2-r4, r6, r7}\n\t"            \
    "mov r0, r4\n\t"                      \
    "1:\n\t"                              \
    "ldmia.w r1!, {" sums "}\n\t"         \
    "ldr pc, [sp, #16]\n\t"               \
    "2:\n\t"                              \
    ".rept " count "\n\t"                 \
    "ldmia.w r0!, {r2, r3}\n\t"

#define STROP_UNSTAGED_ADD(sum, taps, weights) "smlad " sum ", " taps ", " weights ", " sum "\n\t"

#define STROP_UNSTAGED_ODD(taps) "sxtb16 " taps ", " taps ", ror #8\n\t"

#define STROP_UNSTAGED_FIVE(taps)                                               \
    "ldmia.w r1!, {r9, r10, r11, r12, lr}\n\t"                                  \
    STROP_UNSTAGED_ADD("r4", taps, "r9") STROP_UNSTAGED_ADD("r5", taps, "r10")  \
    STROP_UNSTAGED_ADD("r6", taps, "r11") STROP_UNSTAGED_ADD("r7", taps, "r12") \
    STROP_UNSTAGED_ADD("r8", taps, "lr")

#define STROP_UNSTAGED_FIVE_STEP                                                 \
    STROP_UNSTAGED_FIVE("r2") STROP_UNSTAGED_ODD("r2") STROP_UNSTAGED_FIVE("r2") \
    STROP_UNSTAGED_FIVE("r3") STROP_UNSTAGED_ODD("r3") STROP_UNSTAGED_FIVE("r3")

/* Sixteen words of weights in three loads. */
#define STROP_UNSTAGED_FOUR_STEP                                                \
    "ldmia.w r1!, {r8, r9, r10, r11, r12, lr}\n\t"                              \
    STROP_UNSTAGED_ADD("r4", "r2", "r8") STROP_UNSTAGED_ADD("r5", "r2", "r9")   \
    STROP_UNSTAGED_ADD("r6", "r2", "r10") STROP_UNSTAGED_ADD("r7", "r2", "r11") \
    STROP_UNSTAGED_ODD("r2")                                                    \
    STROP_UNSTAGED_ADD("r4", "r2", "r12") STROP_UNSTAGED_ADD("r5", "r2", "lr")  \
    "ldmia.w r1!, {r8, r9, r10, r11, r12}\n\t"                                  \
    STROP_UNSTAGED_ADD("r6", "r2", "r8") STROP_UNSTAGED_ADD("r7", "r2", "r9")   \
    STROP_UNSTAGED_ADD("r4", "r3", "r10") STROP_UNSTAGED_ADD("r5", "r3", "r11") \
    STROP_UNSTAGED_ADD("r6", "r3", "r12")                                       \
    "ldmia.w r1!, {r8, r9, r10, r11, r12}\n\t"                                  \
    STROP_UNSTAGED_ADD("r7", "r3", "r8") STROP_UNSTAGED_ODD("r3")               \
    STROP_UNSTAGED_ADD("r4", "r3", "r9") STROP_UNSTAGED_ADD("r5", "r3", "r10")  \
    STROP_UNSTAGED_ADD("r6", "r3", "r11") STROP_UNSTAGED_ADD("r7", "r3", "r12")

/* Behind the steps of a block: r2 outputs; on to signed outputs if the end of the row is met, to floored ones if it is passed. */
#define STROP_UNSTAGED_NEXT \
    ".endr\n\t"             \
    "3:\n\t"                \
    "ldrd r2, r3, [sp]\n\t" \
    "cmp r3, r0\n\t"        \
    "bhi.w 2b\n\t"          \
    "bne.w 4f\n\t"

#define STROP_UNSTAGED_SIGNED(sum, addend) "add " addend ", " addend ", " sum ", asr #31\n\t"

#define STROP_UNSTAGED_FLOORED(sum, addend) ""

#define STROP_UNSTAGED_OUTPUT(ROUND, sum, mantissa, addend, shift) \
    ROUND(sum, addend)                                             \
    "lsl " sum ", " sum ", #1\n\t"                                 \
    "smmlar " sum ", " sum ", " mantissa ", " addend "\n\t"        \
    "asr " sum ", " sum ", " shift "\n\t"                          \
    "ssat " sum ", #8, " sum "\n\t"                                \
    "strb " sum ", [r2], #1\n\t"

#define STROP_UNSTAGED_TWO(ROUND, sum_0, sum_1)    \
    "ldmia.w r1!, {r0, r3, r9, r10, r11, r12}\n\t" \
    STROP_UNSTAGED_OUTPUT(ROUND, sum_0, "r0", "r3", "r9") STROP_UNSTAGED_OUTPUT(ROUND, sum_1, "r10", "r11", "r12")

/* The last three of five, with the registers of the first two. */
#define STROP_UNSTAGED_THREE(ROUND)                                                                            \
    "ldmia.w r1!, {r0, r3, r4, r5, r9, r10, r11, r12, lr}\n\t"                                                 \
    STROP_UNSTAGED_OUTPUT(ROUND, "r6", "r0", "r3", "r4") STROP_UNSTAGED_OUTPUT(ROUND, "r7", "r5", "r9", "r10") \
    STROP_UNSTAGED_OUTPUT(ROUND, "r8", "r11", "r12", "lr")

#define STROP_UNSTAGED_FIVE_OUTPUTS(ROUND) STROP_UNSTAGED_TWO(ROUND, "r4", "r5") STROP_UNSTAGED_THREE(ROUND)

#define STROP_UNSTAGED_FOUR_OUTPUTS(ROUND) STROP_UNSTAGED_TWO(ROUND, "r4", "r5") STROP_UNSTAGED_TWO(ROUND, "r6", "r7")

/* On to the next block, r0 at the row again. */
#define STROP_UNSTAGED_AGAIN    \
    "str r2, [sp]\n\t"          \
    "ldrd r0, r3, [sp, #8]\n\t" \
    "cmp r3, r1\n\t"            \
    "bne.w 1b\n\t"

#define STROP_UNSTAGED_END(OUTPUTS)                      \
    OUTPUTS(STROP_UNSTAGED_SIGNED) STROP_UNSTAGED_AGAIN  \
    "b.w 5f\n\t"                                         \
    "4:\n\t"                                             \
    OUTPUTS(STROP_UNSTAGED_FLOORED) STROP_UNSTAGED_AGAIN \
    "5:\n\t"                                             \
    "add sp, sp, #20\n\t"

#define STROP_UNSTAGED_BODY(BEGIN, STEP, OUTPUTS)                                                            \
    register const strop_unstaged *r0 __asm__("r0") = dense;                                                 \
    register const int32_t *r1 __asm__("r1") = stream;                                                       \
    register int8_t *r2 __asm__("r2") = out;                                                                 \
    __asm__ volatile(BEGIN STEP STROP_UNSTAGED_NEXT STROP_UNSTAGED_END(OUTPUTS)                              \
                     : "+r"(r0), "+r"(r1), "+r"(r2)                                                          \
                     :                                                                                       \
                     : "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory"); \
    return r1

/* The blocks of one stream; returns the stream behind them. */
STROP_SHARED const int32_t *strop_unstaged_fives(const strop_unstaged *dense, const int32_t *stream, int8_t *out) {
    STROP_UNSTAGED_BODY(STROP_UNSTAGED_BEGIN("16", "r4-r8"), STROP_UNSTAGED_FIVE_STEP, STROP_UNSTAGED_FIVE_OUTPUTS);
}

STROP_SHARED const int32_t *strop_unstaged_fours(const strop_unstaged *dense, const int32_t *stream, int8_t *out) {
    STROP_UNSTAGED_BODY(STROP_UNSTAGED_BEGIN("4", "r4-r7"), STROP_UNSTAGED_FOUR_STEP, STROP_UNSTAGED_FOUR_OUTPUTS);
}

/* So many blocks of a size. The entry is where as many steps are left as go beyond whole turns of the loop. */
STROP_KERNEL strop_unstaged strop_unstaged_of(const int8_t *row, const strop_conv_2d_shape *s, int32_t channels, int32_t blocks) {
    const int32_t steps = s->in_c / 8;
    const int32_t unrolled = channels == 5 ? STROP_UNSTAGED_FIVE_STEPS : STROP_UNSTAGED_FOUR_STEPS;
    const int32_t step_bytes = channels == 5 ? STROP_UNSTAGED_FIVE_STEP_BYTES : STROP_UNSTAGED_FOUR_STEP_BYTES;
    const int32_t first = (steps - 1) % unrolled + 1;
    const bool floored = s->act_min >= s->out_offset;
    const strop_unstaged dense = {row + s->in_c - (floored ? 1 : 0), row, first * step_bytes - 1,
                                  blocks * 16 * channels * (steps + 1)};
    return dense;
}

STROP_KERNEL void strop_fully_connected_unstaged_dsp(int8_t *restrict in, const int32_t *restrict weights, int8_t *restrict out,
                                                     const strop_conv_2d_shape *s) {
    const int32_t fours = s->out_c < STROP_UNSTAGED_FIVES_FROM ? (s->out_c + 3) / 4 : 4 * s->out_c % 5;
    const int32_t fives = (s->out_c - 4 * fours) / 5;
    const int32_t whole = (s->out_c - 5 * fives) / 4;
    int8_t *const out_4 = out + 5 * fives, *const rest = out_4 + 4 * whole, *const end = out + s->out_c;
    strop_flip_even(in, s->in_c);
    if (fives != 0) {
        const strop_unstaged dense = strop_unstaged_of(in, s, 5, fives);
        weights = strop_unstaged_fives(&dense, weights, out);
    }
    if (whole != 0) {
        const strop_unstaged dense = strop_unstaged_of(in, s, 4, whole);
        weights = strop_unstaged_fours(&dense, weights, out_4);
    }
    if (whole != fours) {
        int8_t last[4];
        const strop_unstaged dense = strop_unstaged_of(in, s, 4, 1);
        strop_unstaged_fours(&dense, weights, last);
        for (int32_t i = 0; i < end - rest; ++i) {
            rest[i] = last[i];
        }
    }
    strop_clamp_outputs(out, s->out_c, s->act_min, s->act_max);
}

#endif
