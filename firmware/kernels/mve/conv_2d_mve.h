/* 2-D convolution and fully connected layers of several rows, int8, with the vector extension.
 * The columns of the input under a row of outputs lie in the scratch, each from top to bottom, so that the taps of a pixel are
 * contiguous, in the order [k_w][k_h][depth]; padding is the zero point. Pixels of 1x1 filters are read in place.
 * Weights: one stream per group, as pixels_mve.h says. Odd rows are paired with the row below rather than by neighbours.
 * Cost: that of pixels_mve.h and of columns_mve.h for every row of outputs. Scratch: the columns of a strip of pixels. */
#ifndef STROP_CONV_2D_MVE_H
#define STROP_CONV_2D_MVE_H

#include "columns_mve.h"
#include "pixels_held_mve.h"

/* column: bytes of one column of the filter, at least k_h * depth. strip: pixels of a row that are gathered at once.
 * rows: rows of outputs gathered at once, 1 or 2; 2 takes whole rows. */
typedef struct {
    int32_t batch, in_h, in_w, in_c, out_h, out_w, out_c, groups;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t in_offset, out_offset, act_min, act_max, column, strip, rows;
} strop_conv_2d_mve_shape;

STROP_KERNEL int32_t strop_steps_mve(const strop_conv_2d_mve_shape *s) { return (s->k_w * s->column + 15) / 16; }

/* What all runs of a layer share. */
STROP_KERNEL strop_pixels strop_pixels_of(const strop_conv_2d_mve_shape *s) {
    const int32_t channels = s->out_c / s->groups, steps = strop_steps_mve(s);
    strop_pixels run = {0};
    run.bytes = 16 * steps;
    run.full = channels < 4 ? 4 : channels / 4 * 4;
    run.lanes = strop_min(channels, 4);
    run.tail = channels % 4;
    run.entry = 56 * (3 - (steps + 2) % 4);
    run.zero_point = s->out_offset;
    run.act_min = s->act_min;
    run.act_max = s->act_max;
    return run;
}

STROP_KERNEL void strop_run_pairs_mve(strop_pixels *run, int32_t pairs, const strop_conv_2d_mve_shape *s) {
    const bool is_signed = s->act_min < s->out_offset, whole_range = s->act_min == INT8_MIN && s->act_max == INT8_MAX;
    const int32_t steps = strop_steps_mve(s);
    run->pairs = pairs;
    if (steps == 1) {
        (is_signed ? strop_pixels_1_signed_mve : strop_pixels_1_mve)(run);
    } else if (steps == 2 && whole_range) {
        (is_signed ? strop_pixels_2_signed_mve : strop_pixels_2_mve)(run);
    } else {
        (is_signed ? strop_pixels_signed_mve : strop_pixels_mve)(run);
    }
}

/* n pixels at even distances from run->a: neighbours as pairs, an odd one as both of a pair. */
STROP_KERNEL void strop_run_row_mve(strop_pixels *run, int32_t n, int32_t pixel, const strop_conv_2d_mve_shape *s) {
    run->b_offset = pixel;
    run->step = 2 * pixel;
    run->out_b = s->out_c;
    run->out_step = 2 * s->out_c;
    if (n > 1) {
        strop_run_pairs_mve(run, n / 2, s);
    }
    if (n % 2 != 0) {
        run->b_offset = 0;
        run->out_b = 0;
        strop_run_pairs_mve(run, 1, s);
    }
}

STROP_KERNEL int32_t strop_group_bytes_mve(const strop_conv_2d_mve_shape *s) {
    return (s->out_c / s->groups + 3) / 4 * (64 * strop_steps_mve(s) + 48);
}

STROP_KERNEL void strop_set_group_mve(strop_pixels *run, const int8_t *weights, int32_t group, const strop_conv_2d_mve_shape *s) {
    run->weights = weights + group * strop_group_bytes_mve(s);
    run->weights_end = run->weights + strop_group_bytes_mve(s);
}

