/* Depthwise 2-D convolution, int8, filters of up to 4x4, with the vector extension: four channels, two pixels a step.
 * Strides of rows are 1 or 2, of columns any.
 * The scratch holds, for a band of output rows and four channels, each window column as [channel][row]: four rows of the input
 * ending with the window's last, one byte each. A 64-byte load that takes words apart makes one window of each channel, and one
 * multiply-accumulate its sum; interleaving stores make the columns. Padding is the zero point, which is also in the biases.
 * Weights, per four channels (the last four overlap those before): [channel][column][row] filled with zeros to 4x4 in front of
 * the rows and behind the columns | 4 biases | 4 mantissas | 4 shifts.
 * Cost: 5.5 instructions per output; 13 (stride 1) or 16 per four columns of a row of windows, 6 more per row of words that are
 * not aligned. */
#ifndef STROP_DEPTHWISE_WINDOWS_MVE_H
#define STROP_DEPTHWISE_WINDOWS_MVE_H

#include <arm_mve.h>

#include "common.h"

/* columns: of the input in windows, read as 4 at least. pitch: columns of the scratch. band: output rows gathered at once. */
typedef struct {
    int32_t batch, in_h, in_w, in_c, out_h, out_w, out_c, groups;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t in_offset, out_offset, act_min, act_max, columns, pitch, band;
} strop_depthwise_mve_shape;

/* Window columns of four channels for `rows` rows of outputs, four columns of the input a turn.
 * base: first channel of the first column; offsets: of the other columns of a turn. first_row: byte offset in the image of the
 * first new row; outside 0 to `size` it is padding. before: rows in front of new ones. to: where the first column goes.
 * turn_bytes, to_turn: from the end of a turn to the next one; those of the first turn, that others overlap, and the rest. */
typedef struct {
    int32_t offsets[4];
    const int8_t *base;
    int8_t *to;
    int32_t size, row_bytes, to_row, before, rows, first_row, turns;
    int32_t turn_bytes, to_turn, other_turn_bytes, other_to_turn, zero_points;
} strop_windows;

/* The next row of four columns to q3: padding (q5) where r0 is outside. Words by a gather from the addresses in q4. */
#define STROP_ROW_MVE(SLOT, N, LOAD)  \
    "cmp r0, r1\n\t"                  \
    "bhs 9" N "f\n\t" LOAD(SLOT)      \
    "8" N ":\n\t"                     \
    "add r0, r2\n\t"

#define STROP_PADDING_MVE(SLOT, N)    \
    "9" N ":\n\t"                     \
    "vmov " SLOT ", q5\n\t"           \
    "b 8" N "b\n\t"

#define STROP_ALIGNED_MVE(SLOT) "vldrw.u32 " SLOT ", [r0, q4]\n\t"

#define STROP_UNALIGNED_MVE(SLOT)                \
    "add r8, r5, r0\n\t"                         \
    "ldr r9, [r8]\n\t"                           \
    "ldr r10, [r8, r6]\n\t"                      \
    "ldr r11, [r8, r7]\n\t"                      \
    "ldr r8, [r8, r12]\n\t"                      \
    "vmov " SLOT "[2], " SLOT "[0], r9, r11\n\t" \
    "vmov " SLOT "[3], " SLOT "[1], r10, r8\n\t"

#define STROP_SHIFT_1_MVE    \
    "vmov q0, q1\n\t"        \
    "vmov q1, q2\n\t"        \
    "vmov q2, q3\n\t"

#define STROP_SHIFT_2_MVE    \
    "vmov q0, q2\n\t"        \
    "vmov q1, q3\n\t"

#define STROP_NEXT_1_MVE(LOAD) STROP_SHIFT_1_MVE STROP_ROW_MVE("q3", "1", LOAD)
#define STROP_NEXT_2_MVE(LOAD) STROP_SHIFT_2_MVE STROP_ROW_MVE("q2", "1", LOAD) STROP_ROW_MVE("q3", "2", LOAD)

