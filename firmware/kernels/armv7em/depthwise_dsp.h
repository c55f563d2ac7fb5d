/* Depthwise convolution, int8, any kernel, stride, dilation, padding and multiplier. One channel at a time: its plane is
 * copied to int16 with a border of the zero point (folded into the biases), so that pairs of taps are words of it.
 * Columns and rows may be exchanged by the binding: a row is what is computed in one go.
 * Weights per output channel: bias | for each row of taps its words | mantissa, addend, shift; weights and biases are
 * doubled as in dot_dsp.h. Words of a row of the 3x3 kernels: (w0, w1), (w1, w2); of the others (w0, w1), (w2, w3) …, 0 last.
 * Dilated columns are kept in as many parts of a plane row as the dilation, so that the taps of an output are neighbours.
 * Cost of a 3x3 at stride 1: 15.3 instructions per output and 2.5 per input element, 15 per row, 60 per channel.
 * Scratch: the plane. */
#ifndef STROP_DEPTHWISE_DSP_H
#define STROP_DEPTHWISE_DSP_H

#include "clamp_dsp.h"

/* Steps are in elements: from one row or column of a tensor to the next. plane_w: elements of one part of a plane row. */
typedef struct {
    int32_t batch, channels, multiplier;
    int32_t in_h, in_w, in_row, in_column, out_h, out_w, out_row, out_column;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t plane_h, plane_w, zero, act_min, act_max, is_signed;
} strop_depthwise_dsp_shape;

/* Rows of bytes to rows of int16. steps: in elements; columns and rows at least one. */
typedef struct {
    int32_t columns, rows, from_column, from_row, to_row;
} strop_plane_copy_dsp;

#define STROP_COPY_FOUR              \
    "ldrsb r4, [r0]\n\t"             \
    "ldrsb r5, [r0, r3]\n\t"         \
    "ldrsb r6, [r0, r3, lsl #1]\n\t" \
    "ldrsb r7, [r0, r12]\n\t"        \
    "strh r4, [r1], #8\n\t"          \
    "add r0, r0, r3, lsl #2\n\t"     \
    "strh r5, [r1, #-6]\n\t"         \
    "strh r6, [r1, #-4]\n\t"         \
    "strh r7, [r1, #-2]\n\t"

