/* 2-D convolution, int8, two pixels x four channels, any kernel, stride, dilation, padding and groups.
 * Weights: one stream per group, for each block of four channels:
 *   4 biases | pairs of int16 weights, 4 channels a pair, in the order of gather_dsp.h | 4 x (mantissa, addend, shift, bounds).
 * Weights and biases are doubled, so that the high half of a product with the mantissa is the doubling multiply.
 * addend = (1 << (shift - 1)) + (output zero point << shift): rounding and zero point in one addition.
 * bounds: the activation's smallest value in the low half, its largest in the high half.
 * Registers: 8 accumulators, 2 activations, 2 weights, 2 pointers: all there are. So a block is a function of its own, the
 * same for every shape.
 * Cost: 0.69 instructions per MAC + 0.05 of loop, 9 per output, 1 per gathered element. Scratch: 4 bytes per element of a filter. */
#ifndef STROP_CONV_2D_DSP_H
#define STROP_CONV_2D_DSP_H

#include "gather_dsp.h"

/* How a sum becomes an output. floored: the activation's floor is the output's zero point or above it, which hides the
 * difference in rounding of negative halves. clamped: the bounds are tighter than int8. */
typedef struct {
    bool floored, clamped;
} strop_finish;

/* Requantize one doubled sum. p: mantissa, addend, shift, bounds. */
STROP_KERNEL int8_t strop_requantize_dsp(int32_t twice_acc, int32_t mantissa, int32_t addend, int32_t shift, int32_t bounds,
                                         strop_finish finish) {
    int32_t y;
    if (finish.floored) {
        y = strop_smmlar(twice_acc, mantissa, addend) >> shift;
    } else {
        const int32_t high = strop_smmulr(twice_acc, mantissa);
        y = (high + (high >> 31) + addend) >> shift;
    }
    return (int8_t)(finish.clamped ? strop_clamp(y, (int16_t)bounds, bounds >> 16) : strop_saturate_s8(y));
}

/* One channel of two pixels. */
STROP_KERNEL void strop_requantize_pair_dsp(int32_t sum_0, int32_t sum_1, const int32_t *p, int8_t *out_0, int8_t *out_1,
                                            strop_finish finish) {
    const int32_t mantissa = p[0], addend = p[1], shift = p[2], bounds = p[3];
    *out_0 = strop_requantize_dsp(sum_0, mantissa, addend, shift, bounds, finish);
    *out_1 = strop_requantize_dsp(sum_1, mantissa, addend, shift, bounds, finish);
}

/* Two taps of two pixels and four channels: 11 instructions for 16 multiply-accumulates. */
#define STROP_STEP_2X4                  \
    "ldrd %[a0], %[a1], [%[a]], #8\n\t" \
    "ldrd %[w0], %[w1], [%[w]], #8\n\t" \
    "smlad %[s00], %[a0], %[w0], %[s00]\n\t" \
    "smlad %[s10], %[a1], %[w0], %[s10]\n\t" \
    "smlad %[s01], %[a0], %[w1], %[s01]\n\t" \
    "smlad %[s11], %[a1], %[w1], %[s11]\n\t" \
    "ldrd %[w0], %[w1], [%[w]], #8\n\t" \
    "smlad %[s02], %[a0], %[w0], %[s02]\n\t" \
    "smlad %[s12], %[a1], %[w0], %[s12]\n\t" \
    "smlad %[s03], %[a0], %[w1], %[s03]\n\t" \
    "smlad %[s13], %[a1], %[w1], %[s13]\n\t"

/* The loop over STEPS until a reaches the end. All 14 registers are in use, so the end, which comes in a0, is kept on
 * the stack meanwhile; no operand is addressed through sp. */
#define STROP_LOOP_2X4(STEPS)                                                                                             \
    __asm__ volatile("push {%[a0]}\n\t"                                                                                   \
                     "1:\n\t" STEPS "ldr %[w0], [sp]\n\t"                                                                 \
                     "cmp %[w0], %[a]\n\t"                                                                                \
                     "bne 1b\n\t"                                                                                         \
                     "add sp, sp, #4\n\t"                                                                                 \
                     : [s00] "+r"(s00), [s01] "+r"(s01), [s02] "+r"(s02), [s03] "+r"(s03), [s10] "+r"(s10),               \
                       [s11] "+r"(s11), [s12] "+r"(s12), [s13] "+r"(s13), [a] "+r"(a), [w] "+r"(w), [a0] "+r"(a0),        \
                       [a1] "=&r"(a1), [w0] "=&r"(w0), [w1] "=&r"(w1)                                                     \
                     :                                                                                                    \
                     : "cc", "memory")

/* One block of four channels for two pixels; returns the stream behind the block. pairs: a multiple of two. */
STROP_KERNEL const int32_t *strop_conv_block(const int32_t *a, const int32_t *w, int32_t pairs, int8_t *out_0, int8_t *out_1,
                                             strop_finish finish) {
    int32_t s00 = w[0], s01 = w[1], s02 = w[2], s03 = w[3];
    int32_t s10 = s00, s11 = s01, s12 = s02, s13 = s03;
    int32_t a0 = (int32_t)(intptr_t)(a + 2 * pairs), a1, w0, w1;
    w += 4;
    if (pairs % 8 == 0) {
        STROP_LOOP_2X4(STROP_STEP_2X4 STROP_STEP_2X4 STROP_STEP_2X4 STROP_STEP_2X4 STROP_STEP_2X4 STROP_STEP_2X4 STROP_STEP_2X4
                           STROP_STEP_2X4);
    } else if (pairs % 4 == 0) {
        STROP_LOOP_2X4(STROP_STEP_2X4 STROP_STEP_2X4 STROP_STEP_2X4 STROP_STEP_2X4);
    } else {
        STROP_LOOP_2X4(STROP_STEP_2X4 STROP_STEP_2X4);
    }
    strop_requantize_pair_dsp(s00, s10, w, out_0, out_1, finish);
    strop_requantize_pair_dsp(s01, s11, w + 4, out_0 + 1, out_1 + 1, finish);
    strop_requantize_pair_dsp(s02, s12, w + 8, out_0 + 2, out_1 + 2, finish);
    strop_requantize_pair_dsp(s03, s13, w + 12, out_0 + 3, out_1 + 3, finish);
    return w + 16;
}

