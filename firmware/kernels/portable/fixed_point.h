/* TFLite's fixed-point arithmetic with double rounding; the meaning is toolchain/ir/fixed_point.py.
 * Right shifts of negative values are arithmetic on every compiler that Strop supports. */
#ifndef STROP_FIXED_POINT_H
#define STROP_FIXED_POINT_H

#include "high_mul.h"

/* One output channel's bias, mantissa and shift: the stream that convolutions read per channel. */
typedef struct {
    int32_t bias;
    int32_t mantissa;
    int32_t shift;
} strop_channel;

/* A real factor, mantissa * 2^(shift - 31). */
typedef struct {
    int32_t mantissa, shift;
} strop_factor;

/* x / 2^bits, halves away from zero; x > INT32_MIN, 0 <= bits <= 31. */
STROP_KERNEL int32_t strop_rounding_shift_right(int32_t x, int32_t bits) {
    if (bits == 0) {
        return x;
    }
    const int32_t twice = (x - (x < 0 ? 1 : 0)) >> (bits - 1);
    return (twice >> 1) + (twice & 1);
}

/* x * 2^bits modulo 2^32. */
STROP_KERNEL int32_t strop_shift_left(int32_t x, int32_t bits) { return (int32_t)((uint32_t)x << bits); }

/* x * 2^bits saturated to int32. */
STROP_KERNEL int32_t strop_saturating_shift_left(int32_t x, int32_t bits) {
    const int64_t wide = (int64_t)x * ((int64_t)1 << bits);
    return wide > INT32_MAX ? INT32_MAX : (wide < INT32_MIN ? INT32_MIN : (int32_t)wide);
}

/* x * mantissa * 2^(shift - 31), rounded twice. */
STROP_KERNEL int32_t strop_multiply(int32_t x, int32_t mantissa, int32_t shift) {
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    return strop_rounding_shift_right(strop_doubling_high_mul(strop_shift_left(x, left), mantissa), right);
}

/* A factor of the 16x8 form: a 16-bit mantissa and the bits to shift right by, at least 1. */
typedef struct {
    int32_t mantissa, right;
} strop_wide_factor;

/* x * mantissa / 2^right for a 48-bit x, halves up. */
STROP_KERNEL int32_t strop_multiply_wide(int64_t x, strop_wide_factor factor) {
    return (int32_t)((x * factor.mantissa + ((int64_t)1 << (factor.right - 1))) >> factor.right);
}

/* exp on [-1/4, 0) in Q0.31: a fourth-order expansion around -1/8. */
STROP_KERNEL int32_t strop_exp_quarter(int32_t a) {
    const int32_t x = a + (1 << 28);
    const int32_t x2 = strop_doubling_high_mul(x, x);
    const int32_t x3 = strop_doubling_high_mul(x2, x);
    const int32_t x4_over_4 = strop_rounding_shift_right(strop_doubling_high_mul(x2, x2), 2);
    const int32_t tail = strop_rounding_shift_right(strop_doubling_high_mul(x4_over_4 + x3, 715827883) + x2, 1);
    return 1895147668 + strop_doubling_high_mul(1895147668, x + tail);
}

/* exp of x <= 0 in Q(integer_bits).(31 - integer_bits), as Q0.31. */
STROP_KERNEL int32_t strop_exp_on_negative(int32_t x, int32_t integer_bits) {
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t fraction_bits = 31 - integer_bits;
    const int32_t quarter = 1 << (fraction_bits - 2);
    const int32_t low = (x & (quarter - 1)) - quarter;
    const int32_t remainder = low - x;
    int32_t result = strop_exp_quarter(strop_saturating_shift_left(low, integer_bits));
    for (int32_t i = 0; i < 7 && i - 2 < integer_bits; ++i) {
        if ((remainder >> (fraction_bits + i - 2)) & 1) {
            result = strop_doubling_high_mul(result, factors[i]);
        }
    }
    if (integer_bits > 5 && x < -(1 << (fraction_bits + 5))) {
        result = 0;
    }
    return x == 0 ? INT32_MAX : result;
}

/* 1 / (1 + a) for a in [0, 1) in Q0.31: three Newton steps. */
STROP_KERNEL int32_t strop_one_over_one_plus(int32_t a) {
    const int64_t total = (int64_t)a + INT32_MAX;
    const int32_t half_denominator = (int32_t)((total + 1) / 2);
    int32_t x = 1515870810 + strop_doubling_high_mul(half_denominator, -1010580540);
    for (int32_t step = 0; step < 3; ++step) {
        const int32_t error = (1 << 29) - strop_doubling_high_mul(half_denominator, x);
        x += strop_saturating_shift_left(strop_doubling_high_mul(x, error), 2);
    }
    return strop_saturating_shift_left(x, 1);
}

