/* The channels of a run of pixels, int8, with the vector extension: two pixels x four channels, sixteen taps a step.
 * Weights, per block of four channels: sixteen taps of each in turn, filled with zeros | 4 biases | 4 mantissas | 4 shifts.
 * The zero point of the input is in the biases. Taps are read to a multiple of sixteen: the caller has them readable.
 * Registers: even ones are the eight sums; r1, r3, r5 the taps of both pixels and the weights, r11 the end of the taps,
 * r9 where the unrolled steps are entered, r7 the output; d8 both starts, d9 distance and end of the outputs,
 * q5 to q7 output zero point and bounds. One statement that saves what it uses, the same for every shape.
 * Cost: 14 instructions per step of 128 multiply-accumulates, 28 per block of eight outputs (32 signed), 20 per pair. */
#ifndef STROP_PIXELS_MVE_H
#define STROP_PIXELS_MVE_H

#include <arm_mve.h>

#include "common.h"

/* a: taps of the first pixel; the second is b_offset behind, the next pair `step`. bytes: of the filled taps.
 * out_b: bytes from a pixel's outputs to the second's. full: channels in whole blocks, at least 4. lanes: in use of
 * these. entry: where the steps after the first begin, -1 where there are none. The loop counts a, out and pairs. */
typedef struct {
    const int8_t *a;
    int32_t b_offset, step, bytes;
    const int8_t *weights;
    int32_t out_b;
    int8_t *out;
    int32_t full, out_step;
    const int8_t *weights_end;
    int32_t pairs, lanes, tail, entry, zero_point, act_min, act_max;
} strop_pixels;

#define STROP_STEP_2X4_MVE(MAC)   \
    "vldrb.8 q0, [r1], #16\n\t"   \
    "vldrb.8 q1, [r3], #16\n\t"   \
    "vldrb.8 q2, [r5], #16\n\t"   \
    MAC " r0, q0, q2\n\t"         \
    MAC " r8, q1, q2\n\t"         \
    "vldrb.8 q3, [r5], #16\n\t"   \
    MAC " r2, q0, q3\n\t"         \
    MAC " r10, q1, q3\n\t"        \
    "vldrb.8 q2, [r5], #16\n\t"   \
    MAC " r4, q0, q2\n\t"         \
    MAC " r12, q1, q2\n\t"        \
    "vldrb.8 q3, [r5], #16\n\t"   \
    MAC " r6, q0, q3\n\t"         \
    MAC " lr, q1, q3\n\t"

#define STROP_STEPS_2X4_MVE                                                                         \
    STROP_STEP_2X4_MVE("vmladava.s8") STROP_STEP_2X4_MVE("vmladava.s8") STROP_STEP_2X4_MVE("vmladava.s8") \
    STROP_STEP_2X4_MVE("vmladava.s8")

/* Saves registers, enters with the context in r12 and on the stack; the entry as an address. */
#define STROP_ENTER_MVE                      \
    "push {r0, r4-r11, lr}\n\t"              \
    "vpush {d8-d15}\n\t"                     \
    "mov r12, r0\n\t"                        \
    "ldr r9, [r12, #52]\n\t"                 \
    "ldr r1, [r12, #56]\n\t"                 \
    "ldrd r2, r3, [r12, #60]\n\t"            \
    "vdup.16 q5, r1\n\t"                     \
    "vdup.16 q6, r2\n\t"                     \
    "vdup.16 q7, r3\n\t"                     \
    "adr.w r10, 2f\n\t"                      \
    "cmp r9, #0\n\t"                         \
    "add r9, r10\n\t"                        \
    "it lt\n\t"                              \
    "adrlt.w r9, 3f\n\t"                     \
    "orr r9, r9, #1\n\t"

#define STROP_LEAVE_MVE     \
    "vpop {d8-d15}\n\t"     \
    "pop {r0, r4-r11, lr}\n\t"

/* The next pair's places, and those of the pair behind it stored. */
#define STROP_PAIR_MVE                               \
    "ldm r12, {r1-r8, r10}\n\t"                     \
    "ldr r0, [r12, #44]\n\t"                         \
    "vctp.32 r0\n\t"                                 \
    "add r11, r1, r4\n\t"                            \
    "add r2, r1\n\t"                                 \
    "vmov d8, r1, r2\n\t"                            \
    "add r3, r1\n\t"                                 \
    "str r3, [r12]\n\t"                              \
    "add r10, r7\n\t"                                \
    "str r10, [r12, #24]\n\t"                        \
    "add r8, r7\n\t"                                 \
    "vmov d9, r6, r8\n\t"

