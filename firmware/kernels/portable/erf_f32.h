/* The error function in float32, errors below 2 units in the last place of max(erf, erfc). */
#ifndef STROP_ERF_F32_H
#define STROP_ERF_F32_H

#include "math_f32.h"

/* erf(x) for |x| <= 0.9. */
static inline float strop_erf_near_f32(float x) {
    const float z = x * x;
    float p = 8.44783572e-5F;
    p = p * z - 8.16080486e-4F;
    p = p * z + 5.20260306e-3F;
    p = p * z - 2.68600211e-2F;
    p = p * z + 1.12837069e-1F;
    p = p * z - 3.76126349e-1F;
    p = p * z + 1.28379166e-1F;
    return x + x * p;
}

/* 1 - erf(x) for x >= 0.9: t exp(-x^2 + P(t)), t = 1 / (1 + x / 2). Relative error 1e-7 (1 + x^2). */
static inline float strop_erfc_far_f32(float x) {
    const float t = 1.0F / (1.0F + 0.5F * x);
    float p = -2.20779225e-1F;
    p = p * t + 5.82081199e-1F;
    p = p * t - 3.66191894e-1F;
    p = p * t - 1.28375828e-1F;
    p = p * t - 4.48095240e-2F;
    p = p * t + 6.39065430e-2F;
    p = p * t + 3.79105091e-1F;
    p = p * t + 9.99568343e-1F;
    p = p * t - 1.26549387F;
    return t * strop_exp_f32(p - x * x);
}

static inline float strop_erf_f32(float x) {
    const float size = strop_abs_f32(x);
    if (size <= 0.9F) {
        return strop_erf_near_f32(x);
    }
    return strop_copy_sign_f32(size > 4.0F ? 1.0F : 1.0F - strop_erfc_far_f32(size), x);
}

/* (1 + erf(x)) / 2, precise for negative x as well. */
static inline float strop_normal_f32(float x) {
    if (strop_abs_f32(x) <= 0.9F) {
        return 0.5F + 0.5F * strop_erf_near_f32(x);
    }
    const float rest = 0.5F * strop_erfc_far_f32(strop_abs_f32(x));
    return x < 0.0F ? rest : 1.0F - rest;
}

#endif
