/* Depthwise convolution, int8, multiplier 1, at least four channels, any kernel, stride, dilation and padding: one pixel x four
 * channels, inputs read where they lie. For layers whose inputs are used too few times to pay for a plane.
 * Weights, for each block of four channels: 4 doubled biases | for each tap doubled weights (w0, w2), (w1, w3) as int16 lanes |
 * 4 x (mantissa, addend, shift). The last block overlaps the one before it where the channels are no multiple of four.
 * Registers: r0 inputs, r1 stream, r2-r3 taps of a row and rows, r4-r7 sums, r8 and r11 lanes of inputs, r9-r10 weights,
 * r12 offset, lr bytes from a tap to the next.
 * Cost: 2.4 instructions per MAC, 3 per row of taps and output, 14 per output, 70 per pixel. No scratch. */
#ifndef STROP_DEPTHWISE_BLOCK_DSP_H
#define STROP_DEPTHWISE_BLOCK_DSP_H

#include "clamp_dsp.h"
#include "conv_2d.h"

/* One pixel. Bytes: column from a tap to the next in the input, first_tap of the stream before the first tap inside, row_skip
 * and tap_skip from the end of a row of taps to the next, parameters from a block's first tap to its parameters; last: channels
 * from the block before the last to the last. */
typedef struct {
    const int8_t *in;
    const int32_t *stream;
    int8_t *out;
    int32_t blocks, rows, columns, row_skip, tap_skip, first_tap, parameters, last;
    int32_t lanes, column;
} strop_depthwise_place;

/* One tap of four channels. */
#define STROP_BLOCK_TAP               \
    "ldr r8, [r0]\n\t"                \
    "add r0, r0, lr\n\t"              \
    "ldrd r9, r10, [r1], #8\n\t"      \
    "sxtab16 r11, r12, r8\n\t"        \
    "sxtab16 r8, r12, r8, ror #8\n\t" \
    "smlabb r4, r11, r9, r4\n\t"      \
    "smlatt r6, r11, r9, r6\n\t"      \
    "smlabb r5, r8, r10, r5\n\t"      \
    "smlatt r7, r8, r10, r7\n\t"

#define STROP_BLOCK_FINISH(sum)            \
    "ldmia.w r1!, {r8-r10}\n\t"            \
    "add r11, r9, " sum ", asr #31\n\t"    \
    "smmlar " sum ", " sum ", r8, r11\n\t" \
    "asr " sum ", " sum ", r10\n\t"        \
    "ssat " sum ", #8, " sum "\n\t"        \
    "strb " sum ", [r2], #1\n\t"

/* All blocks of one pixel; on the stack: the struct without its last two members. */
STROP_SHARED void strop_depthwise_blocks(const strop_depthwise_place *pixel) {
    register const strop_depthwise_place *r0 __asm__("r0") = pixel;
    __asm__ volatile("add r1, r0, #44\n\t"
                     "ldmia.w r1, {r12, lr}\n\t"
                     "ldmia.w r0!, {r1-r6}\n\t"
                     "ldmia.w r0, {r7-r11}\n\t"
                     "push {r1-r11}\n"
                     "1:\n\t"
                     "ldrd r0, r1, [sp]\n\t"
                     "ldr r2, [sp, #32]\n\t"
                     "ldr r3, [sp, #16]\n\t"
                     "ldmia.w r1!, {r4-r7}\n\t"
                     "add r1, r1, r2\n\t"
                     "cmp r3, #0\n\t"
                     "beq 5f\n"
                     "2:\n\t"
                     "ldr r2, [sp, #20]\n\t"
                     "lsls r8, r2, #31\n\t"
                     "beq 3f\n\t" STROP_BLOCK_TAP
                     "subs r2, r2, #1\n\t"
                     "beq 4f\n"
                     "3:\n\t" STROP_BLOCK_TAP STROP_BLOCK_TAP
                     "subs r2, r2, #2\n\t"
                     "bne 3b\n"
                     "4:\n\t"
                     "ldrd r8, r9, [sp, #24]\n\t"
                     "add r0, r0, r8\n\t"
                     "add r1, r1, r9\n\t"
                     "subs r3, r3, #1\n\t"
                     "bne 2b\n"
                     "5:\n\t"
                     "ldrd r1, r2, [sp, #4]\n\t"
                     "ldr r3, [sp, #36]\n\t"
                     "add r1, r1, r3\n\t" STROP_BLOCK_FINISH("r4") STROP_BLOCK_FINISH("r5") STROP_BLOCK_FINISH("r6")
                         STROP_BLOCK_FINISH("r7") "ldr r3, [sp, #12]\n\t"
                     "subs r3, r3, #1\n\t"
                     "beq 6f\n\t"
                     "ldr r0, [sp]\n\t"
                     "ldr r4, [sp, #40]\n\t"
                     "cmp r3, #1\n\t"
                     "it ne\n\t"
                     "movne r4, #4\n\t"
                     "add r0, r0, r4\n\t"
                     "sub r4, r4, #4\n\t"
                     "add r2, r2, r4\n\t"
                     "strd r0, r1, [sp]\n\t"
                     "strd r2, r3, [sp, #8]\n\t"
                     "b 1b\n"
                     "6:\n\t"
                     "add sp, sp, #44"
                     : "+r"(r0)
                     :
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
}

STROP_KERNEL void strop_depthwise_block_dsp(const int8_t *restrict in, const int32_t *restrict weights, int8_t *restrict out,
                                            const strop_conv_2d_shape *s) {
    const int32_t lanes = (int32_t)((uint32_t)(uint16_t)s->in_offset * 0x10001U);
    const int32_t pixels = s->out_h * s->out_w;
    for (int32_t pixel = 0; pixel < s->batch * pixels; ++pixel) {
        const int32_t oy = pixel % pixels / s->out_w, ox = pixel % pixels % s->out_w;
        const strop_window w = strop_window_at(s, oy, ox);
        const int32_t columns = strop_max(w.end_x - w.first_x, 0);
        const int32_t y = pixel / pixels * s->in_h + w.y + w.first_y * s->dilation_h;
        const strop_depthwise_place one = {
            in + (y * s->in_w + w.x + w.first_x * s->dilation_w) * s->in_c,
            weights,
            out + pixel * s->out_c,
            (s->in_c + 3) / 4,
            columns == 0 ? 0 : strop_max(w.end_y - w.first_y, 0),
            columns,
            (s->dilation_h * s->in_w - columns * s->dilation_w) * s->in_c,
            8 * (s->k_w - columns),
            8 * (w.first_y * s->k_w + w.first_x),
            16 + 8 * s->k_h * s->k_w,
            (s->in_c - 1) % 4 + 1,
            lanes,
            s->dilation_w * s->in_c,
        };
        strop_depthwise_blocks(&one);
    }
    strop_clamp_outputs(out, s->batch * pixels * s->out_c, s->act_min, s->act_max);
}

#endif