/* Leading zero bits of x > 0. */
STROP_KERNEL int32_t strop_leading_zeros(uint32_t x) {
#if defined(__GNUC__)
    return (int32_t)__builtin_clz(x);
#else
    int32_t count = 0;
    for (; (x & 0x80000000U) == 0U; x <<= 1) {
        ++count;
    }
    return count;
#endif
}

/* Bits that x can be shifted left by without overflow. */
STROP_KERNEL int32_t strop_headroom(int32_t x) {
    const uint32_t magnitude = (uint32_t)(x >= 0 ? x : ~x);
    return magnitude == 0U ? 31 : strop_leading_zeros(magnitude) - 1;
}

/* 1 / x: a Q0.31 factor and the bits to shift it right by. */
typedef struct {
    int32_t factor, over;
} strop_reciprocal;

/* 1 / x for x > 0 in Q(integer_bits). */
STROP_KERNEL strop_reciprocal strop_reciprocal_of(int32_t x, int32_t integer_bits) {
    const int32_t headroom = strop_leading_zeros((uint32_t)x);
    const int32_t shifted = (int32_t)(((uint32_t)x << headroom) - 0x80000000U);
    const strop_reciprocal result = {strop_one_over_one_plus(shifted), integer_bits - headroom};
    return result;
}

/* A square root's reciprocal as the factor that strop_multiply takes; integers x >= 0, 0 counts as 1. Five Newton steps. */
STROP_KERNEL strop_factor strop_inverse_sqrt(int32_t x) {
    const strop_factor one = {INT32_MAX, 0};
    if (x <= 1) {
        return one;
    }
    int32_t shift = 11;
    for (; x >= 1 << 29; x /= 4) {
        ++shift;
    }
    const int32_t pairs = (strop_leading_zeros((uint32_t)x) - 1) / 2 - 1;
    shift -= pairs;
    const int32_t half = strop_rounding_shift_right(x << (2 * pairs) >> 1, 1);
    int32_t root = 1 << 28;
    for (int32_t step = 0; step < 5; ++step) {
        const int32_t square = strop_doubling_high_mul(root, root);
        const int32_t cube = strop_saturating_shift_left(strop_doubling_high_mul(square, root), 6);
        const int32_t next = strop_doubling_high_mul((1 << 28) + (1 << 27), root) - strop_doubling_high_mul(half, cube);
        root = strop_saturating_shift_left(next, 3);
    }
    const strop_factor result = {strop_doubling_high_mul(root, 1518500250) << strop_max(-shift, 0), -strop_max(shift, 0)};
    return result;
}

/* (a + b) / 2, halves away from zero. */
STROP_KERNEL int32_t strop_half_sum(int32_t a, int32_t b) {
    const int64_t sum = (int64_t)a + b;
    return (int32_t)((sum + (sum >= 0 ? 1 : -1)) / 2);
}

/* Natural logarithm of x >= 1 in Q12.19 as Q5.26: a rational approximation around the fourth root of a half. */
STROP_KERNEL int32_t strop_log_q12(int32_t x) {
    const int32_t root_half = 1518500250, fourth_root_half = 1805811301, quarter = 1 << 23;
    const int32_t zeros = strop_leading_zeros((uint32_t)x);
    const int32_t headroom = strop_leading_zeros((uint32_t)strop_doubling_high_mul(x, root_half)) - 1;
    const int32_t scaled = strop_doubling_high_mul(strop_saturating_shift_left(x, zeros - 1), root_half);
    const int32_t r = strop_min(strop_saturating_shift_left(scaled, 1), strop_saturating_shift_left(x, headroom));
    const int32_t power = strop_max((12 - zeros) * (1 << 25) + quarter, (12 - headroom) * (1 << 25) - quarter);
    const int32_t p = strop_half_sum(r, fourth_root_half);
    const int32_t q = 2 * (r - fourth_root_half);
    const int32_t square = strop_doubling_high_mul(q, q);
    const int32_t cubic = strop_doubling_high_mul(strop_doubling_high_mul(q, square), 117049297);
    const int32_t inner = 1057819769 + q + strop_doubling_high_mul(127690142, square);
    const int32_t outer = strop_doubling_high_mul(p, inner) + strop_doubling_high_mul(638450708, q);
    const int32_t numerator = strop_rounding_shift_right(strop_doubling_high_mul(q, r) + cubic, 6);
    const int32_t fraction = strop_doubling_high_mul(numerator, strop_one_over_one_plus(outer));
    return strop_saturating_shift_left(strop_doubling_high_mul(power, 1488522236) + fraction, 1);
}

#endif
