/* Gathers the inputs of two output pixels as int16, less the zero point, for the dot products of the DSP kernels.
 * Order: groups of four elements as two words, lanes (0, 2) and (1, 3), each word of the first pixel followed by the
 * same word of the second. Runs are filled to a multiple of four (the weights there are zero).
 * Cost: 1 instruction per element and about 12 per run. */
#ifndef STROP_GATHER_DSP_H
#define STROP_GATHER_DSP_H

#include "conv_2d.h"
#include "dsp.h"

/* Lanes of one word of a pixel in the pair buffer, as halfwords. */
STROP_KERNEL void strop_put_lane(int16_t *pixel, int32_t index, int32_t value) {
    const int32_t word = 2 * (index >> 2) + (index & 1);
    pixel[4 * word + ((index >> 1) & 1)] = (int16_t)value;
}

/* Four elements to two words. */
STROP_KERNEL void strop_gather_four(const int8_t *in, int32_t lanes, int32_t *pixel) {
    const int32_t bytes = strop_load_bytes(in);
    pixel[0] = strop_widen_even(lanes, bytes);
    pixel[2] = strop_widen_odd(lanes, bytes);
}

/* One contiguous run of n elements, sixteen at a time; pixel: its first word in the buffer. */
STROP_KERNEL void strop_gather_run(const int8_t *in, int32_t n, int32_t offset, int32_t *pixel) {
    const int32_t lanes = (int32_t)((uint32_t)(uint16_t)offset * 0x10001U);
    const int8_t *const last_16 = in + n / 16 * 16;
    for (; in != last_16; in += 16, pixel += 16) {
        strop_gather_four(in, lanes, pixel);
        strop_gather_four(in + 4, lanes, pixel + 4);
        strop_gather_four(in + 8, lanes, pixel + 8);
        strop_gather_four(in + 12, lanes, pixel + 12);
    }
    for (int32_t four = 0; four < n % 16 / 4; ++four, in += 4, pixel += 4) {
        strop_gather_four(in, lanes, pixel);
    }
    for (int32_t lane = 0; lane < n % 4; ++lane) {
        strop_put_lane((int16_t *)(void *)pixel, lane, in[lane] + offset);
    }
}

/* n elements of zero, a multiple of four. */
STROP_KERNEL void strop_gather_zeros(int32_t n, int32_t *pixel) {
    for (const int32_t *const end = pixel + n; pixel != end; pixel += 4) {
        pixel[0] = 0;
        pixel[2] = 0;
    }
}

/* A run that the padding cuts: zeros where the input has no pixel. first, end: pixels inside; depth: elements a pixel. */
STROP_KERNEL void strop_gather_cut_run(const int8_t *in, int32_t taps, int32_t first, int32_t end, int32_t depth,
                                       int32_t offset, int32_t *pixel) {
    if (depth % 4 == 0) {
        const int32_t inside = end > first ? end - first : 0;
        strop_gather_zeros(first * depth, pixel);
        strop_gather_run(in + first * depth, inside * depth, offset, pixel + first * depth);
        strop_gather_zeros((taps - first - inside) * depth, pixel + (first + inside) * depth);
        return;
    }
    int16_t *const lanes = (int16_t *)(void *)pixel;
    for (int32_t i = 0; i < taps * depth; ++i) {
        const bool inside = i >= first * depth && i < end * depth;
        strop_put_lane(lanes, i, inside ? in[i] + offset : 0);
    }
}

/* All runs of one output pixel. in: the image at the group's first channel. pixel: 0 or 1 words into the pair buffer. */
STROP_KERNEL void strop_gather_pixel(const int8_t *in, const strop_conv_2d_shape *s, int32_t oy, int32_t ox, int32_t *pixel) {
    const int32_t depth = s->in_c / s->groups;
    const bool contiguous = s->dilation_w == 1 && s->groups == 1;
    const int32_t taps = contiguous ? s->k_w : 1;
    const int32_t stride = 4 * ((taps * depth + 3) / 4);
    const int32_t x = ox * s->stride_w - s->pad_left;
    for (int32_t ky = 0; ky < s->k_h; ++ky) {
        const int32_t y = oy * s->stride_h - s->pad_top + ky * s->dilation_h;
        const bool row_inside = y >= 0 && y < s->in_h;
        for (int32_t kx = 0; kx < s->k_w; kx += taps, pixel += stride) {
            const int32_t left = x + kx * s->dilation_w;
            const int32_t first = row_inside ? strop_clamp(-left, 0, taps) : taps;
            const int32_t end = row_inside ? strop_clamp(s->in_w - left, 0, taps) : taps;
            const int8_t *const run = in + (y * s->in_w + left) * s->in_c;
            if (first == 0 && end == taps) {
                strop_gather_run(run, taps * depth, s->in_offset, pixel);
            } else {
                strop_gather_cut_run(run, taps, first, end, depth, s->in_offset, pixel);
            }
        }
    }
}

#endif