STROP_SHARED const int32_t *strop_conv_block_floored(const int32_t *a, const int32_t *w, int32_t pairs, int8_t *out_0,
                                                     int8_t *out_1) {
    return strop_conv_block(a, w, pairs, out_0, out_1, (strop_finish){true, false});
}

STROP_SHARED const int32_t *strop_conv_block_floored_clamped(const int32_t *a, const int32_t *w, int32_t pairs, int8_t *out_0,
                                                             int8_t *out_1) {
    return strop_conv_block(a, w, pairs, out_0, out_1, (strop_finish){true, true});
}

STROP_SHARED const int32_t *strop_conv_block_signed(const int32_t *a, const int32_t *w, int32_t pairs, int8_t *out_0,
                                                    int8_t *out_1) {
    return strop_conv_block(a, w, pairs, out_0, out_1, (strop_finish){false, false});
}

STROP_SHARED const int32_t *strop_conv_block_signed_clamped(const int32_t *a, const int32_t *w, int32_t pairs, int8_t *out_0,
                                                            int8_t *out_1) {
    return strop_conv_block(a, w, pairs, out_0, out_1, (strop_finish){false, true});
}

/* Calls the block that finishes as asked. */
STROP_KERNEL const int32_t *strop_conv_block_2x4(const int32_t *a, const int32_t *w, int32_t pairs, int8_t *out_0,
                                                 int8_t *out_1, strop_finish finish) {
    if (finish.floored) {
        return finish.clamped ? strop_conv_block_floored_clamped(a, w, pairs, out_0, out_1)
                              : strop_conv_block_floored(a, w, pairs, out_0, out_1);
    }
    return finish.clamped ? strop_conv_block_signed_clamped(a, w, pairs, out_0, out_1)
                          : strop_conv_block_signed(a, w, pairs, out_0, out_1);
}

/* How a layer's outputs are finished. */
STROP_KERNEL strop_finish strop_finish_of(const strop_conv_2d_shape *s) {
    const strop_finish finish = {s->act_min >= s->out_offset, s->act_min > INT8_MIN || s->act_max < INT8_MAX};
    return finish;
}

/* Pairs of int16 weights per channel: filled runs of a filter. */
STROP_KERNEL int32_t strop_conv_dsp_pairs(const strop_conv_2d_shape *s) {
    const int32_t depth = s->in_c / s->groups;
    const bool contiguous = s->dilation_w == 1 && s->groups == 1;
    const int32_t run = contiguous ? s->k_w * depth : depth;
    const int32_t runs = contiguous ? s->k_h : s->k_h * s->k_w;
    return runs * ((run + 3) / 4) * 2;
}

/* All channels of two pixels whose inputs are gathered in pair. A block cut by the last channel goes through a copy. */
STROP_KERNEL const int32_t *strop_conv_dsp_channels(const int32_t *pair, const int32_t *w, int8_t *out_0, int8_t *out_1,
                                                    const strop_conv_2d_shape *s) {
    const int32_t channels = s->out_c / s->groups;
    const int32_t pairs = strop_conv_dsp_pairs(s);
    int32_t c = 0;
    for (; c + 4 <= channels; c += 4) {
        w = strop_conv_block_2x4(pair, w, pairs, out_0 + c, out_1 + c, strop_finish_of(s));
    }
    if (channels % 4 != 0) {
        int8_t last[8];
        w = strop_conv_block_2x4(pair, w, pairs, last, last + 4, strop_finish_of(s));
        for (int32_t i = 0; i < channels % 4; ++i) {
            out_0[c + i] = last[i];
            out_1[c + i] = last[4 + i];
        }
    }
    return w;
}

/* An odd last pixel is computed together with itself. */
STROP_KERNEL void strop_conv_2d_dsp(const int8_t *restrict in, const int32_t *restrict weights, int32_t *restrict pair,
                                    int8_t *restrict out, const strop_conv_2d_shape *s) {
    const int32_t depth = s->in_c / s->groups;
    const int32_t per_group = s->out_c / s->groups;
    const int32_t pixels = s->out_h * s->out_w;
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c, out += pixels * s->out_c) {
        int32_t oy = 0, ox = 0;
        for (int32_t pixel = 0; pixel < pixels; pixel += 2) {
            const int32_t y0 = oy, x0 = ox;
            if (++ox == s->out_w) {
                ox = 0;
                ++oy;
            }
            const bool alone = pixel + 1 == pixels;
            int8_t *const out_0 = out + pixel * s->out_c;
            int8_t *const out_1 = alone ? out_0 : out_0 + s->out_c;
            const int32_t *w = weights;
            for (int32_t group = 0; group < s->groups; ++group) {
                strop_gather_pixel(in + group * depth, s, y0, x0, pair);
                strop_gather_pixel(in + group * depth, s, alone ? y0 : oy, alone ? x0 : ox, pair + 1);
                w = strop_conv_dsp_channels(pair, w, out_0 + group * per_group, out_1 + group * per_group, s);
            }
            if (++ox >= s->out_w) {
                ox = 0;
                ++oy;
            }
        }
    }
}

#endif
