/* Trigonometric and hyperbolic functions and their inverses, float32, errors below 5 units in the last place.
 * Angles are reduced in integers by as many digits of 2 / pi as they need: precise for every float. */
#ifndef STROP_TRIG_F32_H
#define STROP_TRIG_F32_H

#include "math_f32.h"

/* x = quadrant * pi / 2 + rest with |rest| <= pi / 4; the quadrant is taken modulo 4. */
typedef struct {
    float rest;
    uint32_t quadrant;
} strop_angle;

/* 32 binary digits of 2 / pi from digit `first` on; digits -32 to -1, left of the point, are 0. */
static inline uint32_t strop_two_over_pi_digits(int32_t first) {
    static const uint32_t digits[8] = {0x00000000U, 0xA2F9836EU, 0x4E441529U, 0xFC2757D1U,
                                       0xF534DDC0U, 0xDB629599U, 0x3C439041U, 0xFE5163ABU};
    const int32_t word = (first + 32) >> 5, shift = (first + 32) & 31;
    const uint64_t pair = ((uint64_t)digits[word] << 32) | digits[word + 1];
    return (uint32_t)(pair >> (32 - shift));
}

static inline strop_angle strop_reduce_angle_f32(float x) {
    strop_angle angle = {x, 0};
    if (strop_abs_f32(x) > 0.785398163F) {
        const strop_integer_parts parts = strop_integer_parts_f32(x);
        const int32_t first = parts.exponent - 152;
        const uint64_t m = parts.mantissa;
        uint64_t turns = (m * strop_two_over_pi_digits(first)) << 32;
        turns += m * strop_two_over_pi_digits(first + 32);
        turns += (m * strop_two_over_pi_digits(first + 64)) >> 32;
        const uint64_t nearest = turns + ((uint64_t)1 << 61);
        const float rest = (float)(int64_t)(turns - (nearest & ((uint64_t)3 << 62))) * 3.40612158e-19F;
        angle.quadrant = (uint32_t)(nearest >> 62);
        if (x < 0.0F) {
            angle.quadrant = (4U - angle.quadrant) & 3U;
        }
        angle.rest = x < 0.0F ? -rest : rest;
    }
    return angle;
}

/* sin(r) for |r| <= pi / 4. */
static inline float strop_sin_reduced_f32(float r) {
    const float z = r * r;
    return r + r * z * (-1.66666672e-1F + z * (8.33332911e-3F + z * (-1.98393274e-4F + z * 2.71823728e-6F)));
}

/* cos(r) for |r| <= pi / 4. */
static inline float strop_cos_reduced_f32(float r) {
    const float z = r * r;
    return 1.0F - (0.5F * z - z * z * (4.16666456e-2F + z * (-1.38873619e-3F + z * 2.44377279e-5F)));
}

/* sin of an angle plus `quadrants` quarter turns. */
static inline float strop_sin_turned_f32(float x, uint32_t quadrants) {
    if (!(strop_abs_f32(x) < strop_infinity_f32())) {
        return strop_nan_f32();
    }
    const strop_angle angle = strop_reduce_angle_f32(x);
    const uint32_t quadrant = angle.quadrant + quadrants;
    const float y = (quadrant & 1U) != 0U ? strop_cos_reduced_f32(angle.rest) : strop_sin_reduced_f32(angle.rest);
    return (quadrant & 2U) != 0U ? -y : y;
}

static inline float strop_sin_f32(float x) { return strop_sin_turned_f32(x, 0); }

static inline float strop_cos_f32(float x) { return strop_sin_turned_f32(x, 1); }

static inline float strop_tan_f32(float x) {
    if (!(strop_abs_f32(x) < strop_infinity_f32())) {
        return strop_nan_f32();
    }
    const strop_angle angle = strop_reduce_angle_f32(x);
    const float sine = strop_sin_reduced_f32(angle.rest), cosine = strop_cos_reduced_f32(angle.rest);
    return (angle.quadrant & 1U) != 0U ? -cosine / sine : sine / cosine;
}