/* r5, r6, r7, r12: base and offsets; r3, r4: place in the scratch and bytes to the next row there. */
#define STROP_WINDOWS_MVE(NEXT, LOAD)                         \
    "push {r0, r4-r11, lr}\n\t"                               \
    "vpush {d8-d15}\n\t"                                      \
    "vldrw.u32 q6, [r0]\n\t"                                  \
    "ldrd r6, r7, [r0, #4]\n\t"                               \
    "ldr r12, [r0, #12]\n\t"                                  \
    "ldrd r5, r3, [r0, #16]\n\t"                              \
    "ldrd r1, r2, [r0, #24]\n\t"                              \
    "ldr r4, [r0, #32]\n\t"                                   \
    "ldr r8, [r0, #68]\n\t"                                   \
    "vdup.32 q5, r8\n\t"                                      \
    "1:\n\t"                                                  \
    "ldr r8, [sp, #64]\n\t"                                   \
    "vadd.i32 q4, q6, r5\n\t"                                 \
    "ldrd r9, r10, [r8, #36]\n\t"                             \
    "ldr r0, [r8, #44]\n\t"                                   \
    "vmov s28, r10\n\t"                                       \
    "wls lr, r9, 3f\n\t"                                      \
    "2:\n\t" STROP_SHIFT_1_MVE STROP_ROW_MVE("q3", "0", LOAD) \
    "le lr, 2b\n\t"                                           \
    "3:\n\t"                                                  \
    "vmov r10, s28\n\t"                                       \
    "dls lr, r10\n\t"                                         \
    "4:\n\t" NEXT(LOAD)                                       \
    "vst40.8 {q0, q1, q2, q3}, [r3]\n\t"                      \
    "vst41.8 {q0, q1, q2, q3}, [r3]\n\t"                      \
    "vst42.8 {q0, q1, q2, q3}, [r3]\n\t"                      \
    "vst43.8 {q0, q1, q2, q3}, [r3]\n\t"                      \
    "add r3, r4\n\t"                                          \
    "le lr, 4b\n\t"                                           \
    "ldr r8, [sp, #64]\n\t"                                   \
    "ldrd r9, r10, [r8, #52]\n\t"                             \
    "ldr r11, [r8, #48]\n\t"                                  \
    "add r5, r9\n\t"                                          \
    "add r3, r10\n\t"                                         \
    "ldrd r9, r10, [r8, #60]\n\t"                             \
    "subs r11, #1\n\t"                                        \
    "strd r9, r10, [r8, #52]\n\t"                             \
    "str r11, [r8, #48]\n\t"                                  \
    "bne 1b\n\t"                                              \
    "b 5f\n\t" STROP_PADDING_MVE("q3", "0")

#define STROP_WINDOWS_END_MVE    \
    "5:\n\t"                     \
    "vpop {d8-d15}\n\t"          \
    "pop {r0, r4-r11, lr}\n\t"

#define STROP_WINDOWS_FUNCTION_MVE(NAME, NEXT, LOAD, PADDING)                                                           \
    STROP_SHARED void NAME(strop_windows *windows) {                                                                    \
        register strop_windows *context __asm__("r0") = windows;                                                        \
        __asm__ volatile(STROP_WINDOWS_MVE(NEXT, LOAD) PADDING STROP_WINDOWS_END_MVE                                    \
                         : "+r"(context)                                                                                \
                         :                                                                                              \
                         : "r1", "r2", "r3", "r12", "cc", "memory", "q0", "q1", "q2", "q3");                            \
    }

STROP_WINDOWS_FUNCTION_MVE(strop_windows_1_mve, STROP_NEXT_1_MVE, STROP_ALIGNED_MVE, STROP_PADDING_MVE("q3", "1"))
STROP_WINDOWS_FUNCTION_MVE(strop_windows_1_unaligned_mve, STROP_NEXT_1_MVE, STROP_UNALIGNED_MVE, STROP_PADDING_MVE("q3", "1"))
STROP_WINDOWS_FUNCTION_MVE(strop_windows_2_mve, STROP_NEXT_2_MVE, STROP_ALIGNED_MVE,
                           STROP_PADDING_MVE("q2", "1") STROP_PADDING_MVE("q3", "2"))
STROP_WINDOWS_FUNCTION_MVE(strop_windows_2_unaligned_mve, STROP_NEXT_2_MVE, STROP_UNALIGNED_MVE,
                           STROP_PADDING_MVE("q2", "1") STROP_PADDING_MVE("q3", "2"))

