/* pixels_mve.h for filters of one or two steps: the taps of both pixels stay in registers for all blocks of channels.
 * Two steps leave no registers for bounds: outputs of the whole int8 range only.
 * Registers: even ones the eight sums; q4 to q7 taps, or bounds in q6 and q7; r5 weights, r7 and r3 outputs, r1 their end,
 * r9 zero point.
 * Cost: 36 instructions per block of eight outputs with one step, 47 with two (4 more signed), 20 per pair. */
#ifndef STROP_PIXELS_HELD_MVE_H
#define STROP_PIXELS_HELD_MVE_H

#include "pixels_mve.h"

#define STROP_HELD_STEP_MVE(MAC, A, B) \
    "vldrb.8 q2, [r5], #16\n\t"        \
    "vldrb.8 q3, [r5], #16\n\t"        \
    MAC " r0, " A ", q2\n\t"           \
    MAC " r8, " B ", q2\n\t"           \
    "vldrb.8 q2, [r5], #16\n\t"        \
    MAC " r2, " A ", q3\n\t"           \
    MAC " r10, " B ", q3\n\t"          \
    "vldrb.8 q3, [r5], #16\n\t"        \
    MAC " r4, " A ", q2\n\t"           \
    MAC " r12, " B ", q2\n\t"          \
    MAC " r6, " A ", q3\n\t"           \
    MAC " lr, " B ", q3\n\t"

#define STROP_HELD_BOUNDS_MVE            \
    "ldrd r2, r3, [r12, #60]\n\t"        \
    "vdup.16 q6, r2\n\t"                 \
    "vdup.16 q7, r3\n\t"

#define STROP_HELD_TAPS_1_MVE       \
    "vldrb.8 q4, [r1]\n\t"          \
    "vldrb.8 q5, [r2]\n\t"

#define STROP_HELD_TAPS_2_MVE       \
    STROP_HELD_TAPS_1_MVE           \
    "vldrb.8 q6, [r1, #16]\n\t"     \
    "vldrb.8 q7, [r2, #16]\n\t"

#define STROP_HELD_STEPS_1_MVE STROP_HELD_STEP_MVE("vmladav.s8", "q4", "q5")
#define STROP_HELD_STEPS_2_MVE STROP_HELD_STEPS_1_MVE STROP_HELD_STEP_MVE("vmladava.s8", "q6", "q7")

#define STROP_HELD_CLAMP_1_MVE      \
    "vmax.s16 q0, q0, q6\n\t"       \
    "vmin.s16 q0, q0, q7\n\t"

#define STROP_HELD_CLAMP_2_MVE "vqmovnb.s16 q0, q0\n\t"

#define STROP_HELD_MVE(BOUNDS, TAPS, STEPS, AWAY, CLAMP) \
    "push {r0, r4-r11, lr}\n\t"                          \
    "vpush {d8-d15}\n\t"                                 \
    "mov r12, r0\n\t"                                    \
    "ldr r9, [r12, #56]\n\t" BOUNDS                      \
    "1:\n\t"                                             \
    "ldm r12, {r1-r8, r10}\n\t"                          \
    "ldr r0, [r12, #44]\n\t"                             \
    "vctp.32 r0\n\t"                                     \
    "add r2, r1\n\t" TAPS                                \
    "add r3, r1\n\t"                                     \
    "str r3, [r12]\n\t"                                  \
    "add r10, r7\n\t"                                    \
    "str r10, [r12, #24]\n\t"                            \
    "add r1, r8, r7\n\t"                                 \
    "add r3, r7, r6\n\t"                                 \
    "4:\n\t" STEPS STROP_SCALE_MVE AWAY                  \
    "vrshl.s32 q0, q0, q2\n\t"                           \
    "vrshl.s32 q1, q1, q2\n\t"                           \
    "vqmovnb.s32 q0, q0\n\t"                             \
    "vqmovnt.s32 q0, q1\n\t"                             \
    "vqadd.s16 q0, q0, r9\n\t" CLAMP                     \
    "vshr.u32 q1, q0, #16\n\t"                           \
    "vpstt\n\t"                                          \
    "vstrbt.32 q0, [r7], #4\n\t"                         \
    "vstrbt.32 q1, [r3], #4\n\t"                         \
    "cmp r7, r1\n\t"                                     \
    "bne 4b\n\t"                                         \
    "ldr r12, [sp, #64]\n\t"                             \
    "ldrd r0, r2, [r12, #36]\n\t"                        \
    "cmp r5, r0\n\t"                                     \
    "bne 5f\n\t"                                         \
    "subs r2, #1\n\t"                                    \
    "str r2, [r12, #40]\n\t"                             \
    "bne 1b\n\t"                                         \
    "b 6f\n\t"                                           \
    "5:\n\t"                                             \
    "ldr r0, [r12, #48]\n\t"                             \
    "add r1, r7, #4\n\t"                                 \
    "vctp.32 r0\n\t"                                     \
    "b 4b\n\t"                                           \
    "6:\n\t" STROP_LEAVE_MVE

#define STROP_HELD_FUNCTION_MVE(NAME, BOUNDS, TAPS, STEPS, AWAY, CLAMP)                              \
    STROP_SHARED void NAME(strop_pixels *run) {                                                      \
        register strop_pixels *context __asm__("r0") = run;                                          \
        __asm__ volatile(STROP_HELD_MVE(BOUNDS, TAPS, STEPS, AWAY, CLAMP)                            \
                         : "+r"(context)                                                             \
                         :                                                                           \
                         : "r1", "r2", "r3", "r12", "cc", "memory", "q0", "q1", "q2", "q3");         \
    }

STROP_HELD_FUNCTION_MVE(strop_pixels_1_mve, STROP_HELD_BOUNDS_MVE, STROP_HELD_TAPS_1_MVE, STROP_HELD_STEPS_1_MVE, "",
                        STROP_HELD_CLAMP_1_MVE)
STROP_HELD_FUNCTION_MVE(strop_pixels_1_signed_mve, STROP_HELD_BOUNDS_MVE, STROP_HELD_TAPS_1_MVE, STROP_HELD_STEPS_1_MVE,
                        STROP_AWAY_MVE, STROP_HELD_CLAMP_1_MVE)
STROP_HELD_FUNCTION_MVE(strop_pixels_2_mve, "", STROP_HELD_TAPS_2_MVE, STROP_HELD_STEPS_2_MVE, "", STROP_HELD_CLAMP_2_MVE)
STROP_HELD_FUNCTION_MVE(strop_pixels_2_signed_mve, "", STROP_HELD_TAPS_2_MVE, STROP_HELD_STEPS_2_MVE, STROP_AWAY_MVE,
                        STROP_HELD_CLAMP_2_MVE)

#endif