STROP_SHARED void strop_copy_plane(const int8_t *from, int16_t *to, const strop_plane_copy_dsp *copy) {
    register const int8_t *r0 __asm__("r0") = from;
    register int16_t *r1 __asm__("r1") = to;
    register const strop_plane_copy_dsp *r2 __asm__("r2") = copy;
    __asm__ volatile("ldr r8, [r2]\n\t"
                     "ldr r9, [r2, #4]\n\t"
                     "ldr r3, [r2, #8]\n\t"
                     "ldr r10, [r2, #12]\n\t"
                     "ldr r11, [r2, #16]\n\t"
                     "lsl r11, r11, #1\n\t"
                     "add r12, r3, r3, lsl #1\n\t"
                     "mls r10, r8, r3, r10\n\t"
                     "sub r11, r11, r8, lsl #1\n"
                     "1:\n\t"
                     "subs r2, r8, #8\n\t"
                     "blo 3f\n"
                     "2:\n\t" STROP_COPY_FOUR STROP_COPY_FOUR
                     "subs r2, r2, #8\n\t"
                     "bhs 2b\n"
                     "3:\n\t"
                     "lsls r2, r8, #30\n\t"
                     "bcc 4f\n\t" STROP_COPY_FOUR
                     "4:\n\t"
                     "bpl 5f\n\t"
                     "ldrsb r4, [r0]\n\t"
                     "ldrsb r5, [r0, r3]\n\t"
                     "add r0, r0, r3, lsl #1\n\t"
                     "strh r4, [r1], #2\n\t"
                     "strh r5, [r1], #2\n"
                     "5:\n\t"
                     "lsls r2, r8, #31\n\t"
                     "bpl 6f\n\t"
                     "ldrsb r4, [r0]\n\t"
                     "add r0, r0, r3\n\t"
                     "strh r4, [r1], #2\n"
                     "6:\n\t"
                     "add r0, r0, r10\n\t"
                     "add r1, r1, r11\n\t"
                     "subs r9, r9, #1\n\t"
                     "bne 1b\n\t"
                     : "+r"(r0), "+r"(r1), "+r"(r2)
                     :
                     : "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "cc", "memory");
}

/* n elements of the zero point, n even. */
STROP_SHARED void strop_fill_plane(int16_t *plane, int32_t n, int32_t zero) {
    int32_t *word = (int32_t *)(void *)plane;
    for (const int32_t *const end = word + n / 2; word != end; ++word) {
        *word = (int32_t)((uint32_t)(uint16_t)zero * 0x10001U);
    }
}

/* What all channels of a layer share. Bytes: of a plane row, of an output column, of the plane that the whole groups of four
 * outputs pass, and from a row of outputs to the next in the plane and in the outputs. */
typedef struct {
    int32_t plane_row, out_column, groups, rest, rows, plane_step, out_step;
} strop_depthwise_3x3;

/* Four outputs of one row of taps at stride 1: r2 plane, r1 weights; next steps r2 to the next row. */
#define STROP_TAPS_FOUR_1(next)   \
    "ldmia.w r2, {r8-r10}\n\t"    \
    "ldrd r11, r12, [r1], #8\n\t" \
    next                          \
    "smlad r4, r8, r11, r4\n\t"   \
    "smlabt r4, r9, r12, r4\n\t"  \
    "smlatb r5, r8, r11, r5\n\t"  \
    "smlad r5, r9, r12, r5\n\t"   \
    "smlad r6, r9, r11, r6\n\t"   \
    "smlabt r6, r10, r12, r6\n\t" \
    "smlatb r7, r9, r11, r7\n\t"  \
    "smlad r7, r10, r12, r7\n\t"

/* The same at stride 2. */
#define STROP_TAPS_FOUR_2(next)   \
    "ldmia.w r2, {r8-r10}\n\t"    \
    "ldrd r11, r12, [r1], #8\n\t" \
    "smlad r4, r8, r11, r4\n\t"   \
    "smlabt r4, r9, r12, r4\n\t"  \
    "smlad r5, r9, r11, r5\n\t"   \
    "smlabt r5, r10, r12, r5\n\t" \
    "ldrd r8, r9, [r2, #12]\n\t"  \
    next                          \
    "smlad r6, r10, r11, r6\n\t"  \
    "smlabt r6, r8, r12, r6\n\t"  \
    "smlad r7, r8, r11, r7\n\t"   \
    "smlabt r7, r9, r12, r7\n\t"

/* Two outputs of one row of taps. */
#define STROP_TAPS_TWO_1(next)    \
    "ldrd r8, r9, [r2]\n\t"       \
    "ldrd r11, r12, [r1], #8\n\t" \
    next                          \
    "smlad r4, r8, r11, r4\n\t"   \
    "smlabt r4, r9, r12, r4\n\t"  \
    "smlatb r5, r8, r11, r5\n\t"  \
    "smlad r5, r9, r12, r5\n\t"

#define STROP_TAPS_TWO_2(next)    \
    "ldmia.w r2, {r8-r10}\n\t"    \
    "ldrd r11, r12, [r1], #8\n\t" \
    next                          \
    "smlad r4, r8, r11, r4\n\t"   \
    "smlabt r4, r9, r12, r4\n\t"  \
    "smlad r5, r9, r11, r5\n\t"   \
    "smlabt r5, r10, r12, r5\n\t"

/* One output: r8 mantissa, r9 addend, r10 shift. */
#define STROP_PLANE_FLOORED(sum)          \
    "smmlar " sum ", " sum ", r8, r9\n\t" \
    "asr " sum ", " sum ", r10\n\t"       \
    "ssat " sum ", #8, " sum "\n\t"

#define STROP_PLANE_SIGNED(sum)            \
    "add r11, r9, " sum ", asr #31\n\t"    \
    "smmlar " sum ", " sum ", r8, r11\n\t" \
    "asr " sum ", " sum ", r10\n\t"        \
    "ssat " sum ", #8, " sum "\n\t"

/* Three rows of taps, then the next outputs' plane, bytes further. Addresses are stepped well before they are used. */
#define STROP_TAPS_ROWS(TAPS, bytes)                                \
    TAPS("add r2, r2, r0\n\t") TAPS("add r2, r2, r0\n\t")           \
    TAPS("sub r2, r2, r0, lsl #1\n\t" "add r2, r2, #" bytes "\n\t") \
    "ldmia.w r1, {r8-r10}\n\t"                                      \
    "sub r1, r1, #28\n\t"

/* One channel. Registers: r0 bytes of a plane row, r1 stream, r2 plane, r3 output, r4-r7 sums, r8-r10 activations,
 * r11-r12 weights, lr bytes of an output column.
 * On the stack: plane and output of the row, end of its groups of four, their bytes, rest, rows, steps. */
#define STROP_PLANE_BODY(TAPS_FOUR, TAPS_TWO, bytes_four, bytes_two, FINISH)                                        \
    register const strop_depthwise_3x3 *r0 __asm__("r0") = shape;                                                   \
    register const int32_t *r1 __asm__("r1") = stream;                                                              \
    register const int16_t *r2 __asm__("r2") = plane;                                                               \
    register int8_t *r3 __asm__("r3") = out;                                                                        \
    __asm__ volatile("ldmia.w r0, {r4-r10}\n\t"                                                                     \
                     "mov r0, r4\n\t"                                                                               \
                     "mov lr, r5\n\t"                                                                               \
                     "push {r2, r3, r5-r10}\n"                                                                      \
                     "1:\n\t"                                                                                       \
                     "ldr r4, [sp, #12]\n\t"                                                                        \
                     "add r4, r4, r2\n\t"                                                                           \
                     "str r4, [sp, #8]\n\t"                                                                         \
                     "cmp r4, r2\n\t"                                                                               \
                     "beq 3f\n"                                                                                     \
                     "2:\n\t"                                                                                       \
                     "ldr r4, [r1], #4\n\t"                                                                         \
                     "mov r5, r4\n\t"                                                                               \
                     "mov r6, r4\n\t"                                                                               \
                     "mov r7, r4\n\t" STROP_TAPS_ROWS(TAPS_FOUR, bytes_four) FINISH("r4") FINISH("r5") FINISH("r6") \
                         FINISH("r7") "strb r4, [r3]\n\t"                                                           \
                     "strb r5, [r3, lr]\n\t"                                                                        \
                     "add r3, r3, lr, lsl #1\n\t"                                                                   \
                     "ldr r4, [sp, #8]\n\t"                                                                         \
                     "strb r6, [r3]\n\t"                                                                            \
                     "strb r7, [r3, lr]\n\t"                                                                        \
                     "add r3, r3, lr, lsl #1\n\t"                                                                   \
                     "cmp r4, r2\n\t"                                                                               \
                     "bne 2b\n"                                                                                     \
                     "3:\n\t"                                                                                       \
                     "ldr r6, [sp, #16]\n\t"                                                                        \
                     "cmp r6, #0\n\t"                                                                               \
                     "beq 5f\n"                                                                                     \
                     "4:\n\t"                                                                                       \
                     "ldr r4, [r1], #4\n\t"                                                                         \
                     "mov r5, r4\n\t" STROP_TAPS_ROWS(TAPS_TWO, bytes_two) FINISH("r4") FINISH("r5")                \
                     "strb r4, [r3]\n\t"                                                                            \
                     "subs r6, r6, #2\n\t"                                                                          \
                     "bmi 5f\n\t"                                                                                   \
                     "strb r5, [r3, lr]\n\t"                                                                        \
                     "add r3, r3, lr, lsl #1\n\t"                                                                   \
                     "bne 4b\n"                                                                                     \
                     "5:\n\t"                                                                                       \
                     "ldr r4, [sp, #20]\n\t"                                                                        \
                     "ldrd r2, r3, [sp]\n\t"                                                                        \
                     "ldrd r5, r6, [sp, #24]\n\t"                                                                   \
                     "add r2, r2, r5\n\t"                                                                           \
                     "add r3, r3, r6\n\t"                                                                           \
                     "subs r4, r4, #1\n\t"                                                                          \
                     "str r4, [sp, #20]\n\t"                                                                        \
                     "strd r2, r3, [sp]\n\t"                                                                        \
                     "bne 1b\n\t"                                                                                   \
                     "add sp, sp, #32"                                                                              \
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)                                                       \
                     :                                                                                              \
                     : "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory")

