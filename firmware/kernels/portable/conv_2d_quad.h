/* 2-D convolution and fully connected layers, int8, four pixels a time on cores without SIMD: any kernel, stride, dilation,
 * padding and groups. Two pixels share a 32-bit word, so that one multiplication serves both: quad.h.
 * Layout: the inputs of four pixels are gathered in words, [tap][2], the padding as the zero point (folded into the biases).
 * Weights: [out_c][taps], taps filled by zeros to an even number; a pair of weights is never (-128, -128).
 * One function for all shapes. Scratch: 8 bytes per tap, and k_w * depth bytes of padding.
 * Cost: 1.4 to 2.5 instructions per MAC, 15 to 40 per output, 2 to 3 per gathered element. */
#ifndef STROP_CONV_2D_QUAD_H
#define STROP_CONV_2D_QUAD_H

#include "conv_2d.h"
#include "quad_channels.h"

/* One of the four output pixels: where its filter begins. */
typedef struct {
    const int8_t *from;
    int32_t y, x;
} strop_quad_pixel;

/* Taps of a channel, filled to an even number. */
STROP_KERNEL int32_t strop_quad_taps(const strop_conv_2d_shape *s) {
    return (s->k_h * s->k_w * (s->in_c / s->groups) + 1) / 2 * 2;
}

/* The inputs of four pixels. pad: k_w * depth bytes of the zero point. */
STROP_SHARED void strop_quad_gather(const strop_quad_pixel pixels[4], const int8_t *pad, int32_t *to,
                                    const strop_conv_2d_shape *s) {
    const int32_t depth = s->in_c / s->groups;
    bool whole = s->dilation_w == 1 && s->groups == 1;
    for (int32_t i = 0; i < 4; ++i) {
        whole = whole && pixels[i].x >= 0 && pixels[i].x + s->k_w <= s->in_w;
    }
    const int32_t taps = whole ? s->k_w : 1;
    for (int32_t ky = 0; ky < s->k_h; ++ky) {
        for (int32_t kx = 0; kx < s->k_w; kx += taps) {
            const int32_t down = ky * s->dilation_h, right = kx * s->dilation_w;
            const int32_t offset = (down * s->in_w + right) * s->in_c;
            const int8_t *runs[4];
            for (int32_t i = 0; i < 4; ++i) {
                const strop_quad_pixel *const pixel = &pixels[i];
                const bool inside = (uint32_t)(pixel->y + down) < (uint32_t)s->in_h &&
                                    (uint32_t)(pixel->x + right) < (uint32_t)s->in_w;
                runs[i] = inside ? pixel->from + offset : pad;
            }
            to = strop_quad_interleave(runs, taps * depth, to);
        }
    }
}

/* The places of the filter for the next four pixels; beyond the last one that one again. Moves (oy, ox) on. */
STROP_KERNEL void strop_quad_place(strop_quad_pixel pixels[4], const int8_t *in, int32_t left, int32_t *oy, int32_t *ox,
                                   const strop_conv_2d_shape *s) {
    for (int32_t i = 0; i < 4; ++i) {
        pixels[i].y = *oy * s->stride_h - s->pad_top;
        pixels[i].x = *ox * s->stride_w - s->pad_left;
        pixels[i].from = in + (pixels[i].y * s->in_w + pixels[i].x) * s->in_c;
        if (i < left - 1 && ++*ox == s->out_w) {
            *ox = 0;
            ++*oy;
        }
    }
}

/* One image. What is computed for pixels beyond the last goes where the last pixel's results go, and is the same. */
STROP_SHARED void strop_quad_image(const int8_t *in, const int8_t *weights, const strop_scaled_channel *channels,
                                   int32_t *scratch, int8_t *out, const strop_conv_2d_shape *s) {
    const int32_t depth = s->in_c / s->groups;
    strop_quad_block block = {strop_quad_taps(s), s->out_c / s->groups, s->act_min, s->act_max, {0, 0, 0}};
    const int8_t *const pad = (const int8_t *)(scratch + 2 * block.taps);
    int32_t oy = 0, ox = 0;
    for (int32_t left = s->out_h * s->out_w; left > 0; left -= 4, out += 4 * s->out_c) {
        strop_quad_pixel pixels[4];
        strop_quad_place(pixels, in, left, &oy, &ox, s);
        for (int32_t i = 0; i < 3; ++i) {
            block.at[i] = strop_min(i + 1, left - 1) * s->out_c;
        }
        for (int32_t group = 0; group < s->groups; ++group) {
            const int32_t first = group * block.channels;
            strop_quad_gather(pixels, pad, scratch, s);
            strop_quad_channels(scratch, weights + first * block.taps, channels + first, out + first, &block);
            for (int32_t i = 0; i < 4; ++i) {
                pixels[i].from += depth;
            }
        }
    }
}

STROP_KERNEL void strop_conv_2d_quad_s8(const int8_t *restrict in, const int8_t *restrict weights,
                                        const strop_scaled_channel *restrict channels, int32_t *restrict scratch,
                                        int8_t *restrict out, const strop_conv_2d_shape *s) {
    memset(scratch + 2 * strop_quad_taps(s), -s->in_offset, (size_t)(s->k_w * (s->in_c / s->groups)));
    for (int32_t image = 0; image < s->batch; ++image) {
        strop_quad_image(in, weights, channels, scratch, out, s);
        in += s->in_h * s->in_w * s->in_c;
        out += s->out_h * s->out_w * s->out_c;
    }
}

#endif
