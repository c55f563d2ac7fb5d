/* Gathers the inputs of two output pixels as int16, less the zero point, for the dot products of dot_dsp.h.
 * Order: groups of four elements as lanes (0, 2) and (1, 3), each word of the first pixel followed by the same word of
 * the second. What fills a run to a multiple of four is undefined: the weights there are zero.
 * Runs that padding cuts, and filters that are gathered as one run, are first staged as bytes.
 * Cost: 0.94 instructions per element of both pixels and about 25 per run; staging adds 0.6 per element. */
#ifndef STROP_GATHER_DSP_H
#define STROP_GATHER_DSP_H

#include "conv_2d.h"
#include "dsp.h"

#define STROP_GATHER_FOUR             \
    "ldr r8, [r0], #4\n\t"            \
    "ldr r9, [r1], #4\n\t"            \
    "sxtab16 r4, r12, r8\n\t"         \
    "sxtab16 r5, r12, r9\n\t"         \
    "sxtab16 r6, r12, r8, ror #8\n\t" \
    "sxtab16 r7, r12, r9, ror #8\n\t" \
    "stmia r2!, {r4-r7}\n\t"

/* One run of n >= 4 elements of two pixels; returns the buffer behind it. The last one to three elements are the last
 * bytes of the four before the end, so that nothing behind the run is read. */
STROP_SHARED int32_t *strop_gather_pair(const int8_t *in_0, const int8_t *in_1, int32_t *pair, int32_t n, int32_t lanes) {
    register const int8_t *r0 __asm__("r0") = in_0;
    register const int8_t *r1 __asm__("r1") = in_1;
    register int32_t *r2 __asm__("r2") = pair;
    register int32_t r3 __asm__("r3") = n;
    register int32_t r12 __asm__("r12") = lanes;
    __asm__ volatile("subs r3, r3, #16\n\t"
                     "blo 2f\n"
                     "1:\n\t" STROP_GATHER_FOUR STROP_GATHER_FOUR STROP_GATHER_FOUR STROP_GATHER_FOUR
                     "subs r3, r3, #16\n\t"
                     "bhs 1b\n"
                     "2:\n\t"
                     "adds r3, r3, #12\n\t"
                     "bmi 4f\n"
                     "3:\n\t" STROP_GATHER_FOUR
                     "subs r3, r3, #4\n\t"
                     "bpl 3b\n"
                     "4:\n\t"
                     "adds r3, r3, #4\n\t"
                     "beq 5f\n\t"
                     "sub r0, r0, #4\n\t"
                     "sub r1, r1, #4\n\t"
                     "ldr r8, [r0, r3]\n\t"
                     "ldr r9, [r1, r3]\n\t"
                     "rsb r3, r3, #4\n\t"
                     "lsl r3, r3, #3\n\t"
                     "lsr r8, r8, r3\n\t"
                     "lsr r9, r9, r3\n\t"
                     "sxtab16 r4, r12, r8\n\t"
                     "sxtab16 r5, r12, r9\n\t"
                     "sxtab16 r6, r12, r8, ror #8\n\t"
                     "sxtab16 r7, r12, r9, ror #8\n\t"
                     "stmia r2!, {r4-r7}\n"
                     "5:"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)
                     : "r"(r12)
                     : "r4", "r5", "r6", "r7", "r8", "r9", "cc", "memory");
    return r2;
}

/* One run of n bytes of int16 elements of two pixels, two elements a word; returns the buffer behind it. */
STROP_SHARED int32_t *strop_gather_halves(const int8_t *in_0, const int8_t *in_1, int32_t *pair, int32_t n) {
    register const int8_t *r0 __asm__("r0") = in_0;
    register const int8_t *r1 __asm__("r1") = in_1;
    register int32_t *r2 __asm__("r2") = pair;
    register int32_t r3 __asm__("r3") = n;
    __asm__ volatile("subs r3, r3, #4\n\t"
                     "blo 2f\n"
                     "1:\n\t"
                     "ldr r4, [r0], #4\n\t"
                     "ldr r5, [r1], #4\n\t"
                     "subs r3, r3, #4\n\t"
                     "strd r4, r5, [r2], #8\n\t"
                     "bhs 1b\n"
                     "2:\n\t"
                     "adds r3, r3, #4\n\t"
                     "beq 3f\n\t"
                     "ldrh r4, [r0]\n\t"
                     "ldrh r5, [r1]\n\t"
                     "strd r4, r5, [r2], #8\n"
                     "3:"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)
                     :
                     : "r4", "r5", "cc", "memory");
    return r2;
}

/* n bytes from any address to any other. */
STROP_SHARED void strop_copy_bytes(int8_t *to, const int8_t *from, int32_t n) {
    int32_t word;
    __asm__ volatile("subs %[n], %[n], #4\n\t"
                     "blo 2f\n"
                     "1:\n\t"
                     "ldr %[word], [%[from]], #4\n\t"
                     "str %[word], [%[to]], #4\n\t"
                     "subs %[n], %[n], #4\n\t"
                     "bhs 1b\n"
                     "2:\n\t"
                     "adds %[n], %[n], #4\n\t"
                     "beq 4f\n"
                     "3:\n\t"
                     "ldrb %[word], [%[from]], #1\n\t"
                     "strb %[word], [%[to]], #1\n\t"
                     "subs %[n], %[n], #1\n\t"
                     "bne 3b\n"
                     "4:"
                     : [to] "+r"(to), [from] "+r"(from), [n] "+r"(n), [word] "=&r"(word)
                     :
                     : "cc", "memory");
}