/* A row of n pixels of a 1x1 filter, `pixel` bytes apart: in place as far as their filled taps end before `end`, else copied. */
STROP_KERNEL void strop_row_in_place_mve(const int8_t *taps, const int8_t *end, int32_t pixel, int32_t n, strop_pixels *run,
                                         int8_t *scratch, int8_t *out, const strop_conv_2d_mve_shape *s) {
    const int32_t depth = s->in_c / s->groups, bytes = run->bytes;
    const int32_t room = (int32_t)(end - taps) - bytes;
    const int32_t safe = depth % 16 == 0 ? n : strop_clamp(room < 0 ? 0 : room / pixel + 1, 0, n) / 2 * 2;
    run->a = taps;
    run->out = out;
    if (safe > 0) {
        strop_run_row_mve(run, safe, pixel, s);
    }
    for (int32_t i = safe; i < n; i += 2) {
        const int32_t count = strop_min(n - i, 2);
        const strop_columns columns = {taps + i * pixel, scratch, count, pixel, bytes, depth};
        strop_copy_columns_mve(&columns);
        run->a = scratch;
        strop_run_row_mve(run, count, bytes, s);
        run->out = out + (i + 2) * s->out_c;
    }
}

/* Without padding or steps between pixels the image is one long row. */
STROP_KERNEL void strop_conv_in_place_mve(const int8_t *in, const int8_t *weights, int8_t *scratch, int8_t *out,
                                          const strop_conv_2d_mve_shape *s) {
    const bool flat = s->stride_h == 1 && s->stride_w == 1 && s->out_h == s->in_h && s->out_w == s->in_w;
    const int32_t rows = flat ? 1 : s->batch * s->out_h;
    const int32_t pixels = flat ? s->batch * s->out_h * s->out_w : s->out_w;
    const int8_t *const end = in + s->batch * s->in_h * s->in_w * s->in_c;
    strop_pixels run = strop_pixels_of(s);
    for (int32_t row = 0; row < rows; ++row, out += pixels * s->out_c) {
        const int32_t y = row / s->out_h * s->in_h + row % s->out_h * s->stride_h;
        for (int32_t group = 0; group < s->groups; ++group) {
            strop_set_group_mve(&run, weights, group, s);
            strop_row_in_place_mve(in + y * s->in_w * s->in_c + group * (s->in_c / s->groups), end, s->stride_w * s->in_c, pixels,
                                   &run, scratch, out + group * (s->out_c / s->groups), s);
        }
    }
}

/* Columns of one row of the filter. y: row of the input. first: column of the first, step: columns to the next one.
 * bare: padding is not filled, because nothing else was there before. */
STROP_KERNEL void strop_filter_row_mve(const int8_t *in, int8_t *to, int32_t y, int32_t first, int32_t step, int32_t n,
                                       int32_t to_step, bool bare, const strop_conv_2d_mve_shape *s) {
    const int32_t depth = s->in_c / s->groups;
    const int8_t zero = (int8_t)-s->in_offset;
    const bool inside = y >= 0 && y < s->in_h;
    const int32_t begin = inside ? strop_min(first < 0 ? (step - 1 - first) / step : 0, n) : n;
    const int32_t end = inside ? strop_clamp((s->in_w - first + step - 1) / step, begin, n) : n;
    if (begin > 0 && !(bare && inside)) {
        strop_fill_columns_mve(to, zero, begin, to_step, depth);
    }
    if (end > begin) {
        const strop_columns columns = {in + (y * s->in_w + first + begin * step) * s->in_c, to + begin * to_step, end - begin,
                                       step * s->in_c, to_step, depth};
        if (depth <= 4) {
            strop_copy_small_columns_mve(&columns, depth, s->column > s->k_h * depth);
        } else {
            strop_copy_columns_mve(&columns);
        }
    }
    if (end < n && !bare) {
        strop_fill_columns_mve(to + end * to_step, zero, n - end, to_step, depth);
    }
}

