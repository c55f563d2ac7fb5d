/* 2-D convolution with filters of three columns at column stride 1, int8, by Winograd's F(2, 3) along rows: two neighbouring
 * outputs from four products a channel and filter row instead of six. Exact: the transformed weights are kept doubled, so
 * that they are integers and give the doubled sum that requantization wants. Depth: a multiple of four.
 * Two tiles of two outputs at a time, four channels. Inputs d0 … d3 of a tile: d1 + d2, d2 - d1, d0 - d2, d1 - d3.
 * Weights g0, g1, g2 of a row, in the same order: g0 + g1 + g2, g0 - g1 + g2, 2 g0, -2 g2.
 * Stream, for each block of four channels: 4 doubled biases | steps of the first three | 4 x (mantissa, addend, shift) |
 * steps of the last | the 4 x 3 again; steps as the wide ones of dot_dsp.h.
 * Registers: as in dot_dsp.h. On the stack: outputs of both tiles (first pixels, then second ones), inputs, bytes of the inputs
 * of one product, end of stream, entry into the steps, end of the inputs, where to go on, sums.
 * Cost of a block for its 16 outputs: 11 instructions a step, 183 and 12 for every 16 steps begun; gathering takes 2.1
 * instructions per transformed element. Scratch: 16 bytes per element of a filter column, two staged rows of four columns. */
#ifndef STROP_CONV_2D_WINOGRAD_DSP_H
#define STROP_CONV_2D_WINOGRAD_DSP_H

#include "clamp_dsp.h"
#include "dot_dsp.h"
#include "gather_dsp.h"

/* As strop_dot; section: bytes of the inputs of one product. out: of both tiles, first pixels, then second ones. */
typedef struct {
    const int32_t *pair;
    int32_t section, back, stream_bytes;
    int8_t *out[4];
} strop_winograd;

/* One product from the inputs at r0 on; goes on at label. */
#define STROP_WINOGRAD_RUN(label) \
    "adr.w r2, " label "\n\t"     \
    "ldr r3, [sp, #20]\n\t"       \
    "add r3, r3, r0\n\t"          \
    "strd r3, r2, [sp, #32]\n\t"  \
    "ldr pc, [sp, #28]\n\t"

#define STROP_WINOGRAD_BEGIN     \
    "ldmia.w r0, {r4-r11}\n\t"   \
    "adr.w r12, 3f\n\t"          \
    "sub.w r12, r12, r6\n\t"     \
    "add.w r7, r7, r1\n\t"       \
    "sub sp, sp, #40\n\t"        \
    "push {r4, r5, r7, r12}\n\t" \
    "push {r8-r11}\n\t"          \
    "1:\n\t"                     \
    "ldmia.w r1!, {r6-r9}\n\t"   \
    "mov r10, r6\n\t"            \
    "mov r11, r7\n\t"            \
    "mov r12, r8\n\t"            \
    "mov lr, r9\n\t"             \
    "ldr r0, [sp, #16]\n\t"      \
    STROP_WINOGRAD_RUN("4f")     \
    "2:\n\t"                     \
    ".rept 16\n\t"               \
    "ldrd r2, r3, [r0], #8\n\t"  \
    "ldrd r4, r5, [r1], #8\n\t"  \
    STROP_DOT_WIDE_STEP          \
    ".endr\n\t"                  \
    "3:\n\t"                     \
    "ldrd r2, r3, [sp, #32]\n\t" \
    "cmp r2, r0\n\t"             \
    "bne.w 2b\n\t"               \
    "mov pc, r3\n\t"

/* The first product is kept, the second begins at 0. */
#define STROP_WINOGRAD_SECOND      \
    "4:\n\t"                       \
    "add r2, sp, #40\n\t"          \
    "stmia.w r2, {r6-r12, lr}\n\t" \
    "mov r6, #0\n\t"               \
    "mov r7, #0\n\t"               \
    "mov r8, #0\n\t"               \
    "mov r9, #0\n\t"               \
    "mov r10, #0\n\t"              \
    "mov r11, #0\n\t"              \
    "mov r12, #0\n\t"              \
    "mov lr, #0\n\t"               \
    STROP_WINOGRAD_RUN("5f")

/* Sum and difference of two products: the sum stays, the difference is kept. */
#define STROP_WINOGRAD_COMBINE(a, b, place) \
    "ldrd r4, r5, [sp, #" place "]\n\t"     \
    "sub r2, r4, " a "\n\t"                 \
    "sub r3, r5, " b "\n\t"                 \
    "add " a ", " a ", r4\n\t"              \
    "add " b ", " b ", r5\n\t"              \
    "strd r2, r3, [sp, #" place "]\n\t"