STROP_SHARED void strop_plane_1_floored(const strop_depthwise_3x3 *shape, const int32_t *stream, const int16_t *plane,
                                        int8_t *out) {
    STROP_PLANE_BODY(STROP_TAPS_FOUR_1, STROP_TAPS_TWO_1, "8", "4", STROP_PLANE_FLOORED);
}

STROP_SHARED void strop_plane_1_signed(const strop_depthwise_3x3 *shape, const int32_t *stream, const int16_t *plane,
                                       int8_t *out) {
    STROP_PLANE_BODY(STROP_TAPS_FOUR_1, STROP_TAPS_TWO_1, "8", "4", STROP_PLANE_SIGNED);
}

STROP_SHARED void strop_plane_2_floored(const strop_depthwise_3x3 *shape, const int32_t *stream, const int16_t *plane,
                                        int8_t *out) {
    STROP_PLANE_BODY(STROP_TAPS_FOUR_2, STROP_TAPS_TWO_2, "16", "8", STROP_PLANE_FLOORED);
}

STROP_SHARED void strop_plane_2_signed(const strop_depthwise_3x3 *shape, const int32_t *stream, const int16_t *plane,
                                       int8_t *out) {
    STROP_PLANE_BODY(STROP_TAPS_FOUR_2, STROP_TAPS_TWO_2, "16", "8", STROP_PLANE_SIGNED);
}