/* Eight sums to q0 and q1, biased and multiplied; shifts in q2. */
#define STROP_SCALE_MVE                      \
    "vmov q0[2], q0[0], r0, r4\n\t"          \
    "vmov q1[2], q1[0], r8, r12\n\t"         \
    "vldrw.u32 q2, [r5], #16\n\t"            \
    "vmov q0[3], q0[1], r2, r6\n\t"          \
    "vmov q1[3], q1[1], r10, lr\n\t"         \
    "vadd.i32 q0, q0, q2\n\t"                \
    "vadd.i32 q1, q1, q2\n\t"                \
    "vldrw.u32 q3, [r5], #16\n\t"            \
    "vqrdmulh.s32 q0, q0, q3\n\t"            \
    "vqrdmulh.s32 q1, q1, q3\n\t"            \
    "vldrw.u32 q2, [r5], #16\n\t"

/* One off negative values, so that the rounding shift takes their halves away from zero. */
#define STROP_AWAY_MVE                 \
    "vshr.s32 q3, q0, #31\n\t"         \
    "vadd.i32 q0, q0, q3\n\t"          \
    "vshr.s32 q3, q1, #31\n\t"         \
    "vadd.i32 q1, q1, q3\n\t"

/* Both vectors as 16-bit neighbours, offset and clamped. */
#define STROP_NARROW_MVE             \
    "vqmovnb.s32 q0, q0\n\t"         \
    "vqmovnt.s32 q0, q1\n\t"         \
    "vqadd.s16 q0, q0, q5\n\t"       \
    "vmax.s16 q0, q0, q6\n\t"        \
    "vmin.s16 q0, q0, q7\n\t"

#define STROP_PIXELS_MVE(AWAY)                                                                      \
    STROP_ENTER_MVE                                                                                 \
    "1:\n\t" STROP_PAIR_MVE                                                                         \
    "4:\n\t"                                                                                        \
    "vmov r1, r3, d8\n\t" STROP_STEP_2X4_MVE("vmladav.s8")                                          \
    "bx r9\n\t"                                                                                     \
    "2:\n\t" STROP_STEPS_2X4_MVE                                                                    \
    "cmp r1, r11\n\t"                                                                               \
    "bne 2b\n\t"                                                                                    \
    "3:\n\t" STROP_SCALE_MVE AWAY                                                                   \
    "vmov r1, r3, d9\n\t"                                                                           \
    "vrshl.s32 q0, q0, q2\n\t"                                                                      \
    "vrshl.s32 q1, q1, q2\n\t" STROP_NARROW_MVE                                                     \
    "vshr.u32 q1, q0, #16\n\t"                                                         \
    "add r1, r7\n\t"                                                                                \
    "vpstt\n\t"                                                                                     \
    "vstrbt.32 q0, [r7], #4\n\t"                                                                   \
    "vstrbt.32 q1, [r1]\n\t"                                                                        \
    "cmp r7, r3\n\t"                                                                                \
    "bne 4b\n\t"                                                                                    \
    "ldr r12, [sp, #64]\n\t"                                                                        \
    "ldrd r0, r2, [r12, #36]\n\t"                                                                   \
    "cmp r5, r0\n\t"                                                                                \
    "bne 5f\n\t"                                                                                    \
    "subs r2, #1\n\t"                                                                               \
    "str r2, [r12, #40]\n\t"                                                                        \
    "bne 1b\n\t"                                                                                    \
    "b 6f\n\t"                                                                                      \
    "5:\n\t"                                                                                        \
    "ldr r0, [r12, #48]\n\t"                                                                        \
    "add r1, r7, #4\n\t"                                                                            \
    "vctp.32 r0\n\t"                                                                                \
    "vmov s19, r1\n\t"                                                                              \
    "b 4b\n\t"                                                                                      \
    "6:\n\t" STROP_LEAVE_MVE

/* Outputs whose smallest value is the zero point: a negative half may go up, the clamp hides it. */
STROP_SHARED void strop_pixels_mve(strop_pixels *run) {
    register strop_pixels *context __asm__("r0") = run;
    __asm__ volatile(STROP_PIXELS_MVE("") : "+r"(context) : : "r1", "r2", "r3", "r12", "cc", "memory", "q0", "q1", "q2", "q3");
}

/* Any outputs; no shift is 0. */
STROP_SHARED void strop_pixels_signed_mve(strop_pixels *run) {
    register strop_pixels *context __asm__("r0") = run;
    __asm__ volatile(STROP_PIXELS_MVE(STROP_AWAY_MVE)
                     : "+r"(context)
                     :
                     : "r1", "r2", "r3", "r12", "cc", "memory", "q0", "q1", "q2", "q3");
}

#endif