/* Outputs of four channels: `rows` rows of `pairs` pairs of pixels. a, b_offset: windows of a pair's pixels; step, row_step:
 * bytes to those of the next pair and row. The same of the outputs. bounds: as 16-bit vectors. */
typedef struct {
    const int8_t *a;
    int8_t *out;
    const int8_t *weights;
    int32_t b_offset, rows, pairs, row_step, out_row_step;
    int32_t zero_point, out_b, step, out_step;
    int16_t act_min[8], act_max[8];
} strop_depthwise_run;

#define STROP_TAKE_APART_MVE(AT)                 \
    "vld40.32 {q0, q1, q2, q3}, [" AT "]\n\t"    \
    "vld41.32 {q0, q1, q2, q3}, [" AT "]\n\t"    \
    "vld42.32 {q0, q1, q2, q3}, [" AT "]\n\t"    \
    "vld43.32 {q0, q1, q2, q3}, [" AT "]\n\t"

#define STROP_AWAY_PAIR_MVE            \
    "vshr.s32 q3, q0, #31\n\t"         \
    "vadd.i32 q0, q0, q3\n\t"          \
    "vshr.s32 q3, q1, #31\n\t"         \
    "vadd.i32 q1, q1, q3\n\t"

#define STROP_WHOLE_RANGE_MVE "vqmovnb.s16 q0, q0\n\t"

#define STROP_BOUNDS_MVE                    \
    "vldrw.u32 q2, [r11, #48]\n\t"          \
    "vldrw.u32 q3, [r11, #64]\n\t"          \
    "vmax.s16 q0, q0, q2\n\t"               \
    "vmin.s16 q0, q0, q3\n\t"

/* r1, r3: windows of both pixels; r5: weights and parameters; r7: output; r9: pairs left; r11: context. */
#define STROP_DEPTHWISE_RUN_MVE(AWAY, CLAMP)                        \
    "push {r0, r4-r11, lr}\n\t"                                     \
    "vpush {d8-d15}\n\t"                                            \
    "mov r11, r0\n\t"                                               \
    "ldr r5, [r11, #8]\n\t"                                         \
    "vldrw.u32 q4, [r5]\n\t"                                        \
    "vldrw.u32 q5, [r5, #16]\n\t"                                   \
    "vldrw.u32 q6, [r5, #32]\n\t"                                   \
    "vldrw.u32 q7, [r5, #48]\n\t"                                   \
    "1:\n\t"                                                        \
    "ldm r11, {r1, r7}\n\t"                                         \
    "ldr r3, [r11, #12]\n\t"                                        \
    "ldr r9, [r11, #20]\n\t"                                        \
    "add r3, r1\n\t"                                                \
    "2:\n\t" STROP_TAKE_APART_MVE("r1")                             \
    "vmladav.s8 r0, q0, q4\n\t"                                     \
    "vmladav.s8 r2, q1, q5\n\t"                                     \
    "vmladav.s8 r4, q2, q6\n\t"                                     \
    "vmladav.s8 r6, q3, q7\n\t" STROP_TAKE_APART_MVE("r3")          \
    "vmladav.s8 r8, q0, q4\n\t"                                     \
    "vmladav.s8 r10, q1, q5\n\t"                                    \
    "vmladav.s8 r12, q2, q6\n\t"                                    \
    "vmladav.s8 lr, q3, q7\n\t"                                     \
    "vmov q0[2], q0[0], r0, r4\n\t"                                 \
    "vmov q0[3], q0[1], r2, r6\n\t"                                 \
    "vldrw.u32 q2, [r5, #64]\n\t"                                   \
    "vmov q1[2], q1[0], r8, r12\n\t"                                \
    "vmov q1[3], q1[1], r10, lr\n\t"                                \
    "vldrw.u32 q3, [r5, #80]\n\t"                                   \
    "vadd.i32 q0, q0, q2\n\t"                                       \
    "vadd.i32 q1, q1, q2\n\t"                                       \
    "vqrdmulh.s32 q0, q0, q3\n\t"                                   \
    "vqrdmulh.s32 q1, q1, q3\n\t"                                   \
    "vldrw.u32 q2, [r5, #96]\n\t" AWAY                              \
    "ldrd r0, r2, [r11, #32]\n\t"                                   \
    "ldrd r4, r6, [r11, #40]\n\t"                                   \
    "vrshl.s32 q0, q0, q2\n\t"                                      \
    "vrshl.s32 q1, q1, q2\n\t"                                      \
    "vqmovnb.s32 q0, q0\n\t"                                        \
    "vqmovnt.s32 q0, q1\n\t"                                        \
    "vqadd.s16 q0, q0, r0\n\t" CLAMP                                \
    "add r2, r7\n\t"                                                \
    "vstrb.32 q0, [r7]\n\t"                                         \
    "vshr.u32 q0, q0, #16\n\t"                                      \
    "vstrb.32 q0, [r2]\n\t"                                         \
    "add r7, r6\n\t"                                                \
    "add r1, r4\n\t"                                                \
    "add r3, r4\n\t"                                                \
    "subs r9, #1\n\t"                                               \
    "bne 2b\n\t"                                                    \
    "ldm r11, {r1, r7}\n\t"                                         \
    "ldr r0, [r11, #16]\n\t"                                        \
    "ldrd r2, r4, [r11, #24]\n\t"                                   \
    "add r1, r2\n\t"                                                \
    "add r7, r4\n\t"                                                \
    "subs r0, #1\n\t"                                               \
    "strd r1, r7, [r11]\n\t"                                        \
    "str r0, [r11, #16]\n\t"                                        \
    "bne 1b\n\t"                                                    \
    "vpop {d8-d15}\n\t"                                             \
    "pop {r0, r4-r11, lr}\n\t"