/* One row of one channel with any kernel. Bytes: in_1 … in_3 from the first output's window of a group of four to the others',
 * out_1 … out_3 likewise, group_in and group_out from a group to the next, last_in and last_out to the last, which may overlap
 * the one before it; tap_row from the end of a row of taps to the next. words: of a row of taps. */
typedef struct {
    int32_t groups, k_h, words, tap_row, in_1, in_2, in_3, out_1, out_2, out_3, group_in, group_out, last_in, last_out;
} strop_depthwise_row;

/* Registers: r0 plane, r1 stream, r2-r3 words and rows of taps, r4-r7 sums, r8 weights, r9-r10 activations, r11-r12 and lr
 * the other windows. On the stack: plane, stream, output, and a copy of the struct. */
STROP_SHARED void strop_plane_row(const strop_depthwise_row *row, const int32_t *stream, const int16_t *plane, int8_t *out) {
    register const strop_depthwise_row *r0 __asm__("r0") = row;
    register const int32_t *r1 __asm__("r1") = stream;
    register const int16_t *r2 __asm__("r2") = plane;
    register int8_t *r3 __asm__("r3") = out;
    __asm__ volatile("add r0, r0, #28\n\t"
                     "ldmia.w r0, {r4-r10}\n\t"
                     "push {r4-r10}\n\t"
                     "sub r0, r0, #28\n\t"
                     "ldmia.w r0, {r4-r10}\n\t"
                     "push {r4-r10}\n\t"
                     "mov r11, r8\n\t"
                     "mov r12, r9\n\t"
                     "mov lr, r10\n\t"
                     "mov r0, r2\n\t"
                     "push {r0, r1, r3}\n"
                     "1:\n\t"
                     "ldr r4, [r1], #4\n\t"
                     "mov r5, r4\n\t"
                     "mov r6, r4\n\t"
                     "mov r7, r4\n\t"
                     "ldr r3, [sp, #16]\n"
                     "2:\n\t"
                     "ldr r2, [sp, #20]\n"
                     "3:\n\t"
                     "ldr r8, [r1], #4\n\t"
                     "ldr r9, [r0, r11]\n\t"
                     "ldr r10, [r0, r12]\n\t"
                     "smlad r5, r9, r8, r5\n\t"
                     "ldr r9, [r0, lr]\n\t"
                     "smlad r6, r10, r8, r6\n\t"
                     "ldr r10, [r0], #4\n\t"
                     "smlad r7, r9, r8, r7\n\t"
                     "smlad r4, r10, r8, r4\n\t"
                     "subs r2, r2, #1\n\t"
                     "bne 3b\n\t"
                     "ldr r9, [sp, #24]\n\t"
                     "add r0, r0, r9\n\t"
                     "subs r3, r3, #1\n\t"
                     "bne 2b\n\t"
                     "ldmia.w r1, {r8-r10}\n\t"
                     "mov r3, r11\n\t" STROP_PLANE_SIGNED("r4") STROP_PLANE_SIGNED("r5") STROP_PLANE_SIGNED("r6")
                         STROP_PLANE_SIGNED("r7") "mov r11, r3\n\t"
                     "ldr r3, [sp, #8]\n\t"
                     "ldr r8, [sp, #40]\n\t"
                     "ldrd r9, r10, [sp, #44]\n\t"
                     "strb r4, [r3]\n\t"
                     "strb r5, [r3, r8]\n\t"
                     "strb r6, [r3, r9]\n\t"
                     "strb r7, [r3, r10]\n\t"
                     "ldrd r0, r1, [sp]\n\t"
                     "ldr r2, [sp, #12]\n\t"
                     "ldrd r8, r9, [sp, #52]\n\t"
                     "subs r2, r2, #1\n\t"
                     "beq 4f\n\t"
                     "cmp r2, #1\n\t"
                     "it eq\n\t"
                     "ldrdeq r8, r9, [sp, #60]\n\t"
                     "add r0, r0, r8\n\t"
                     "add r3, r3, r9\n\t"
                     "str r0, [sp]\n\t"
                     "strd r3, r2, [sp, #8]\n\t"
                     "b 1b\n"
                     "4:\n\t"
                     "add sp, sp, #68"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)
                     :
                     : "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
}

