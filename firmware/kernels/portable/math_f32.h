/* Float32 functions without libm and without double: bits, rounding, square root, exponentials, logarithms.
 * Errors are below 3 units in the last place. NaN and infinities go as in C's <math.h>.
 * Compile without -ffast-math and with -ffp-contract=off: the split constants need every rounding as written. */
#ifndef STROP_MATH_F32_H
#define STROP_MATH_F32_H

#include "common.h"

typedef union {
    float value;
    uint32_t bits;
} strop_float;

static inline uint32_t strop_bits_f32(float x) {
    const strop_float pun = {.value = x};
    return pun.bits;
}

static inline float strop_from_bits_f32(uint32_t bits) {
    const strop_float pun = {.bits = bits};
    return pun.value;
}

static inline float strop_nan_f32(void) { return strop_from_bits_f32(0x7FC00000U); }

static inline float strop_infinity_f32(void) { return strop_from_bits_f32(0x7F800000U); }

static inline bool strop_is_nan_f32(float x) { return x != x; }

static inline float strop_abs_f32(float x) { return strop_from_bits_f32(strop_bits_f32(x) & 0x7FFFFFFFU); }

static inline bool strop_is_infinite_f32(float x) { return strop_abs_f32(x) == strop_infinity_f32(); }

/* The magnitude of x with the sign of `sign`. */
static inline float strop_copy_sign_f32(float x, float sign) {
    return strop_from_bits_f32((strop_bits_f32(x) & 0x7FFFFFFFU) | (strop_bits_f32(sign) & 0x80000000U));
}

static inline float strop_min_f32(float x, float y) { return x < y || strop_is_nan_f32(x) ? x : y; }

static inline float strop_max_f32(float x, float y) { return x > y || strop_is_nan_f32(x) ? x : y; }

static inline float strop_clamp_f32(float x, float low, float high) {
    const float above = x < low ? low : x;
    return above > high ? high : above;
}

/* 2^n for -126 <= n <= 127. */
static inline float strop_power_of_two_f32(int32_t n) { return strop_from_bits_f32((uint32_t)(n + 127) << 23); }

/* x * 2^n for -252 <= n <= 254, rounded once when 2^(n / 2) * x is no subnormal. */
static inline float strop_scale_f32(float x, int32_t n) {
    const int32_t half = n / 2;
    return x * strop_power_of_two_f32(half) * strop_power_of_two_f32(n - half);
}

/* The integer next to x towards zero; x itself from 2^23 on, where all floats are integers. */
static inline float strop_trunc_f32(float x) {
    if (!(strop_abs_f32(x) < 8388608.0F)) {
        return x;
    }
    return strop_copy_sign_f32((float)(int32_t)x, x);
}

static inline float strop_floor_f32(float x) {
    const float whole = strop_trunc_f32(x);
    return whole > x ? whole - 1.0F : whole;
}

static inline float strop_ceil_f32(float x) {
    const float whole = strop_trunc_f32(x);
    return whole < x ? strop_copy_sign_f32(whole + 1.0F, x) : whole;
}

/* The nearest integer, halves to the even one: adding 2^23 rounds away the fraction. */
static inline float strop_round_even_f32(float x) {
    const float size = strop_abs_f32(x);
    return size < 8388608.0F ? strop_copy_sign_f32(size + 8388608.0F - 8388608.0F, x) : x;
}

/* The nearest integer, halves away from zero. */
static inline float strop_round_away_f32(float x) {
    const float whole = strop_trunc_f32(x);
    return strop_abs_f32(x - whole) >= 0.5F ? whole + strop_copy_sign_f32(1.0F, x) : whole;
}