#define STROP_WINOGRAD_THIRD                                                                   \
    "5:\n\t" STROP_WINOGRAD_COMBINE("r6", "r7", "40") STROP_WINOGRAD_COMBINE("r8", "r9", "48") \
    STROP_WINOGRAD_COMBINE("r10", "r11", "56") STROP_WINOGRAD_COMBINE("r12", "lr", "64")       \
    STROP_WINOGRAD_RUN("6f")

#define STROP_WINOGRAD_FINISH(place, place_1)              \
    "ldrd r2, r3, [sp, #" place "]\n\t"                    \
    STROP_DOT_SIGNED_ALL("ldr r3, [sp, #" place_1 "]\n\t") \
    "strd r2, r3, [sp, #" place "]\n\t"

#define STROP_WINOGRAD_FOURTH        \
    "6:\n\t"                         \
    STROP_WINOGRAD_FINISH("0", "4")  \
    "ldr r0, [sp, #32]\n\t"          \
    "add r2, sp, #40\n\t"            \
    "ldmia.w r2, {r6-r12, lr}\n\t"   \
    STROP_WINOGRAD_RUN("7f")         \
    "7:\n\t"                         \
    STROP_WINOGRAD_FINISH("8", "12") \
    "ldr r0, [sp, #24]\n\t"          \
    "cmp r0, r1\n\t"                 \
    "bne.w 1b\n\t"                   \
    "add sp, sp, #72\n\t"

