/* Elementwise functions of one float32 tensor: activations, roundings, exponentials, roots, tests.
 * Cost: a few instructions per element for piecewise linear ones, about 40 float operations for the others. */
#ifndef STROP_UNARY_F32_H
#define STROP_UNARY_F32_H

#include "erf_f32.h"
#include "math_f32.h"

/* alpha, beta: parameters of the functions that have some; of isinf, 1 where positive and negative infinities count. */
typedef struct {
    int32_t count;
    float alpha, beta;
} strop_unary_f32_shape;

/* The kernel strop_<name>_map_f32: out[i] = value, an expression of x = in[i] and the shape s. */
#define STROP_UNARY_F32(name, type, value)                                                                             \
    STROP_KERNEL void strop_##name##_map_f32(const float *in, type *out, const strop_unary_f32_shape *s) {             \
        for (int32_t i = 0; i < s->count; ++i) {                                                                       \
            const float x = in[i];                                                                                     \
            out[i] = value;                                                                                            \
        }                                                                                                              \
    }

static inline float strop_leaky_f32(float x, float slope) { return x >= 0.0F ? x : x * slope; }

static inline float strop_sign_f32(float x) { return x > 0.0F ? 1.0F : (x < 0.0F ? -1.0F : x); }

/* x (1 + tanh(u)) / 2 is x sigmoid(2u) without the cancellation. */
static inline float strop_gelu_tanh_f32(float x) {
    return x * strop_sigmoid_f32(1.59576912F * (x + 0.044715F * x * x * x));
}

static inline float strop_softplus_f32(float x) {
    return strop_max_f32(x, 0.0F) + strop_log1p_f32(strop_exp_f32(-strop_abs_f32(x)));
}

STROP_UNARY_F32(relu, float, x < 0.0F ? 0.0F : x)
STROP_UNARY_F32(relu6, float, strop_clamp_f32(x, 0.0F, 6.0F))
STROP_UNARY_F32(relu_n1_1, float, strop_clamp_f32(x, -1.0F, 1.0F))
STROP_UNARY_F32(leaky_relu, float, strop_leaky_f32(x, s->alpha))
STROP_UNARY_F32(elu, float, x >= 0.0F ? x : s->alpha * strop_expm1_f32(x))
STROP_UNARY_F32(gelu, float, x * strop_normal_f32(x * 0.707106781F))
STROP_UNARY_F32(gelu_tanh, float, strop_gelu_tanh_f32(x))
STROP_UNARY_F32(hard_swish, float, x * strop_clamp_f32(x + 3.0F, 0.0F, 6.0F) / 6.0F)
STROP_UNARY_F32(hard_sigmoid, float, strop_clamp_f32(s->alpha * x + s->beta, 0.0F, 1.0F))
STROP_UNARY_F32(swish, float, x * strop_sigmoid_f32(x))
STROP_UNARY_F32(tanh, float, strop_tanh_f32(x))
STROP_UNARY_F32(sigmoid, float, strop_sigmoid_f32(x))
STROP_UNARY_F32(softplus, float, strop_softplus_f32(x))
STROP_UNARY_F32(softsign, float, x / (1.0F + strop_abs_f32(x)))
STROP_UNARY_F32(exp, float, strop_exp_f32(x))
STROP_UNARY_F32(log, float, strop_log_f32(x))
STROP_UNARY_F32(sqrt, float, strop_sqrt_f32(x))
STROP_UNARY_F32(rsqrt, float, 1.0F / strop_sqrt_f32(x))
STROP_UNARY_F32(reciprocal, float, 1.0F / x)
STROP_UNARY_F32(abs, float, strop_abs_f32(x))
STROP_UNARY_F32(neg, float, -x)
STROP_UNARY_F32(square, float, x * x)
STROP_UNARY_F32(floor, float, strop_floor_f32(x))
STROP_UNARY_F32(ceil, float, strop_ceil_f32(x))
STROP_UNARY_F32(round, float, strop_round_even_f32(x))
STROP_UNARY_F32(sign, float, strop_sign_f32(x))
STROP_UNARY_F32(erf, float, strop_erf_f32(x))
STROP_UNARY_F32(isnan, uint8_t, strop_is_nan_f32(x))
STROP_UNARY_F32(isinf, uint8_t, (x == strop_infinity_f32() && s->alpha > 0.0F) || (x == -strop_infinity_f32() && s->beta > 0.0F))

#endif