/* Root of the mantissa of a normal x > 0, one binary digit a step; correctly rounded, about 200 instructions. */
static inline float strop_sqrt_digits_f32(float x) {
    const uint32_t bits = strop_bits_f32(x);
    const int32_t exponent = (int32_t)(bits >> 23) - 127;
    const uint32_t mantissa = (bits & 0x7FFFFFU) | 0x800000U;
    uint32_t rest = mantissa << (1 + (exponent & 1));
    uint32_t root = 0, twice = 0;
    for (uint32_t digit = 1U << 24; digit != 0U; digit >>= 1) {
        if (twice + digit <= rest) {
            rest -= twice + digit;
            twice += 2U * digit;
            root += digit;
        }
        rest <<= 1;
    }
    root += rest != 0U ? root & 1U : 0U;
    return strop_from_bits_f32((root >> 1) + ((uint32_t)((exponent >> 1) + 126) << 23));
}

/* Correctly rounded square root: the core's instruction where it has one. */
static inline float strop_sqrt_f32(float x) {
#if defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4)
    float root;
    __asm__("vsqrt.f32 %0, %1" : "=t"(root) : "t"(x));
    return root;
#else
    if (x < 0.0F) {
        return strop_nan_f32();
    }
    if (!(x > 0.0F) || strop_is_infinite_f32(x)) {
        return x;
    }
    const bool subnormal = x < 1.17549435e-38F;
    const float root = strop_sqrt_digits_f32(subnormal ? x * 16777216.0F : x);
    return subnormal ? root * 0.000244140625F : root;
#endif
}

/* exp(r) - 1 for |r| <= ln(2) / 2. */
static inline float strop_expm1_reduced_f32(float r) {
    float p = 1.39475951e-3F;
    p = p * r + 8.36724695e-3F;
    p = p * r + 4.16662656e-2F;
    p = p * r + 1.66665375e-1F;
    p = p * r + 0.5F;
    return r + r * r * p;
}

/* x / ln(2) to the nearest integer; |x| < 2^20. */
static inline int32_t strop_exp_exponent_f32(float x) {
    return (int32_t)(x * 1.44269504F + (x < 0.0F ? -0.5F : 0.5F));
}

/* x - n ln(2) with ln(2) in two parts; n times the first is exact. */
static inline float strop_exp_remainder_f32(float x, int32_t n) {
    return (x - (float)n * 0.693359375F) - (float)n * -2.12194440e-4F;
}

static inline float strop_exp_f32(float x) {
    if (!(x < 89.0F)) {
        return strop_is_nan_f32(x) ? x : strop_infinity_f32();
    }
    if (x < -104.0F) {
        return 0.0F;
    }
    const int32_t n = strop_exp_exponent_f32(x);
    return strop_scale_f32(1.0F + strop_expm1_reduced_f32(strop_exp_remainder_f32(x, n)), n);
}

/* exp(x) - 1 without the loss of digits near 0. */
static inline float strop_expm1_f32(float x) {
    if (!(x < 17.0F)) {
        return strop_exp_f32(x);
    }
    if (x < -17.5F) {
        return -1.0F;
    }
    const int32_t n = strop_exp_exponent_f32(x);
    const float power = strop_power_of_two_f32(n);
    const float rest = strop_expm1_reduced_f32(strop_exp_remainder_f32(x, n));
    return n == 0 ? rest : power * rest + (power - 1.0F);
}

/* x = (1 + f) * 2^exponent with 1 + f in [sqrt(1/2), sqrt(2)). */
typedef struct {
    float f;
    int32_t exponent;
} strop_log_parts;

/* The parts of a finite x > 0. */
static inline strop_log_parts strop_log_split_f32(float x) {
    const bool subnormal = x < 1.17549435e-38F;
    const uint32_t bits = strop_bits_f32(subnormal ? x * 8388608.0F : x) + (0x3F800000U - 0x3F3504F3U);
    const float m = strop_from_bits_f32((bits & 0x7FFFFFU) + 0x3F3504F3U);
    const strop_log_parts parts = {m - 1.0F, (int32_t)(bits >> 23) - (subnormal ? 127 + 23 : 127)};
    return parts;
}

/* log((1 + s) / (1 - s)) / s - 2 for z = s^2, |s| <= 0.1716. */
static inline float strop_log_series_f32(float z) {
    float p = 0.235827684F;
    p = p * z + 0.285372794F;
    p = p * z + 0.400003344F;
    p = p * z + 0.666666627F;
    return p * z;
}