/* One channel of the image into the plane, part by part. */
STROP_KERNEL void strop_channel_to_plane(const int8_t *in, int16_t *plane, const strop_depthwise_dsp_shape *s) {
    const int32_t width = s->dilation_w * s->plane_w;
    const int32_t rows = strop_min(s->in_h, s->plane_h - s->pad_top);
    for (int32_t part = 0; part < s->dilation_w; ++part) {
        const int32_t first = (part - s->pad_left % s->dilation_w + s->dilation_w) % s->dilation_w;
        const int32_t at = (first + s->pad_left) / s->dilation_w;
        const int32_t columns = strop_min((s->in_w - first + s->dilation_w - 1) / s->dilation_w, s->plane_w - at);
        const strop_plane_copy_dsp copy = {columns, rows, s->dilation_w * s->in_column, s->in_row, width};
        if (columns > 0 && rows > 0) {
            strop_copy_plane(in + first * s->in_column, plane + s->pad_top * width + part * s->plane_w + at, &copy);
        }
    }
}

STROP_KERNEL void strop_plane_3x3(const strop_depthwise_3x3 *channel, const int32_t *stream, const int16_t *plane, int8_t *out,
                                  const strop_depthwise_dsp_shape *s) {
    if (s->stride_w == 1 && s->is_signed) {
        strop_plane_1_signed(channel, stream, plane, out);
    } else if (s->stride_w == 1) {
        strop_plane_1_floored(channel, stream, plane, out);
    } else if (s->is_signed) {
        strop_plane_2_signed(channel, stream, plane, out);
    } else {
        strop_plane_2_floored(channel, stream, plane, out);
    }
}

/* 3x3, row stride 1 or 2. */
STROP_KERNEL void strop_depthwise_3x3_dsp(const int8_t *restrict in, const int32_t *restrict weights, int16_t *restrict plane,
                                          int8_t *restrict out, const strop_depthwise_dsp_shape *s) {
    const int32_t channels = s->channels * s->multiplier;
    const strop_depthwise_3x3 channel = {
        2 * s->plane_w,  s->out_column,                      s->out_w / 4 * 8 * s->stride_w, s->out_w % 4, s->out_h,
        2 * s->stride_h * s->plane_w, s->out_row};
    strop_fill_plane(plane, s->plane_h * s->plane_w, s->zero);
    for (int32_t image = 0; image < s->batch; ++image) {
        const int32_t *stream = weights;
        int8_t *const image_out = out + image * s->out_h * s->out_w * channels;
        for (int32_t c = 0; c < s->channels; ++c) {
            strop_channel_to_plane(in + c, plane, s);
            for (int32_t i = 0; i < s->multiplier; ++i, stream += 10) {
                strop_plane_3x3(&channel, stream, plane, image_out + c * s->multiplier + i, s);
            }
        }
        in += s->in_h * s->in_w * s->channels;
    }
    strop_clamp_outputs(out, s->batch * s->out_h * s->out_w * channels, s->act_min, s->act_max);
}