#define STROP_DEPTHWISE_FUNCTION_MVE(NAME, AWAY, CLAMP)                                                                    \
    STROP_SHARED void NAME(strop_depthwise_run *run) {                                                                     \
        register strop_depthwise_run *context __asm__("r0") = run;                                                         \
        __asm__ volatile(STROP_DEPTHWISE_RUN_MVE(AWAY, CLAMP)                                                              \
                         : "+r"(context)                                                                                   \
                         :                                                                                                 \
                         : "r1", "r2", "r3", "r12", "cc", "memory", "q0", "q1", "q2", "q3");                               \
    }

/* Outputs of the whole range down to the zero point, within bounds down to it, and any. */
STROP_DEPTHWISE_FUNCTION_MVE(strop_depthwise_run_mve, "", STROP_WHOLE_RANGE_MVE)
STROP_DEPTHWISE_FUNCTION_MVE(strop_depthwise_run_bounded_mve, "", STROP_BOUNDS_MVE)
STROP_DEPTHWISE_FUNCTION_MVE(strop_depthwise_run_signed_mve, STROP_AWAY_PAIR_MVE, STROP_BOUNDS_MVE)

STROP_KERNEL void strop_depthwise_rows_mve(strop_depthwise_run *run, int32_t rows, int32_t pairs,
                                           const strop_depthwise_mve_shape *s) {
    run->rows = rows;
    run->pairs = pairs;
    if (s->act_min < s->out_offset) {
        strop_depthwise_run_signed_mve(run);
    } else if (s->act_min > INT8_MIN || s->act_max < INT8_MAX) {
        strop_depthwise_run_bounded_mve(run);
    } else {
        strop_depthwise_run_mve(run);
    }
}

/* Output rows of one block from the scratch: pairs of neighbours, in odd rows of two rows; a single pixel is both of a pair. */
STROP_KERNEL void strop_depthwise_block_mve(strop_depthwise_run *run, const int8_t *windows, int8_t *out, int32_t rows,
                                            const strop_depthwise_mve_shape *s) {
    const int32_t row = 16 * s->pitch, pixel = 16 * s->stride_w, out_row = s->out_w * s->out_c;
    const int32_t below = s->out_w % 2 != 0 ? rows / 2 : 0;
    run->a = windows;
    run->out = out;
    if (below > 0) {
        run->b_offset = row;
        run->out_b = out_row;
        run->step = pixel;
        run->out_step = s->out_c;
        run->row_step = 2 * row;
        run->out_row_step = 2 * out_row;
        strop_depthwise_rows_mve(run, below, s->out_w, s);
    }
    const int32_t left = rows - 2 * below;
    if (left > 0 && s->out_w > 1) {
        run->b_offset = pixel;
        run->out_b = s->out_c;
        run->step = 2 * pixel;
        run->out_step = 2 * s->out_c;
        run->row_step = row;
        run->out_row_step = out_row;
        strop_depthwise_rows_mve(run, left, s->out_w / 2, s);
    }
    if (left > 0 && s->out_w % 2 != 0) {
        run->a = windows + 2 * below * row + (s->out_w - 1) * pixel;
        run->out = out + 2 * below * out_row + (s->out_w - 1) * s->out_c;
        run->b_offset = 0;
        run->out_b = 0;
        strop_depthwise_rows_mve(run, 1, 1, s);
    }
}