/* The blocks of one stream; returns the stream behind them. */
STROP_SHARED const int32_t *strop_winograd_blocks(const strop_winograd *winograd, const int32_t *stream) {
    register const strop_winograd *r0 __asm__("r0") = winograd;
    register const int32_t *r1 __asm__("r1") = stream;
    __asm__ volatile(STROP_WINOGRAD_BEGIN STROP_WINOGRAD_SECOND STROP_WINOGRAD_THIRD STROP_WINOGRAD_FOURTH
                     : "+r"(r0), "+r"(r1)
                     :
                     : "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
    return r1;
}

/* Transforms one lane pair of four columns, r5-r8, and stores the products' inputs. rotate: ", ror #8" for odd lanes. */
#define STROP_WINOGRAD_LANES(rotate)     \
    "sxtab16 r9, r12, r5" rotate "\n\t"  \
    "sxtab16 r11, r12, r7" rotate "\n\t" \
    "ssub16 r9, r9, r11\n\t"             \
    "str r9, [r2, r1, lsl #1]\n\t"       \
    "sxtab16 r10, r12, r6" rotate "\n\t" \
    "sadd16 r9, r10, r11\n\t"            \
    "str r9, [r2]\n\t"                   \
    "ssub16 r11, r11, r10\n\t"           \
    "str r11, [r2, r1]\n\t"              \
    "sxtab16 r9, r12, r8" rotate "\n\t"  \
    "ssub16 r10, r10, r9\n\t"            \
    "str r10, [r2, lr]\n\t"              \
    "add r2, r2, #8\n\t"

/* Four columns of depth elements of one tile. section: bytes from one product's inputs to the next's.
 * Registers: r0 inputs, r1 section, r2 buffer, r3 depth, r4 three times the depth, r5-r8 bytes, r9-r11 lanes, r12 offset,
 * lr three times the section. */
STROP_SHARED void strop_winograd_gather(const int8_t *in, int32_t section, int32_t *to, int32_t depth, int32_t lanes) {
    register const int8_t *r0 __asm__("r0") = in;
    register int32_t r1 __asm__("r1") = section;
    register int32_t *r2 __asm__("r2") = to;
    register int32_t r3 __asm__("r3") = depth;
    register int32_t r12 __asm__("r12") = lanes;
    __asm__ volatile("add r4, r3, r0\n\t"
                     "push {r4}\n\t"
                     "add r4, r3, r3, lsl #1\n\t"
                     "add lr, r1, r1, lsl #1\n"
                     "1:\n\t"
                     "ldr r6, [r0, r3]\n\t"
                     "ldr r7, [r0, r3, lsl #1]\n\t"
                     "ldr r8, [r0, r4]\n\t"
                     "ldr r5, [r0], #4\n\t" STROP_WINOGRAD_LANES("") STROP_WINOGRAD_LANES(", ror #8")
                     "ldr r9, [sp]\n\t"
                     "cmp r9, r0\n\t"
                     "bne 1b\n\t"
                     "add sp, sp, #4"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r12)
                     :
                     : "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "lr", "cc", "memory");
}

/* All filter rows of one tile. to: 0 or 1 words into the buffer of both tiles. */
STROP_KERNEL void strop_winograd_tile(const int8_t *in, const strop_conv_2d_shape *s, const strop_cut *cut, strop_origin at,
                                      int32_t *to, int8_t *stage) {
    const int32_t lanes = (int32_t)((uint32_t)(uint16_t)s->in_offset * 0x10001U);
    for (int32_t ky = 0; ky < s->k_h; ++ky, to += s->in_c) {
        const int8_t *row = in + ((at.y + ky * s->dilation_h) * s->in_w + at.x) * s->in_c;
        if ((uint32_t)(at.y + ky * s->dilation_h) >= (uint32_t)s->in_h || at.x < 0 || at.x + 4 > s->in_w) {
            strop_stage_cut(stage, in, cut, at.y + ky * s->dilation_h, at.x);
            row = stage;
        }
        strop_winograd_gather(row, 4 * s->k_h * s->in_c, to, s->in_c, lanes);
    }
}

/* All channels of both tiles. A block cut by the last channel goes through a copy. */
STROP_KERNEL void strop_winograd_channels(strop_winograd *winograd, const int32_t *stream, int32_t channels,
                                          int32_t block_words) {
    const int32_t rest = channels % 4;
    if (channels >= 4) {
        winograd->stream_bytes = 4 * (channels / 4) * block_words;
        stream = strop_winograd_blocks(winograd, stream);
    }
    if (rest != 0) {
        int8_t last[16];
        int8_t *const out[4] = {winograd->out[0], winograd->out[1], winograd->out[2], winograd->out[3]};
        winograd->stream_bytes = 4 * block_words;
        for (int32_t pixel = 0; pixel < 4; ++pixel) {
            winograd->out[pixel] = last + 4 * pixel;
        }
        strop_winograd_blocks(winograd, stream);
        for (int32_t pixel = 0; pixel < 4; ++pixel) {
            for (int32_t i = 0; i < rest; ++i) {
                out[pixel][channels - rest + i] = last[4 * pixel + i];
            }
        }
    }
}

/* A tile's place among the outputs: row, and column of its first pixel. */
typedef struct {
    int32_t y, x;
} strop_tile;

STROP_KERNEL strop_tile strop_next_tile(strop_tile tile, const strop_conv_2d_shape *s) {
    const bool wraps = tile.x + 2 >= s->out_w;
    const strop_tile next = {wraps ? tile.y + 1 : tile.y, wraps ? 0 : tile.x + 2};
    return next;
}

/* Inputs and outputs of a tile, number 0 or 1. spare: takes the pixel beyond an odd row's end. */
STROP_KERNEL void strop_winograd_begin(strop_winograd *winograd, int32_t number, strop_tile tile, const int8_t *in,
                                       int32_t *pair, int8_t *stage, int8_t *out, int8_t *spare, const strop_conv_2d_shape *s,
                                       const strop_cut *cut) {
    const strop_origin at = {tile.y * s->stride_h - s->pad_top, tile.x - s->pad_left};
    int8_t *const first = out + (tile.y * s->out_w + tile.x) * s->out_c;
    winograd->out[number] = first;
    winograd->out[2 + number] = tile.x + 1 == s->out_w ? spare : first + s->out_c;
    strop_winograd_tile(in, s, cut, at, pair + number, stage);
}

/* An odd last tile is computed together with itself. */
STROP_KERNEL void strop_conv_2d_winograd_dsp(const int8_t *restrict in, const int32_t *restrict weights,
                                             int32_t *restrict pair, int8_t *restrict out, const strop_conv_2d_shape *s) {
    const int32_t steps = s->k_h * s->in_c / 2;
    const int32_t block_words = 16 * steps + 28;
    const int32_t first = (steps - 1) % STROP_DOT_STEPS + 1;
    const int32_t tiles = s->out_h * ((s->out_w + 1) / 2);
    const strop_cut cut = {s->in_h, s->in_w, s->in_c, 4, 4 * s->in_c, -s->in_offset};
    int8_t *const stage = (int8_t *)(pair + 8 * steps);
    strop_winograd winograd = {pair, 8 * steps, first * STROP_WIDE_STEP_BYTES - 1, 0, {out, out, out, out}};
    for (int32_t image = 0; image < s->batch; ++image) {
        const int8_t *const from = in + image * s->in_h * s->in_w * s->in_c;
        int8_t *const to = out + image * s->out_h * s->out_w * s->out_c;
        strop_tile tile = {0, 0};
        for (int32_t left = tiles; left > 0; left -= 2) {
            const strop_tile other = left == 1 ? tile : strop_next_tile(tile, s);
            strop_winograd_begin(&winograd, 0, tile, from, pair, stage, to, stage + 4 * s->in_c, s, &cut);
            strop_winograd_begin(&winograd, 1, other, from, pair, stage, to, stage + 4 * s->in_c, s, &cut);
            strop_winograd_channels(&winograd, weights, s->out_c, block_words);
            tile = strop_next_tile(other, s);
        }
    }
    strop_clamp_outputs(out, s->batch * s->out_h * s->out_w * s->out_c, s->act_min, s->act_max);
}

#endif
