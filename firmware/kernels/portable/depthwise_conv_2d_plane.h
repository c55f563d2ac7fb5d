/* Depthwise 2-D convolution, int8, for cores without SIMD: any kernel, stride, dilation, padding and channel multiplier.
 * One channel at a time: its plane is copied once into a border of the zero point (folded into the biases). The padding on the
 * right of a row is that on the left of the next, so at stride 1 many rows are summed as one: outputs between them are dropped.
 * Each row of the filter is a pass over the sums; then they are finished.
 * Weights: [out_c][k_h * k_w]. Functions for all shapes. Scratch: a block of sums and the plane.
 * Cost: 2 to 3 instructions per MAC, 15 to 35 per output, 3 per input element. */
#ifndef STROP_DEPTHWISE_CONV_2D_PLANE_H
#define STROP_DEPTHWISE_CONV_2D_PLANE_H

#include "depthwise_taps.h"
#include "finish.h"

/* pitch, rows: of the plane, padding included. columns, height: of the input that windows read. block: output rows summed at
 * once; sums: of a full block, a multiple of four. step: sums from an output row to the next. */
typedef struct {
    int32_t pitch, rows, columns, height, block, sums, step;
    const strop_conv_2d_shape *s;
} strop_plane;

#define STROP_PLANE_SUMS 256

STROP_KERNEL int32_t strop_round_up_4(int32_t n) { return (n + 3) / 4 * 4; }

STROP_SHARED void strop_plane_of(strop_plane *p, const strop_conv_2d_shape *s) {
    const int32_t span = (s->out_w - 1) * s->stride_w + (s->k_w - 1) * s->dilation_w + 1;
    p->s = s;
    p->rows = (s->out_h - 1) * s->stride_h + (s->k_h - 1) * s->dilation_h + 1;
    p->columns = strop_clamp(span - s->pad_left, 0, s->in_w);
    p->height = strop_clamp(p->rows - s->pad_top, 0, s->in_h);
    p->pitch = strop_max(s->pad_left + p->columns, span - s->pad_left);
    p->step = p->pitch;
    p->block = s->stride_h == 1 && s->stride_w == 1 ? strop_clamp(STROP_PLANE_SUMS / p->pitch, 1, s->out_h) : 1;
    p->sums = strop_round_up_4((p->block - 1) * p->step + s->out_w);
}

/* Bytes of the plane, with the padding of its last row and what the last sums read for nothing. */
STROP_KERNEL int32_t strop_plane_bytes(const strop_plane *p) {
    return p->rows * p->pitch + p->s->pad_left + 3 * p->s->stride_w + 1;
}

/* One row of a channel into the plane. step: elements from a pixel to the next. */
STROP_SHARED void strop_plane_copy(const int8_t *restrict in, int8_t *restrict to, int32_t n, int32_t step) {
    for (; n >= 4; n -= 4, to += 4) {
        to[0] = *in;
        in += step;
        to[1] = *in;
        in += step;
        to[2] = *in;
        in += step;
        to[3] = *in;
        in += step;
    }
    for (; n > 0; --n, in += step) {
        *to++ = *in;
    }
}

/* One tap at any stride. */
STROP_SHARED void strop_depthwise_tap(const int8_t *restrict row, int32_t stride, int32_t w, int32_t *restrict sums,
                                      int32_t n) {
    for (const int32_t *const end = sums + n; sums != end; sums += 4) {
        sums[0] += w * row[0];
        row += stride;
        sums[1] += w * row[0];
        row += stride;
        sums[2] += w * row[0];
        row += stride;
        sums[3] += w * row[0];
        row += stride;
    }
}

/* Adds one row of the filter to n sums. */
STROP_SHARED void strop_plane_pass(const int8_t *row, const int8_t *w, int32_t *sums, int32_t n, const strop_conv_2d_shape *s) {
    int32_t kx = 0;
    if (s->dilation_w == 1 && s->stride_w <= 2) {
        for (; kx + 3 <= s->k_w; kx += 3) {
            if (s->stride_w == 1) {
                strop_depthwise_taps_3(row + kx, w + kx, sums, n);
            } else {
                strop_depthwise_taps_3_by_2(row + kx, w + kx, sums, n);
            }
        }
    }
    for (; kx < s->k_w; ++kx) {
        strop_depthwise_tap(row + kx * s->dilation_w, s->stride_w, w[kx], sums, n);
    }
}

