/* x^y in float32. The logarithm and its product with y are sums of two floats, about 30 binary digits, so that the result
 * is within 2 units in the last place. Cost: about 150 float operations. */
#ifndef STROP_POW_F32_H
#define STROP_POW_F32_H

#include "math_f32.h"

/* high + low, |low| small against |high|. */
typedef struct {
    float high, low;
} strop_float_pair;

/* x with the last 12 digits of its mantissa cut off: products of two such are exact. */
static inline float strop_high_digits_f32(float x) { return strop_from_bits_f32(strop_bits_f32(x) & 0xFFFFF000U); }

/* log(x) of a finite x > 0. */
static inline strop_float_pair strop_log_pair_f32(float x) {
    const strop_log_parts parts = strop_log_split_f32(x);
    const float n = (float)parts.exponent, f = parts.f;
    const float sum = 2.0F + f, s = f / sum;
    const float s_high = strop_high_digits_f32(s), sum_high = strop_high_digits_f32(sum);
    const float s_low = ((f - s_high * sum_high) - s_high * (f - (sum_high - 2.0F))) / sum;
    const float tail = n * -2.12194440e-4F + (2.0F * s_low + s * strop_log_series_f32(s * s));
    const float exact = n * 0.693359375F;
    const float first = exact + 2.0F * s_high;
    const float low = 2.0F * s_high - (first - exact) + tail;
    const float high = first + low;
    const strop_float_pair result = {high, low - (high - first)};
    return result;
}

/* x^y for x > 0 and y, both finite. */
static inline float strop_pow_finite_f32(float x, float y) {
    const strop_float_pair log = strop_log_pair_f32(x);
    const float estimate = y * log.high;
    if (estimate > 89.0F || estimate < -104.0F) {
        return estimate > 0.0F ? strop_infinity_f32() : 0.0F;
    }
    const float y_high = strop_high_digits_f32(y), log_high = strop_high_digits_f32(log.high);
    const float low = (y - y_high) * log_high + y * ((log.high - log_high) + log.low);
    const int32_t n = strop_exp_exponent_f32(estimate);
    const float rest = strop_exp_remainder_f32(y_high * log_high, n) + low;
    return strop_scale_f32(1.0F + strop_expm1_reduced_f32(rest), n);
}

/* x^y for x >= 0, where one of them may be 0 or infinite; no NaN. */
static inline float strop_pow_positive_f32(float x, float y) {
    const float infinity = strop_infinity_f32();
    if (x == 1.0F) {
        return 1.0F;
    }
    if (x == 0.0F || x == infinity || strop_is_infinite_f32(y)) {
        return (x > 1.0F) == (y > 0.0F) ? infinity : 0.0F;
    }
    return strop_pow_finite_f32(x, y);
}

static inline float strop_pow_f32(float x, float y) {
    if (y == 0.0F || x == 1.0F) {
        return 1.0F;
    }
    if (strop_is_nan_f32(x) || strop_is_nan_f32(y)) {
        return strop_nan_f32();
    }
    if (x < 0.0F && strop_trunc_f32(y) != y && !strop_is_infinite_f32(x)) {
        return strop_nan_f32();
    }
    const float half = 0.5F * y;
    const bool odd = strop_trunc_f32(y) == y && strop_trunc_f32(half) != half;
    const float size = strop_pow_positive_f32(strop_abs_f32(x), y);
    return odd ? strop_copy_sign_f32(size, x) : size;
}

#endif