/* asin(x) for |x| <= 1/2. */
static inline float strop_asin_near_f32(float x) {
    const float z = x * x;
    float p = 3.75781581e-2F;
    p = p * z + 1.43938055e-2F;
    p = p * z + 3.18198204e-2F;
    p = p * z + 4.45154719e-2F;
    p = p * z + 7.50051215e-2F;
    p = p * z + 1.66666597e-1F;
    return x + x * z * p;
}

/* acos(x) for 1/2 <= x <= 1, NaN beyond. */
static inline float strop_acos_far_f32(float x) { return 2.0F * strop_asin_near_f32(strop_sqrt_f32(0.5F * (1.0F - x))); }

static inline float strop_asin_f32(float x) {
    const float size = strop_abs_f32(x);
    if (size <= 0.5F) {
        return strop_asin_near_f32(x);
    }
    return strop_copy_sign_f32(1.57079633F - strop_acos_far_f32(size), x) + (size > 1.0F ? strop_nan_f32() : 0.0F);
}

static inline float strop_acos_f32(float x) {
    if (strop_abs_f32(x) <= 0.5F) {
        return 1.57079633F - (strop_asin_near_f32(x) - -4.37113883e-8F);
    }
    return x < 0.0F ? 3.14159265F - strop_acos_far_f32(-x) : strop_acos_far_f32(x);
}

/* Arguments above tan(pi / 8) are turned by pi / 4, those above tan(3 pi / 8) by pi / 2. */
static inline float strop_atan_f32(float x) {
    const float size = strop_abs_f32(x);
    float base = 0.0F, t = size;
    if (size > 2.41421356F) {
        base = 1.57079633F;
        t = -1.0F / size;
    } else if (size > 0.414213562F) {
        base = 0.785398163F;
        t = (size - 1.0F) / (size + 1.0F);
    }
    const float z = t * t;
    float p = -6.08114824e-2F;
    p = p * z + 1.05951361e-1F;
    p = p * z - 1.42437384e-1F;
    p = p * z + 1.99984834e-1F;
    p = p * z - 3.33333164e-1F;
    return strop_copy_sign_f32(base + (t + t * z * p), x);
}

/* exp(x) / 2 for x >= 0 without overflow where only exp(x) overflows. */
static inline float strop_half_exp_f32(float x) {
    const float root = strop_exp_f32(0.5F * x);
    return 0.5F * root * root;
}

static inline float strop_sinh_f32(float x) {
    const float size = strop_abs_f32(x);
    if (!(size < 80.0F)) {
        return strop_copy_sign_f32(strop_half_exp_f32(size), x);
    }
    const float power = strop_expm1_f32(size);
    return strop_copy_sign_f32(0.5F * (power + power / (power + 1.0F)), x);
}

static inline float strop_cosh_f32(float x) {
    const float size = strop_abs_f32(x);
    if (!(size < 80.0F)) {
        return strop_half_exp_f32(size);
    }
    const float power = strop_exp_f32(size);
    return 0.5F * power + 0.5F / power;
}

/* Above 4096 the 1 under the root no longer counts. */
static inline float strop_asinh_f32(float x) {
    const float size = strop_abs_f32(x);
    if (size > 4096.0F) {
        return strop_copy_sign_f32(strop_log_f32(size) + 0.693147181F, x);
    }
    const float square = size * size;
    return strop_copy_sign_f32(strop_log1p_f32(size + square / (1.0F + strop_sqrt_f32(square + 1.0F))), x);
}

static inline float strop_acosh_f32(float x) {
    if (x > 4096.0F) {
        return strop_log_f32(x) + 0.693147181F;
    }
    if (x < 1.0F) {
        return strop_nan_f32();
    }
    const float t = x - 1.0F;
    return strop_log1p_f32(t + strop_sqrt_f32(t * (t + 2.0F)));
}

static inline float strop_atanh_f32(float x) {
    const float size = strop_abs_f32(x);
    return strop_copy_sign_f32(0.5F * strop_log1p_f32(2.0F * size / (1.0F - size)), x);
}

#endif
