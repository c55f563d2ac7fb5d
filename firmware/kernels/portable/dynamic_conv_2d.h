/* 2-D convolution and fully connected layers of dynamic range: float32 in and out, sums on integers, any kernel, stride, dilation,
 * padding and groups. Every image is counted in steps of its own grid (dynamic_range.h) before it is convolved.
 * Layout: activations NHWC; weights int8, for every group [fours of its channels][k_h][k_w][in_c / groups][4], the last four
 * filled by zeros; a scale for every output channel. One loaded count serves four output channels.
 * Cost per MAC: about 2.6 instructions; an output or an input 30 (without an FPU 270). Scratch: 2 bytes per element of an image. */
#ifndef STROP_DYNAMIC_CONV_2D_H
#define STROP_DYNAMIC_CONV_2D_H

#include "conv_2d_f32.h"
#include "dynamic_range.h"

/* Four sums, of as many output channels. */
typedef struct {
    int32_t a, b, c, d;
} strop_whole_four;

/* The sums plus those of in[k] * weights[4 * k + i]. */
STROP_KERNEL strop_whole_four strop_dot_4_whole(const int16_t *restrict in, const int8_t *restrict weights, int32_t n,
                                                strop_whole_four sums) {
    for (int32_t k = 0; k < n; ++k, weights += 4) {
        const int32_t x = *in++;
        sums.a += x * weights[0];
        sums.b += x * weights[1];
        sums.c += x * weights[2];
        sums.d += x * weights[3];
    }
    return sums;
}

/* A sum to an output. */
STROP_KERNEL float strop_dynamic_result(int32_t sum, float step, const float *restrict scales, const float *restrict bias,
                                        int32_t channel, const strop_conv_2d_f32_shape *s) {
    return strop_conv_2d_result_f32((float)sum * step, scales, bias, channel, s);
}

/* Up to four outputs. */
STROP_KERNEL void strop_dynamic_results(const strop_whole_four *sums, float step, const float *restrict scales,
                                        const float *restrict bias, float *restrict out, int32_t channel, int32_t count,
                                        const strop_conv_2d_f32_shape *s) {
    out[channel] = strop_dynamic_result(sums->a, step, scales, bias, channel, s);
    if (count > 1) {
        out[channel + 1] = strop_dynamic_result(sums->b, step, scales, bias, channel + 1, s);
    }
    if (count > 2) {
        out[channel + 2] = strop_dynamic_result(sums->c, step, scales, bias, channel + 2, s);
    }
    if (count > 3) {
        out[channel + 3] = strop_dynamic_result(sums->d, step, scales, bias, channel + 3, s);
    }
}

/* Which loop runs, and counts of a pixel with their filling. */
typedef struct {
    strop_whole_four (*dot)(const int16_t *restrict, const int8_t *restrict, int32_t, strop_whole_four);
    int32_t pixel;
} strop_dynamic_loop;

/* Sums of four channels of one output pixel. in: the group's first channel of the image. depth: counts that a tap reads. */
STROP_KERNEL strop_whole_four strop_dynamic_sums(const int16_t *restrict in, const int8_t *restrict weights, int32_t depth,
                                                 const strop_conv_2d_f32_shape *s, const strop_window *w,
                                                 const strop_dynamic_loop *loop) {
    const bool contiguous = s->dilation_w == 1 && s->groups == 1;
    const int32_t runs = contiguous ? 1 : w->end_x - w->first_x;
    const int32_t n = contiguous ? (w->end_x - w->first_x) * depth : depth;
    strop_whole_four sums = {0, 0, 0, 0};
    for (int32_t ky = w->first_y; ky < w->end_y; ++ky) {
        const int32_t row = (w->y + ky * s->dilation_h) * s->in_w + w->x;
        const int16_t *pixel = in + (row + w->first_x * s->dilation_w) * loop->pixel;
        const int8_t *taps = weights + 4 * (ky * s->k_w + w->first_x) * depth;
        for (int32_t run = 0; run < runs; ++run, pixel += s->dilation_w * loop->pixel, taps += 4 * depth) {
            sums = loop->dot(pixel, taps, n, sums);
        }
    }
    return sums;
}

/* All output channels of one pixel. */
STROP_KERNEL void strop_dynamic_pixel(const int16_t *restrict in, const int8_t *restrict weights, float step,
                                      const float *restrict scales, const float *restrict bias, float *restrict out,
                                      const strop_conv_2d_f32_shape *s, const strop_window *w,
                                      const strop_dynamic_loop *loop) {
    const int32_t depth = loop->pixel / s->groups;
    const int32_t per_group = s->out_c / s->groups;
    for (int32_t group = 0; group < s->groups; ++group, in += depth) {
        for (int32_t channel = 0; channel < per_group; channel += 4, weights += 4 * s->k_h * s->k_w * depth) {
            const strop_whole_four sums = strop_dynamic_sums(in, weights, depth, s, w, loop);
            strop_dynamic_results(&sums, step, scales, bias, out, group * per_group + channel, per_group - channel, s);
        }
    }
}

/* All pixels of an image that was counted in steps. */
STROP_KERNEL void strop_dynamic_image(const int16_t *restrict in, const int8_t *restrict weights, float step,
                                      const float *restrict scales, const float *restrict bias, float *restrict out,
                                      const strop_conv_2d_f32_shape *s, const strop_dynamic_loop *loop) {
    for (int32_t oy = 0; oy < s->out_h; ++oy) {
        strop_window w = strop_window_rows_f32(s, oy);
        for (int32_t ox = 0; ox < s->out_w; ++ox, out += s->out_c) {
            strop_window_columns_f32(&w, s, ox);
            strop_dynamic_pixel(in, weights, step, scales, bias, out, s, &w, loop);
        }
    }
}

STROP_KERNEL void strop_dynamic_conv_2d(const float *restrict in, const int8_t *restrict weights,
                                        const float *restrict scales, const float *restrict bias,
                                        int16_t *restrict scratch, float *restrict out,
                                        const strop_conv_2d_f32_shape *s) {
    const int32_t elements = s->in_h * s->in_w * s->in_c;
    const strop_dynamic_loop loop = {strop_dot_4_whole, s->in_c};
    for (int32_t image = 0; image < s->batch; ++image, in += elements, out += s->out_h * s->out_w * s->out_c) {
        const strop_grid grid = strop_grid_of(in, elements);
        strop_count_steps(in, scratch, elements, &grid);
        strop_dynamic_image(scratch, weights, grid.step, scales, bias, out, s, &loop);
    }
}

#endif
