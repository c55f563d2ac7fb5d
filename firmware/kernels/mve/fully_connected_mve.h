/* Fully connected layer of one row, int8, with the vector extension: eight channels, sixteen taps a step.
 * Weights, per block of eight channels in the order 0 2 4 6 1 3 5 7: sixteen taps of each in turn, filled with zeros | 8 biases |
 * 8 mantissas | 8 shifts, so that narrowing brings the outputs into order. The zero point of the input is in the biases.
 * Registers as in pixels_mve.h, r3 the channels left. A row that is no multiple of sixteen is filled in the scratch.
 * Cost: 17 instructions per step of 128 multiply-accumulates, 29 per block of eight outputs (33 signed). */
#ifndef STROP_FULLY_CONNECTED_MVE_H
#define STROP_FULLY_CONNECTED_MVE_H

#include "columns_mve.h"
#include "pixels_mve.h"

typedef struct {
    int32_t depth, channels, out_offset, act_min, act_max;
} strop_fully_connected_mve_shape;

#define STROP_STEP_1X8_MVE(MAC)   \
    "vldrb.8 q0, [r1], #16\n\t"   \
    "vldrb.8 q1, [r5], #16\n\t"   \
    "vldrb.8 q2, [r5], #16\n\t"   \
    MAC " r0, q0, q1\n\t"         \
    "vldrb.8 q3, [r5], #16\n\t"   \
    MAC " r2, q0, q2\n\t"         \
    "vldrb.8 q1, [r5], #16\n\t"   \
    MAC " r4, q0, q3\n\t"         \
    "vldrb.8 q2, [r5], #16\n\t"   \
    MAC " r6, q0, q1\n\t"         \
    "vldrb.8 q3, [r5], #16\n\t"   \
    MAC " r8, q0, q2\n\t"         \
    "vldrb.8 q1, [r5], #16\n\t"   \
    MAC " r10, q0, q3\n\t"        \
    "vldrb.8 q2, [r5], #16\n\t"   \
    MAC " r12, q0, q1\n\t"        \
    MAC " lr, q0, q2\n\t"

#define STROP_STEPS_1X8_MVE                                                                               \
    STROP_STEP_1X8_MVE("vmladava.s8") STROP_STEP_1X8_MVE("vmladava.s8") STROP_STEP_1X8_MVE("vmladava.s8") \
    STROP_STEP_1X8_MVE("vmladava.s8")

#define STROP_FULLY_CONNECTED_MVE(AWAY)                       \
    STROP_ENTER_MVE                                           \
    "ldr r1, [r12]\n\t"                                       \
    "ldr r4, [r12, #12]\n\t"                                  \
    "ldr r5, [r12, #16]\n\t"                                  \
    "ldr r7, [r12, #24]\n\t"                                  \
    "ldr r3, [r12, #44]\n\t"                                  \
    "add r11, r1, r4\n\t"                                     \
    "vmov s16, r1\n\t"                                        \
    "4:\n\t"                                                  \
    "vmov r1, s16\n\t" STROP_STEP_1X8_MVE("vmladav.s8")       \
    "bx r9\n\t"                                               \
    "2:\n\t" STROP_STEPS_1X8_MVE                              \
    "cmp r1, r11\n\t"                                         \
    "bne 2b\n\t"                                              \
    "3:\n\t"                                                  \
    "vmov q0[2], q0[0], r0, r4\n\t"                           \
    "vldrw.u32 q2, [r5], #16\n\t"                             \
    "vmov q0[3], q0[1], r2, r6\n\t"                           \
    "vldrw.u32 q3, [r5], #16\n\t"                             \
    "vmov q1[2], q1[0], r8, r12\n\t"                          \
    "vmov q1[3], q1[1], r10, lr\n\t"                          \
    "vadd.i32 q0, q0, q2\n\t"                                 \
    "vldrw.u32 q2, [r5], #16\n\t"                             \
    "vadd.i32 q1, q1, q3\n\t"                                 \
    "vldrw.u32 q3, [r5], #16\n\t"                             \
    "vqrdmulh.s32 q0, q0, q2\n\t"                             \
    "vqrdmulh.s32 q1, q1, q3\n\t" AWAY                        \
    "vldrw.u32 q2, [r5], #16\n\t"                             \
    "vldrw.u32 q3, [r5], #16\n\t"                             \
    "vrshl.s32 q0, q0, q2\n\t"                                \
    "vrshl.s32 q1, q1, q3\n\t"                                \
    "vctp.16 r3\n\t" STROP_NARROW_MVE                         \
    "vpst\n\t"                                                \
    "vstrbt.16 q0, [r7], #8\n\t"                              \
    "subs r3, #8\n\t"                                         \
    "bgt 4b\n\t" STROP_LEAVE_MVE

STROP_SHARED void strop_channels_mve(strop_pixels *run) {
    register strop_pixels *context __asm__("r0") = run;
    __asm__ volatile(STROP_FULLY_CONNECTED_MVE("")
                     : "+r"(context)
                     :
                     : "r1", "r2", "r3", "r12", "cc", "memory", "q0", "q1", "q2", "q3");
}

STROP_SHARED void strop_channels_signed_mve(strop_pixels *run) {
    register strop_pixels *context __asm__("r0") = run;
    __asm__ volatile(STROP_FULLY_CONNECTED_MVE(STROP_AWAY_MVE)
                     : "+r"(context)
                     :
                     : "r1", "r2", "r3", "r12", "cc", "memory", "q0", "q1", "q2", "q3");
}

STROP_KERNEL void strop_fully_connected_mve(const int8_t *restrict in, const int8_t *restrict weights, int8_t *restrict scratch,
                                            int8_t *restrict out, const strop_fully_connected_mve_shape *s) {
    const int32_t steps = (s->depth + 15) / 16;
    strop_pixels run = {0};
    run.a = in;
    run.bytes = 16 * steps;
    run.weights = weights;
    run.out = out;
    run.lanes = s->channels;
    run.entry = steps == 1 ? -1 : 68 * (3 - (steps - 2) % 4);
    run.zero_point = s->out_offset;
    run.act_min = s->act_min;
    run.act_max = s->act_max;
    if (s->depth % 16 != 0) {
        const strop_columns row = {in, scratch, 1, 0, 0, s->depth};
        strop_copy_columns_mve(&row);
        run.a = scratch;
    }
    if (s->act_min < s->out_offset) {
        strop_channels_signed_mve(&run);
    } else {
        strop_channels_mve(&run);
    }
}

#endif
