/* Fast Fourier transform of complex float32 in place, radix 4 with one step of radix 2 where the size asks for it.
 * Values: re, im, re, im, ... in the order of reversed bits before, in natural order after. cosines: cos(2 pi j / (2 points)) for
 * j = 0 ... points, which serve the transform of 2 * points real values, too. No scratch.
 * Registers: 8 values, 6 of twiddles. Cost: 34 operations per four values and step, 16 where the twiddles are 1. */
#ifndef STROP_FFT_F32_H
#define STROP_FFT_F32_H

#include "common.h"

/* cos and sin of 2 pi j / (2 points) for 0 <= j <= 3 points / 2. */
typedef struct {
    float cosine, sine;
} strop_twiddle;

STROP_KERNEL strop_twiddle strop_twiddle_f32(const float *restrict cosines, int32_t j, int32_t points) {
    const int32_t beside = j - points / 2;
    const strop_twiddle w = {cosines[j <= points ? j : 2 * points - j], cosines[beside < 0 ? -beside : beside]};
    return w;
}

/* x[0] * exp(-i angle) for a complex value. */
STROP_KERNEL void strop_turn_f32(float *restrict re, float *restrict im, strop_twiddle w) {
    const float x = *re, y = *im;
    *re = x * w.cosine + y * w.sine;
    *im = y * w.cosine - x * w.sine;
}

/* Four transforms of `length` values, of every fourth one from 0, 2, 1 and 3 on, into one; value number k of each. */
STROP_KERNEL void strop_radix4_f32(float *restrict x, int32_t length, const strop_twiddle *restrict w) {
    float *const b = x + 2 * length, *const c = x + 4 * length, *const d = x + 6 * length;
    float br = b[0], bi = b[1], cr = c[0], ci = c[1], dr = d[0], di = d[1];
    if (w != NULL) {
        strop_turn_f32(&br, &bi, w[1]);
        strop_turn_f32(&cr, &ci, w[0]);
        strop_turn_f32(&dr, &di, w[2]);
    }
    const float pr = x[0] + br, pi = x[1] + bi, mr = x[0] - br, mi = x[1] - bi;
    const float sr = cr + dr, si = ci + di, tr = ci - di, ti = dr - cr;
    x[0] = pr + sr;
    x[1] = pi + si;
    b[0] = mr + tr;
    b[1] = mi + ti;
    c[0] = pr - sr;
    c[1] = pi - si;
    d[0] = mr - tr;
    d[1] = mi - ti;
}

/* points: a power of two, 2 or more. */
STROP_KERNEL void strop_fft_f32(float *restrict x, const float *restrict cosines, int32_t points) {
    int32_t length = 1;
    while (length * 4 <= points) {
        length *= 4;
    }
    const bool odd = length != points;
    if (odd) {
        for (int32_t i = 0; i < 2 * points; i += 4) {
            const float re = x[i + 2], im = x[i + 3];
            x[i + 2] = x[i] - re;
            x[i + 3] = x[i + 1] - im;
            x[i] = x[i] + re;
            x[i + 1] = x[i + 1] + im;
        }
    }
    for (length = odd ? 2 : 1; length < points; length *= 4) {
        for (int32_t i = 0; i < points; i += 4 * length) {
            strop_radix4_f32(x + 2 * i, length, NULL);
        }
        const int32_t step = points / (2 * length);
        for (int32_t k = 1; k < length; ++k) {
            const strop_twiddle w[3] = {
                strop_twiddle_f32(cosines, k * step, points),
                strop_twiddle_f32(cosines, 2 * k * step, points),
                strop_twiddle_f32(cosines, 3 * k * step, points),
            };
            for (int32_t i = k; i < points; i += 4 * length) {
                strop_radix4_f32(x + 2 * i, length, w);
            }
        }
    }
}

/* The place of the next value in the order of reversed bits. points: a power of two. */
STROP_KERNEL int32_t strop_next_reversed(int32_t place, int32_t points) {
    int32_t bit = points >> 1;
    while ((place & bit) != 0) {
        place ^= bit;
        bit >>= 1;
    }
    return place | bit;
}

#endif
