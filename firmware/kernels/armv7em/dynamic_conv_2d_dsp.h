/* 2-D convolution and fully connected layers of dynamic range with the DSP extension, without groups: four taps of four channels a
 * step, two products an instruction. Every pixel is counted in steps and filled by zeros to a multiple of four counts.
 * Layout: weights int8, [fours of channels][k_h][k_w][depth / 4][4 channels][4], of four depths the order 0, 2, 1, 3; depth and
 * channels are filled by zeros.
 * Cost per MAC: about 1.65 instructions; an output 30, an input 30. Scratch: 2 bytes per filled element of an image. */
#ifndef STROP_DYNAMIC_CONV_2D_DSP_H
#define STROP_DYNAMIC_CONV_2D_DSP_H

#include "dsp.h"
#include "dynamic_conv_2d.h"

/* Bytes 0 and 2, sign extended. */
STROP_KERNEL int32_t strop_even_bytes(int32_t bytes) {
    int32_t lanes;
    __asm__("sxtb16 %0, %1" : "=r"(lanes) : "r"(bytes));
    return lanes;
}

/* Bytes 1 and 3, sign extended. */
STROP_KERNEL int32_t strop_odd_bytes(int32_t bytes) {
    int32_t lanes;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(lanes) : "r"(bytes));
    return lanes;
}

/* acc + the products of both lanes. */
STROP_KERNEL int32_t strop_two_products(int32_t a, int32_t b, int32_t acc) {
    int32_t sum;
    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}

STROP_KERNEL int32_t strop_four_products(int32_t first, int32_t second, int32_t weights, int32_t acc) {
    return strop_two_products(strop_odd_bytes(weights), second, strop_two_products(strop_even_bytes(weights), first, acc));
}

/* The sums plus those of n counts, a multiple of four, with weights in the order above. */
STROP_KERNEL strop_whole_four strop_dot_4_dsp(const int16_t *restrict in, const int8_t *restrict weights, int32_t n,
                                              strop_whole_four sums) {
    for (const int16_t *const end = in + n; in != end; in += 4, weights += 16) {
        const int32_t first = strop_load_bytes((const int8_t *)in), second = strop_load_bytes((const int8_t *)(in + 2));
        sums.a = strop_four_products(first, second, strop_load_bytes(weights), sums.a);
        sums.b = strop_four_products(first, second, strop_load_bytes(weights + 4), sums.b);
        sums.c = strop_four_products(first, second, strop_load_bytes(weights + 8), sums.c);
        sums.d = strop_four_products(first, second, strop_load_bytes(weights + 12), sums.d);
    }
    return sums;
}

/* The image's counts, every pixel filled by zeros. */
STROP_KERNEL void strop_count_pixels(const float *restrict in, int16_t *restrict out, int32_t filled, const strop_grid *grid,
                                     const strop_conv_2d_f32_shape *s) {
    const int32_t depth = s->in_c;
    if (depth == filled) {
        strop_count_steps(in, out, s->in_h * s->in_w * depth, grid);
        return;
    }
    for (int32_t pixel = 0; pixel < s->in_h * s->in_w; ++pixel, in += depth, out += filled) {
        strop_count_steps(in, out, depth, grid);
        for (int32_t i = depth; i < filled; ++i) {
            out[i] = 0;
        }
    }
}

STROP_KERNEL void strop_dynamic_conv_2d_dsp(const float *restrict in, const int8_t *restrict weights,
                                            const float *restrict scales, const float *restrict bias,
                                            int16_t *restrict scratch, float *restrict out,
                                            const strop_conv_2d_f32_shape *s) {
    const int32_t elements = s->in_h * s->in_w * s->in_c;
    const strop_dynamic_loop loop = {strop_dot_4_dsp, (s->in_c + 3) / 4 * 4};
    for (int32_t image = 0; image < s->batch; ++image, in += elements, out += s->out_h * s->out_w * s->out_c) {
        const strop_grid grid = strop_grid_of(in, elements);
        strop_count_pixels(in, scratch, loop.pixel, &grid, s);
        strop_dynamic_image(scratch, weights, grid.step, scales, bias, out, s, &loop);
    }
}

#endif