/* Rows of sums to outputs. */
STROP_SHARED void strop_plane_finish(const int32_t *sums, int32_t rows, const strop_scaled_channel *channel, int8_t *out,
                                     const strop_plane *plane) {
    const strop_conv_2d_shape *const s = plane->s;
    const strop_scaled_channel p = *channel;
    const int32_t low = s->act_min, high = s->act_max, step = s->out_c, between = plane->step - s->out_w;
    for (; rows > 0; --rows, sums += between) {
        for (const int32_t *const end = sums + s->out_w; sums != end; out += step) {
            *out = strop_finish(*sums++, &p, low, high);
        }
    }
}

/* n sums, a multiple of four, of one value. */
STROP_KERNEL void strop_plane_fill(int32_t *sums, int32_t n, int32_t value) {
    for (const int32_t *const end = sums + n; sums != end; sums += 4) {
        sums[0] = value;
        sums[1] = value;
        sums[2] = value;
        sums[3] = value;
    }
}

/* One output channel of an image whose plane is in memory. */
STROP_SHARED void strop_plane_channel(const int8_t *plane, int32_t *sums, const int8_t *weights,
                                      const strop_scaled_channel *channel, int8_t *out, const strop_plane *p) {
    const strop_conv_2d_shape *const s = p->s;
    for (int32_t oy = 0; oy < s->out_h; oy += p->block) {
        const int32_t rows = strop_min(p->block, s->out_h - oy);
        const int32_t n = strop_round_up_4((rows - 1) * p->step + s->out_w);
        strop_plane_fill(sums, n, channel->bias);
        for (int32_t ky = 0; ky < s->k_h; ++ky) {
            const int8_t *const row = plane + (oy * s->stride_h + ky * s->dilation_h) * p->pitch;
            strop_plane_pass(row, weights + ky * s->k_w, sums, n, s);
        }
        strop_plane_finish(sums, rows, channel, out + oy * s->out_w * s->out_c, p);
    }
}

/* One image. plane: filled with the zero point. */
STROP_SHARED void strop_plane_image(const int8_t *in, int8_t *plane, int32_t *sums, const int8_t *weights,
                                    const strop_scaled_channel *channels, int8_t *out, const strop_plane *p) {
    const strop_conv_2d_shape *const s = p->s;
    int8_t *const first = plane + s->pad_top * p->pitch + s->pad_left;
    const int32_t multiplier = s->out_c / s->in_c;
    for (int32_t c = 0; c < s->in_c; ++c) {
        for (int32_t y = 0; y < p->height; ++y) {
            strop_plane_copy(in + y * s->in_w * s->in_c + c, first + y * p->pitch, p->columns, s->in_c);
        }
        for (int32_t i = 0; i < multiplier; ++i, ++channels, ++out, weights += s->k_h * s->k_w) {
            strop_plane_channel(plane, sums, weights, channels, out, p);
        }
    }
}

STROP_KERNEL void strop_depthwise_conv_2d_plane_s8(const int8_t *restrict in, const int8_t *restrict weights,
                                                   const strop_scaled_channel *restrict channels, int32_t *restrict scratch,
                                                   int8_t *restrict out, const strop_conv_2d_shape *s) {
    strop_plane p;
    strop_plane_of(&p, s);
    int8_t *const plane = (int8_t *)(scratch + p.sums);
    memset(plane, -s->in_offset, (size_t)strop_plane_bytes(&p));
    for (int32_t image = 0; image < s->batch; ++image) {
        strop_plane_image(in, plane, scratch, weights, channels, out, &p);
        in += s->in_h * s->in_w * s->in_c;
        out += s->out_h * s->out_w * s->out_c;
    }
}

#endif