/* The outputs of a row whose windows begin in one part of the plane: every parts-th from the first one on. */
STROP_KERNEL strop_depthwise_row strop_row_of(const strop_depthwise_dsp_shape *s, int32_t first, int32_t parts) {
    const int32_t outputs = (s->out_w - first + parts - 1) / parts;
    const int32_t in = 2 * s->stride_w * parts / s->dilation_w;
    const int32_t out = parts * s->out_column;
    const int32_t words = (s->k_w + 1) / 2;
    const int32_t last = (outputs - 1) % 4 + 1;
    const int32_t i = strop_min(1, outputs - 1), j = strop_min(2, outputs - 1), k = strop_min(3, outputs - 1);
    const strop_depthwise_row row = {(outputs + 3) / 4, s->k_h, words,
                                     2 * s->dilation_h * s->dilation_w * s->plane_w - 4 * words,
                                     i * in, j * in, k * in, i * out, j * out, k * out,
                                     4 * in, 4 * out, last * in, last * out};
    return row;
}

/* All rows of one output channel. whole: a row of a plane that has one part, the same for all channels. */
STROP_KERNEL void strop_plane_rows(const int32_t *stream, const int16_t *plane, int8_t *out, const strop_depthwise_dsp_shape *s,
                                   int32_t parts, const strop_depthwise_row *whole) {
    if (parts == 1) {
        for (int32_t y = 0; y < s->out_h; ++y, plane += s->stride_h * s->dilation_w * s->plane_w, out += s->out_row) {
            strop_plane_row(whole, stream, plane, out);
        }
        return;
    }
    const int32_t width = s->dilation_w * s->plane_w;
    for (int32_t first = 0; first < strop_min(parts, s->out_w); ++first) {
        const int32_t x = first * s->stride_w;
        const int16_t *from = plane + x % s->dilation_w * s->plane_w + x / s->dilation_w;
        int8_t *to = out + first * s->out_column;
        const strop_depthwise_row row = strop_row_of(s, first, parts);
        for (int32_t y = 0; y < s->out_h; ++y, from += s->stride_h * width, to += s->out_row) {
            strop_plane_row(&row, stream, from, to);
        }
    }
}

/* Parts of a plane row that windows begin in: the dilation over what it has in common with the stride. */
STROP_KERNEL int32_t strop_parts(int32_t dilation, int32_t stride) {
    int32_t parts = 1;
    while (parts * stride % dilation != 0) {
        ++parts;
    }
    return parts;
}

STROP_KERNEL void strop_depthwise_dsp(const int8_t *restrict in, const int32_t *restrict weights, int16_t *restrict plane,
                                      int8_t *restrict out, const strop_depthwise_dsp_shape *s) {
    const int32_t channels = s->channels * s->multiplier;
    const int32_t parts = strop_parts(s->dilation_w, s->stride_w);
    const int32_t words = s->k_h * ((s->k_w + 1) / 2) + 4;
    const strop_depthwise_row whole = strop_row_of(s, 0, 1);
    strop_fill_plane(plane, s->plane_h * s->dilation_w * s->plane_w, s->zero);
    for (int32_t image = 0; image < s->batch; ++image) {
        const int32_t *stream = weights;
        int8_t *const image_out = out + image * s->out_h * s->out_w * channels;
        for (int32_t c = 0; c < s->channels; ++c) {
            strop_channel_to_plane(in + c, plane, s);
            for (int32_t i = 0; i < s->multiplier; ++i, stream += words) {
                strop_plane_rows(stream, plane, image_out + c * s->multiplier + i, s, parts, &whole);
            }
        }
        in += s->in_h * s->in_w * s->channels;
    }
    strop_clamp_outputs(out, s->batch * s->out_h * s->out_w * channels, s->act_min, s->act_max);
}

#endif