/* The columns under n pixels of output row oy from column ox on. Where filters do not overlap, each has its own. */
STROP_KERNEL void strop_strip_mve(const int8_t *in, int8_t *to, int32_t oy, int32_t ox, int32_t n,
                                  const strop_conv_2d_mve_shape *s) {
    const bool apart = s->dilation_w > 1 || s->stride_w > s->k_w;
    const bool bare = s->strip >= s->out_w;
    const int32_t depth = s->in_c / s->groups;
    const int32_t x = ox * s->stride_w - s->pad_left;
    for (int32_t ky = 0; ky < s->k_h; ++ky, to += depth) {
        const int32_t y = oy * s->stride_h - s->pad_top + ky * s->dilation_h;
        if (!apart) {
            strop_filter_row_mve(in, to, y, x, 1, (n - 1) * s->stride_w + s->k_w, s->column, bare, s);
        }
        for (int32_t kx = 0; apart && kx < s->k_w; ++kx) {
            strop_filter_row_mve(in, to + kx * s->column, y, x + kx * s->dilation_w, s->stride_w, n, s->k_w * s->column, bare, s);
        }
    }
}

/* Bytes from the taps of a pixel to those of the next in the scratch, and of the scratch for one row. */
STROP_KERNEL int32_t strop_pixel_bytes_mve(const strop_conv_2d_mve_shape *s) {
    return (s->dilation_w > 1 || s->stride_w > s->k_w ? s->k_w : s->stride_w) * s->column;
}

STROP_KERNEL int32_t strop_strip_bytes_mve(const strop_conv_2d_mve_shape *s) {
    return (s->strip - 1) * strop_pixel_bytes_mve(s) + 16 * strop_steps_mve(s);
}

/* Output pixels ox to ox + n of `rows` rows from oy on, all groups. */
STROP_KERNEL void strop_conv_strip_mve(const int8_t *in, strop_pixels *run, const int8_t *weights, int8_t *scratch, int8_t *out,
                                       int32_t oy, int32_t ox, int32_t n, int32_t rows, const strop_conv_2d_mve_shape *s) {
    for (int32_t group = 0; group < s->groups; ++group) {
        const int8_t *const from = in + group * (s->in_c / s->groups);
        for (int32_t row = 0; row < rows; ++row) {
            strop_strip_mve(from, scratch + row * strop_strip_bytes_mve(s), oy + row, ox, n, s);
        }
        strop_set_group_mve(run, weights, group, s);
        run->a = scratch;
        run->out = out + (oy * s->out_w + ox) * s->out_c + group * (s->out_c / s->groups);
        if (rows == 2) {
            run->b_offset = strop_strip_bytes_mve(s);
            run->step = strop_pixel_bytes_mve(s);
            run->out_b = s->out_w * s->out_c;
            run->out_step = s->out_c;
            strop_run_pairs_mve(run, n, s);
        } else {
            strop_run_row_mve(run, n, strop_pixel_bytes_mve(s), s);
        }
    }
}

STROP_KERNEL void strop_conv_2d_mve(const int8_t *restrict in, const int8_t *restrict weights, int8_t *restrict scratch,
                                    int8_t *restrict out, const strop_conv_2d_mve_shape *s) {
    if (s->k_h * s->k_w == 1 && s->pad_top == 0 && s->pad_left == 0 && (s->out_h - 1) * s->stride_h < s->in_h &&
        (s->out_w - 1) * s->stride_w < s->in_w) {
        strop_conv_in_place_mve(in, weights, scratch, out, s);
        return;
    }
    strop_pixels run = strop_pixels_of(s);
    strop_fill_columns_mve(scratch, (int8_t)-s->in_offset, 1, 0, s->rows * strop_strip_bytes_mve(s));
    for (int32_t image = 0; image < s->batch; ++image, in += s->in_h * s->in_w * s->in_c, out += s->out_h * s->out_w * s->out_c) {
        for (int32_t oy = 0; oy < s->out_h; oy += s->rows) {
            for (int32_t ox = 0; ox < s->out_w; ox += s->strip) {
                const int32_t rows = strop_min(s->rows, s->out_h - oy);
                strop_conv_strip_mve(in, &run, weights, scratch, out, oy, ox, strop_min(s->strip, s->out_w - ox), rows, s);
            }
        }
    }
}

#endif