/* The window columns of the four channels from c on, for `rows` rows of outputs from oy on. */
STROP_KERNEL void strop_depthwise_gather_mve(const int8_t *in, int8_t *scratch, int32_t c, int32_t oy, int32_t rows,
                                             const strop_depthwise_mve_shape *s) {
    const int32_t before = strop_max(s->k_h - s->stride_h, 0), first = (s->columns + 3) % 4 + 1;
    const int32_t y = oy * s->stride_h - s->pad_top + s->k_h - s->stride_h - before;
    strop_windows w;
    for (int32_t i = 0; i < 4; ++i) {
        w.offsets[i] = strop_min(i, s->columns - 1) * s->in_c;
    }
    w.base = in + c;
    w.to = scratch + 16 * s->pad_left;
    w.row_bytes = s->in_w * s->in_c;
    w.size = s->in_h * w.row_bytes;
    w.to_row = 16 * s->pitch;
    w.before = before;
    w.rows = rows;
    w.first_row = y * w.row_bytes;
    w.turns = (s->columns + 3) / 4;
    w.turn_bytes = first * s->in_c;
    w.to_turn = 16 * first - rows * w.to_row;
    w.other_turn_bytes = 4 * s->in_c;
    w.other_to_turn = 64 - rows * w.to_row;
    w.zero_points = (int32_t)(0x01010101U * (uint8_t)-s->in_offset);
    if (s->in_c % 4 == 0 && ((uintptr_t)in & 3U) == 0) {
        if (s->stride_h == 1) {
            strop_windows_1_mve(&w);
        } else {
            strop_windows_2_mve(&w);
        }
    } else if (s->stride_h == 1) {
        strop_windows_1_unaligned_mve(&w);
    } else {
        strop_windows_2_unaligned_mve(&w);
    }
    for (int32_t row = 0; s->columns < 4 && row < rows; ++row) {
        for (int32_t x = s->columns; x < 4; ++x) {
            vstrwq_s32((int32_t *)(void *)(scratch + 16 * (row * s->pitch + s->pad_left + x)), vdupq_n_s32(w.zero_points));
        }
    }
}

STROP_KERNEL void strop_depthwise_windows_mve(const int8_t *restrict in, const int8_t *restrict weights, int8_t *restrict scratch,
                                              int8_t *restrict out, const strop_depthwise_mve_shape *s) {
    strop_depthwise_run run = {0};
    run.zero_point = s->out_offset;
    for (int32_t i = 0; i < 8; ++i) {
        run.act_min[i] = (int16_t)s->act_min;
        run.act_max[i] = (int16_t)s->act_max;
    }
    for (int32_t i = 0; i < s->band * s->pitch; ++i) {
        vstrbq_s8(scratch + 16 * i, vdupq_n_s8((int8_t)-s->in_offset));
    }
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c, out += s->out_h * s->out_w * s->out_c) {
        for (int32_t oy = 0; oy < s->out_h; oy += s->band) {
            const int32_t rows = strop_min(s->band, s->out_h - oy);
            run.weights = weights;
            for (int32_t block = 0; block < s->in_c; block += 4, run.weights += 112) {
                const int32_t c = strop_min(block, s->in_c - 4);
                strop_depthwise_gather_mve(in, scratch, c, oy, rows, s);
                strop_depthwise_block_mve(&run, scratch, out + oy * s->out_w * s->out_c + c, rows, s);
            }
        }
    }
}

#endif