/* log(x) where x has no logarithm that is finite. */
static inline float strop_log_special_f32(float x) {
    if (x < 0.0F) {
        return strop_nan_f32();
    }
    return x == 0.0F ? -strop_infinity_f32() : x;
}

static inline float strop_log_f32(float x) {
    if (!(x > 0.0F) || strop_is_infinite_f32(x)) {
        return strop_log_special_f32(x);
    }
    const strop_log_parts parts = strop_log_split_f32(x);
    const float n = (float)parts.exponent, f = parts.f;
    const float s = f / (2.0F + f);
    const float half_square = 0.5F * f * f;
    const float tail = s * (half_square + strop_log_series_f32(s * s)) + n * -2.12194440e-4F;
    return n * 0.693359375F + (f - (half_square - tail));
}

/* log(1 + x): the rounding of 1 + x is undone by a quotient. */
static inline float strop_log1p_f32(float x) {
    const float sum = 1.0F + x;
    if (sum == 1.0F || sum == strop_infinity_f32()) {
        return x;
    }
    return sum == 0.0F ? -strop_infinity_f32() : strop_log_f32(sum) * (x / (sum - 1.0F));
}

static inline float strop_sigmoid_f32(float x) {
    const float power = strop_exp_f32(-strop_abs_f32(x));
    return (x < 0.0F ? power : 1.0F) / (1.0F + power);
}

static inline float strop_tanh_f32(float x) {
    const float size = strop_abs_f32(x);
    if (size > 9.1F) {
        return strop_copy_sign_f32(1.0F, x);
    }
    const float power = strop_expm1_f32(2.0F * size);
    return strop_copy_sign_f32(power / (power + 2.0F), x);
}

/* Mantissa and exponent of |x| = mantissa * 2^(exponent - 150), exponent >= 1. */
typedef struct {
    uint32_t mantissa;
    int32_t exponent;
} strop_integer_parts;

static inline strop_integer_parts strop_integer_parts_f32(float x) {
    const uint32_t bits = strop_bits_f32(x) & 0x7FFFFFFFU;
    const bool normal = bits >= 0x800000U;
    const strop_integer_parts parts = {normal ? (bits & 0x7FFFFFU) | 0x800000U : bits, normal ? (int32_t)(bits >> 23) : 1};
    return parts;
}

/* x - y * trunc(x / y), exact: division of integers, eight binary digits a step. */
static inline float strop_fmod_f32(float x, float y) {
    const float a = strop_abs_f32(x), b = strop_abs_f32(y);
    if (strop_is_nan_f32(y) || !(a < strop_infinity_f32()) || b == 0.0F) {
        return strop_nan_f32();
    }
    if (a < b) {
        return x;
    }
    const strop_integer_parts m = strop_integer_parts_f32(a), n = strop_integer_parts_f32(b);
    uint32_t rest = m.mantissa % n.mantissa;
    for (int32_t left = m.exponent - n.exponent; left > 0; left -= 8) {
        rest = (rest << strop_min(left, 8)) % n.mantissa;
    }
    return strop_copy_sign_f32(strop_scale_f32((float)rest, n.exponent - 150), x);
}

/* The same with the sign of the divisor. */
static inline float strop_floor_mod_f32(float x, float y) {
    const float rest = strop_fmod_f32(x, y);
    return rest != 0.0F && (rest < 0.0F) != (y < 0.0F) ? rest + y : rest;
}

/* floor(x / y): the quotient is made whole before it is rounded; exact below 2^22. */
static inline float strop_floor_div_f32(float x, float y) {
    const float quotient = x / y;
    if (strop_is_infinite_f32(y) || !(strop_abs_f32(quotient) < strop_infinity_f32()) || y == 0.0F) {
        return strop_floor_f32(quotient);
    }
    const float rest = strop_fmod_f32(x, y);
    const float whole = strop_round_even_f32((x - rest) / y);
    return rest != 0.0F && (rest < 0.0F) != (y < 0.0F) ? whole - 1.0F : whole;
}

#endif