/* n bytes of one value. */
STROP_SHARED void strop_fill_bytes(int8_t *to, int32_t value, int32_t n) {
    int32_t word = (int32_t)((uint32_t)(uint8_t)value * 0x01010101U);
    __asm__ volatile("subs %[n], %[n], #4\n\t"
                     "blo 2f\n"
                     "1:\n\t"
                     "str %[word], [%[to]], #4\n\t"
                     "subs %[n], %[n], #4\n\t"
                     "bhs 1b\n"
                     "2:\n\t"
                     "adds %[n], %[n], #4\n\t"
                     "beq 4f\n"
                     "3:\n\t"
                     "strb %[word], [%[to]], #1\n\t"
                     "subs %[n], %[n], #1\n\t"
                     "bne 3b\n"
                     "4:"
                     : [to] "+r"(to), [word] "+r"(word), [n] "+r"(n)
                     :
                     : "cc", "memory");
}

/* n words of zero, a multiple of two; returns the buffer behind them. */
STROP_SHARED int32_t *strop_gather_zeros(int32_t *pair, int32_t n) {
    for (const int32_t *const end = pair + n; pair != end; pair += 2) {
        pair[0] = 0;
        pair[1] = 0;
    }
    return pair;
}

/* A convolution and how it is gathered. staged: the whole filter as one run, through a copy. halves: int16 elements, of which
 * the input's channels count as two. */
typedef struct {
    strop_conv_2d_shape conv;
    bool staged, halves;
} strop_conv_dsp_shape;

/* Where a filter lies: its first row and column in the input, negative in the padding. */
typedef struct {
    int32_t y, x;
} strop_origin;

STROP_KERNEL int32_t strop_filled(int32_t elements) { return (elements + 3) / 4 * 4; }

/* Columns of a filter that are contiguous in the input. */
STROP_KERNEL int32_t strop_run_taps(const strop_conv_2d_shape *s) { return s->dilation_w == 1 && s->groups == 1 ? s->k_w : 1; }

/* Bytes of a gathered filter with what fills its runs. */
STROP_KERNEL int32_t strop_gathered(const strop_conv_dsp_shape *shape) {
    const strop_conv_2d_shape *const s = &shape->conv;
    const int32_t run = strop_run_taps(s) * (s->in_c / s->groups);
    const int32_t elements = s->k_h * s->k_w * (s->in_c / s->groups);
    return shape->staged ? strop_filled(elements) : elements / run * strop_filled(run);
}

/* True when some filter reaches beyond the input. */
STROP_KERNEL bool strop_is_cut(const strop_conv_2d_shape *s) {
    return s->pad_top > 0 || s->pad_left > 0 || (s->out_h - 1) * s->stride_h + (s->k_h - 1) * s->dilation_h >= s->in_h ||
           (s->out_w - 1) * s->stride_w + (s->k_w - 1) * s->dilation_w >= s->in_w;
}

STROP_KERNEL bool strop_row_inside(const strop_conv_2d_shape *s, int32_t y) {
    return !strop_is_cut(s) || (uint32_t)y < (uint32_t)s->in_h;
}

/* True when taps columns from x on lie in the input. */
STROP_KERNEL bool strop_columns_inside(const strop_conv_2d_shape *s, int32_t x, int32_t taps) {
    return !strop_is_cut(s) || (x >= 0 && x + taps <= s->in_w);
}

/* What cutting a run needs of a layer: rows, columns and channels of the input, columns and bytes of a run, and the byte
 * of its zero point. */
typedef struct {
    int32_t height, width, channels, taps, bytes, zero;
} strop_cut;

STROP_KERNEL strop_cut strop_cut_of(const strop_conv_2d_shape *s) {
    const int32_t taps = strop_run_taps(s);
    const strop_cut cut = {s->in_h, s->in_w, s->in_c, taps, taps * (s->in_c / s->groups), -s->in_offset};
    return cut;
}

/* Copies a run that may be cut, the input's zero point where it is. in: the image at the group's first channel. */
STROP_SHARED void strop_stage_cut(int8_t *to, const int8_t *in, const strop_cut *cut, int32_t y, int32_t x) {
    const int32_t first = x < 0 ? -x : 0;
    const int32_t end = strop_min(cut->width - x, cut->taps);
    if ((uint32_t)y >= (uint32_t)cut->height || end <= first) {
        strop_fill_bytes(to, cut->zero, cut->bytes);
        return;
    }
    const int32_t depth = cut->taps == 1 ? cut->bytes : cut->channels;
    strop_fill_bytes(to, cut->zero, first * depth);
    strop_copy_bytes(to + first * depth, in + (y * cut->width + x + first) * cut->channels, (end - first) * depth);
    strop_fill_bytes(to + end * depth, cut->zero, (cut->taps - end) * depth);
}

