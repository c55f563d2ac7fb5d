/* Float to quantized integers and back with a scale per channel, or to int32. Halves away from zero, NaN gives the zero
 * point. Cost: about 25 instructions per element with an FPU. No scratch. */
#ifndef STROP_QUANTIZE_AXIS_H
#define STROP_QUANTIZE_AXIS_H

#include "element.h"
#include "math_f32.h"

/* The tensor is (outer, channels, inner). */
typedef struct {
    int32_t outer, channels, inner, act_min, act_max;
    strop_type type;
} strop_quantize_axis_shape;

/* round(x) + zero_point saturated; beyond 2^33 no zero point matters. */
STROP_KERNEL int32_t strop_quantized(float x, int32_t zero_point, const strop_quantize_axis_shape *s) {
    if (strop_is_nan_f32(x)) {
        return zero_point;
    }
    const float whole = strop_round_away_f32(strop_clamp_f32(x, -8589934592.0F, 8589934592.0F));
    const int64_t y = (int64_t)whole + zero_point;
    return y < s->act_min ? s->act_min : (y > s->act_max ? s->act_max : (int32_t)y);
}

STROP_KERNEL void strop_quantize_axis(const float *restrict in, const float *restrict scales,
                                      const int32_t *restrict zero_points, void *restrict out,
                                      const strop_quantize_axis_shape *s) {
    for (int32_t row = 0, i = 0; row < s->outer * s->channels; ++row) {
        const int32_t c = row % s->channels;
        for (int32_t k = 0; k < s->inner; ++k, ++i) {
            strop_store(out, i, s->type, strop_quantized(in[i] / scales[c], zero_points[c], s));
        }
    }
}

STROP_KERNEL void strop_dequantize_axis(const void *restrict in, const float *restrict scales,
                                        const int32_t *restrict zero_points, float *restrict out,
                                        const strop_quantize_axis_shape *s) {
    for (int32_t row = 0, i = 0; row < s->outer * s->channels; ++row) {
        const int32_t c = row % s->channels;
        for (int32_t k = 0; k < s->inner; ++k, ++i) {
            out[i] = (float)((int64_t)strop_load(in, i, s->type) - zero_points[c]) * scales[c];
        }
    }
}

#endif
