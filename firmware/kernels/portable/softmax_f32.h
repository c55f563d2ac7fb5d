/* Softmax, log-softmax and l2 normalization over rows of float32. Exponentials are kept in the output: no scratch.
 * Cost: about 60 float operations per element for the first two, 5 for the last. */
#ifndef STROP_SOFTMAX_F32_H
#define STROP_SOFTMAX_F32_H

#include "math_f32.h"

/* beta: factor of the inputs, of softmax alone. */
typedef struct {
    int32_t rows, depth;
    float beta;
} strop_softmax_f32_shape;

/* The largest of factor * in[i]. */
STROP_KERNEL float strop_row_top_f32(const float *in, int32_t depth, float factor) {
    float top = factor * in[0];
    for (int32_t i = 1; i < depth; ++i) {
        top = strop_max_f32(top, factor * in[i]);
    }
    return top;
}

STROP_KERNEL void strop_softmax_f32(const float *in, float *out, const strop_softmax_f32_shape *s) {
    for (int32_t row = 0; row < s->rows; ++row, in += s->depth, out += s->depth) {
        const float top = strop_row_top_f32(in, s->depth, s->beta);
        float sum = 0.0F;
        for (int32_t i = 0; i < s->depth; ++i) {
            out[i] = strop_exp_f32(s->beta * in[i] - top);
            sum += out[i];
        }
        for (int32_t i = 0; i < s->depth; ++i) {
            out[i] /= sum;
        }
    }
}

STROP_KERNEL void strop_log_softmax_f32(const float *in, float *out, const strop_softmax_f32_shape *s) {
    for (int32_t row = 0; row < s->rows; ++row, in += s->depth, out += s->depth) {
        const float top = strop_row_top_f32(in, s->depth, 1.0F);
        float sum = 0.0F;
        for (int32_t i = 0; i < s->depth; ++i) {
            out[i] = in[i] - top;
            sum += strop_exp_f32(out[i]);
        }
        const float log = strop_log_f32(sum);
        for (int32_t i = 0; i < s->depth; ++i) {
            out[i] -= log;
        }
    }
}

/* x / max(|x|, 1e-6). */
STROP_KERNEL void strop_l2_norm_f32(const float *in, float *out, const strop_softmax_f32_shape *s) {
    for (int32_t row = 0; row < s->rows; ++row, in += s->depth, out += s->depth) {
        float sum = 0.0F;
        for (int32_t i = 0; i < s->depth; ++i) {
            sum += in[i] * in[i];
        }
        const float length = strop_max_f32(strop_sqrt_f32(sum), 1e-6F);
        for (int32_t i = 0; i < s->depth; ++i) {
            out[i] = in[i] / length;
        }
    }
}

#endif