/* A whole run, inline where it is short. */
STROP_KERNEL void strop_stage_run(int8_t *to, const int8_t *from, int32_t bytes) {
    if (bytes <= 16) {
        __builtin_memcpy(to, from, (size_t)bytes);
    } else {
        strop_copy_bytes(to, from, bytes);
    }
}

/* True when no run of the filter is cut. */
STROP_KERNEL bool strop_filter_inside(const strop_conv_2d_shape *s, strop_origin at) {
    return !strop_is_cut(s) || (at.y >= 0 && at.x >= 0 && at.y + (s->k_h - 1) * s->dilation_h < s->in_h &&
                                at.x + (s->k_w - 1) * s->dilation_w < s->in_w);
}

/* The whole filter of one pixel as bytes. */
STROP_KERNEL void strop_stage_filter(int8_t *to, const int8_t *in, const strop_conv_2d_shape *s, const strop_cut *cut,
                                     strop_origin at) {
    const int32_t taps = strop_run_taps(s);
    const int32_t bytes = taps * (s->in_c / s->groups);
    const int32_t end_y = at.y + s->k_h * s->dilation_h, end_x = at.x + s->k_w * s->dilation_w;
    if (strop_filter_inside(s, at)) {
        STROP_ROLLED
        for (int32_t y = at.y; y != end_y; y += s->dilation_h) {
            STROP_ROLLED
            for (int32_t x = at.x; x != end_x; x += taps * s->dilation_w, to += bytes) {
                strop_stage_run(to, in + (y * s->in_w + x) * s->in_c, bytes);
            }
        }
        return;
    }
    for (int32_t y = at.y; y != end_y; y += s->dilation_h) {
        for (int32_t x = at.x; x != end_x; x += taps * s->dilation_w, to += bytes) {
            strop_stage_cut(to, in, cut, y, x);
        }
    }
}

/* The run of one pixel: where it lies, or a copy of it where it is cut. */
STROP_KERNEL const int8_t *strop_run_of(const int8_t *in, const strop_conv_2d_shape *s, const strop_cut *cut,
                                         int32_t y, int32_t x, int8_t *stage) {
    if (strop_row_inside(s, y) && strop_columns_inside(s, x, strop_run_taps(s))) {
        return in + (y * s->in_w + x) * s->in_c;
    }
    strop_stage_cut(stage, in, cut, y, x);
    return stage;
}

/* One run of both pixels. */
STROP_KERNEL int32_t *strop_gather_run(const int8_t *in_0, const int8_t *in_1, int32_t *pair, int32_t n,
                                       const strop_conv_dsp_shape *shape) {
    const int32_t lanes = (int32_t)((uint32_t)(uint16_t)shape->conv.in_offset * 0x10001U);
    return shape->halves ? strop_gather_halves(in_0, in_1, pair, n) : strop_gather_pair(in_0, in_1, pair, n, lanes);
}

/* The filters of two pixels, run by run. */
STROP_KERNEL void strop_gather_runs(const int8_t *in, const strop_conv_dsp_shape *shape, const strop_cut *cut,
                                    strop_origin at_0, strop_origin at_1, int32_t *pair, int8_t *stage) {
    const strop_conv_2d_shape *const s = &shape->conv;
    const int32_t taps = strop_run_taps(s);
    const int32_t run = taps * (s->in_c / s->groups);
    for (int32_t ky = 0; ky < s->k_h; ++ky) {
        const int32_t y_0 = at_0.y + ky * s->dilation_h, y_1 = at_1.y + ky * s->dilation_h;
        if (!strop_row_inside(s, y_0) && !strop_row_inside(s, y_1)) {
            pair = strop_gather_zeros(pair, s->k_w / taps * strop_filled(run) / (shape->halves ? 2 : 1));
            continue;
        }
        for (int32_t kx = 0; kx < s->k_w; kx += taps) {
            const int8_t *const run_0 = strop_run_of(in, s, cut, y_0, at_0.x + kx * s->dilation_w, stage);
            const int8_t *const run_1 = strop_run_of(in, s, cut, y_1, at_1.x + kx * s->dilation_w, stage + strop_filled(run));
            pair = strop_gather_run(run_0, run_1, pair, run, shape);
        }
    }
}

/* The filters of two pixels. stage: two staged filters, or two staged runs. */
STROP_KERNEL void strop_gather_pairs(const int8_t *in, const strop_conv_dsp_shape *shape, const strop_cut *cut, strop_origin at_0,
                               strop_origin at_1, int32_t *pair, int8_t *stage) {
    if (shape->staged) {
        const int32_t filled = strop_gathered(shape);
        strop_stage_filter(stage, in, &shape->conv, cut, at_0);
        strop_stage_filter(stage + filled, in, &shape->conv, cut, at_1);
        strop_gather_run(stage, stage + filled, pair, filled, shape);
    } else {
        strop_gather_runs(in, shape, cut, at_0, at_1, pair, stage);
    }
}

#endif
