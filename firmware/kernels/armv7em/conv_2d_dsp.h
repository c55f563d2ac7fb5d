/* 2-D convolution, int8, two pixels x four channels, any kernel, stride, dilation, padding and groups.
 * Weights: a stream of dot_dsp.h per group, in the order of gather_dsp.h.
 * Cost: as dot_dsp.h says, 1 instruction per gathered element, about 60 per pair of pixels.
 * Scratch: 4 bytes per element of a gathered filter, and two staged runs or filters. */
#ifndef STROP_CONV_2D_DSP_H
#define STROP_CONV_2D_DSP_H

#include "clamp_dsp.h"
#include "dot_dsp.h"
#include "gather_dsp.h"

/* True when the smallest output is below the zero point, so that sums below zero count. */
STROP_KERNEL bool strop_is_signed(const strop_conv_2d_shape *s) { return s->act_min < s->out_offset; }

/* Which of the dot products runs. */
typedef struct {
    bool wide, is_signed, halves;
} strop_dot_kind;

STROP_KERNEL const int32_t *strop_dot_blocks(const strop_dot *dot, const int32_t *stream, int8_t *out_0, int8_t *out_1,
                                             strop_dot_kind kind) {
    if (kind.halves) {
        return strop_dot_half(dot, stream, out_0, out_1);
    }
    if (kind.wide) {
        return kind.is_signed ? strop_dot_wide_signed(dot, stream, out_0, out_1)
                              : strop_dot_wide_floored(dot, stream, out_0, out_1);
    }
    return kind.is_signed ? strop_dot_byte_signed(dot, stream, out_0, out_1)
                          : strop_dot_byte_floored(dot, stream, out_0, out_1);
}

/* All channels of one group of two pixels. A block cut by the last channel goes through a copy. */
STROP_KERNEL const int32_t *strop_conv_channels(strop_dot *dot, const int32_t *stream, int8_t *out_0, int8_t *out_1,
                                                int32_t channels, int32_t block_words, strop_dot_kind kind) {
    const int32_t rest = channels % 4;
    if (channels >= 4) {
        dot->stream_bytes = 4 * (channels / 4) * block_words;
        stream = strop_dot_blocks(dot, stream, out_0, out_1, kind);
    }
    if (rest != 0) {
        const int32_t bytes = kind.halves ? 2 : 1;
        _Alignas(2) int8_t last[16];
        dot->stream_bytes = 4 * block_words;
        stream = strop_dot_blocks(dot, stream, last, last + 8, kind);
        __builtin_memcpy(out_0 + bytes * (channels - rest), last, (size_t)(bytes * rest));
        __builtin_memcpy(out_1 + bytes * (channels - rest), last + 8, (size_t)(bytes * rest));
    }
    return stream;
}

STROP_KERNEL strop_origin strop_origin_of(const strop_conv_2d_shape *s, int32_t oy, int32_t ox) {
    const strop_origin at = {oy * s->stride_h - s->pad_top, ox * s->stride_w - s->pad_left};
    return at;
}

/* An odd last pixel is computed together with itself. */
STROP_KERNEL void strop_conv_pairs_dsp(const int8_t *restrict in, const int32_t *restrict weights, int32_t *restrict pair,
                                      int8_t *restrict out, const strop_conv_dsp_shape *shape, bool wide) {
    const strop_conv_2d_shape *const s = &shape->conv;
    const int32_t channels = s->out_c / s->groups;
    const int32_t pixel = s->out_c * (shape->halves ? 2 : 1);
    const int32_t group_bytes = pixel / s->groups;
    const int32_t steps = strop_gathered(shape) / (shape->halves ? 4 : 2);
    const int32_t block_words = steps * (wide ? 4 : 2) + (shape->halves ? 8 : 16);
    strop_dot dot = strop_dot_of(pair, steps, wide ? STROP_WIDE_STEP_BYTES : STROP_BYTE_STEP_BYTES);
    const strop_dot_kind kind = {wide, strop_is_signed(s), shape->halves};
    const strop_cut cut = strop_cut_of(s);
    int8_t *const stage = (int8_t *)(pair + 2 * steps);
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c) {
        int32_t oy = 0, ox = 0;
        for (int32_t left = s->out_h * s->out_w; left > 0; left -= 2, out += 2 * pixel) {
            const strop_origin at_0 = strop_origin_of(s, oy, ox);
            if (++ox == s->out_w) {
                ox = 0;
                ++oy;
            }
            const strop_origin at_1 = left == 1 ? at_0 : strop_origin_of(s, oy, ox);
            int8_t *const out_1 = left == 1 ? out : out + pixel;
            if (++ox >= s->out_w) {
                ox = 0;
                ++oy;
            }
            const int32_t *w = weights;
            for (int32_t group = 0; group < s->groups; ++group) {
                strop_gather_pairs(in + group * (s->in_c / s->groups), shape, &cut, at_0, at_1, pair, stage);
                w = strop_conv_channels(&dot, w, out + group * group_bytes, out_1 + group * group_bytes, channels, block_words,
                                        kind);
            }
        }
        out -= s->out_h * s->out_w % 2 * pixel;
    }
}

STROP_KERNEL void strop_conv_2d_any_dsp(const int8_t *restrict in, const int32_t *restrict weights, int32_t *restrict pair,
                                        int8_t *restrict out, const strop_conv_dsp_shape *s, bool wide) {
    strop_conv_pairs_dsp(in, weights, pair, out, s, wide);
    const int32_t outputs = s->conv.batch * s->conv.out_h * s->conv.out_w * s->conv.out_c;
    strop_clamp_outputs(out, outputs, s->conv.act_min, s->conv.act_max);
}

STROP_KERNEL void strop_conv_2d_dsp(const int8_t *restrict in, const int32_t *restrict weights, int32_t *restrict pair,
                                    int8_t *restrict out, const strop_conv_dsp_shape *s) {
    strop_conv_2d_any_dsp(in, weights, pair, out, s, true);
}

STROP_KERNEL void strop_conv_2d_byte_dsp(const int8_t *restrict in, const int32_t *restrict weights, int32_t *restrict pair,
                                         int8_t *restrict out, const strop_conv_dsp_shape *s) {
    strop_conv_2d_any_dsp(in, weights, pair, out, s, false);
}

/* Int16 activations, zero points 0, sums that fit int32. */
STROP_KERNEL void strop_conv_2d_s16_dsp(const int16_t *restrict in, const int32_t *restrict weights, int32_t *restrict pair,
                                        int16_t *restrict out, const strop_conv_dsp_shape *s) {
    strop_conv_pairs_dsp((const int8_t *)in, weights, pair, (int8_t *)out, s, true);
    const int32_t outputs = s->conv.batch * s->conv.out_h * s->conv.out_w * s->conv.out_c;
    strop_clamp_outputs_s16(out, outputs, s->conv.act_min, s->conv.act_max);
}

#endif
