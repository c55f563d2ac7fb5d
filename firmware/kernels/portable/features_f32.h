/* Features of sound: log-mel energies or MFCC of overlapping windows, float32, the same bytes on every core.
 * A window is multiplied by Hann's (and by 2^-16: samples to -1 ... 1, and the halves of the real transform), transformed as
 * fft / 2 complex values, squared, summed under triangles, made a logarithm, and transformed by DCT-II.
 * work: fft + 1 floats. Cost for 512 values, 40 triangles, 10 coefficients: docs/features.md.
 * Compile without -ffast-math and with -ffp-contract=off. */
#ifndef STROP_FEATURES_F32_H
#define STROP_FEATURES_F32_H

#include "fft_f32.h"
#include "math_f32.h"

/* hann: values 0 ... window / 2. cosines: cos(2 pi j / fft), j = 0 ... fft / 2. slopes: of bins first ... last, by how much of each
 * belongs to the triangle on the right; bins: how many of them lie before each centre in turn, and behind the last one.
 * dct: coefficients x (mels + 1) / 2, NULL for log-mel. history: samples in the ring, one more than window with preemphasis. */
typedef struct {
    int32_t window, history, fft, first, last, mels, coefficients;
    bool squared;
    float preemphasis, offset, floor;
    const float *hann, *cosines, *slopes, *dct;
    const uint16_t *bins;
} strop_features_shape;

/* Sample number i of the window times Hann's, 0 behind its end. at: of the sample in the ring, moved on. */
STROP_KERNEL float strop_windowed_f32(
    const int16_t *restrict ring, int32_t *restrict at, int32_t i, float *restrict before, const strop_features_shape *s) {
    if (i >= s->window) {
        return 0.0F;
    }
    const float sample = (float)ring[*at];
    *at = *at + 1 == s->history ? 0 : *at + 1;
    const float flat = s->history == s->window ? sample : sample - s->preemphasis * *before;
    *before = sample;
    return flat * s->hann[2 * i <= s->window ? i : s->window - i];
}

/* The window into work: even samples as real, odd ones as imaginary parts, in the order of reversed bits. oldest: in the ring. */
STROP_KERNEL void strop_features_load(
    const int16_t *restrict ring, int32_t oldest, float *restrict work, const strop_features_shape *s) {
    int32_t at = oldest, place = 0;
    float before = 0.0F;
    if (s->history != s->window) {
        before = (float)ring[at];
        at = at + 1 == s->history ? 0 : at + 1;
    }
    for (int32_t i = 0; i < s->fft; i += 2) {
        work[2 * place] = strop_windowed_f32(ring, &at, i, &before, s);
        work[2 * place + 1] = strop_windowed_f32(ring, &at, i + 1, &before, s);
        place = strop_next_reversed(place, s->fft / 2);
    }
}

/* |re + i im|^2 or |re + i im| of bin number `bin` to work[2 * bin], where the triangles reach it. */
STROP_KERNEL void strop_features_bin(float *restrict work, int32_t bin, float re, float im, const strop_features_shape *s) {
    if (bin >= s->first && bin <= s->last) {
        const float power = re * re + im * im;
        work[2 * bin] = s->squared ? power : strop_sqrt_f32(power);
    }
}

/* The halves' transform to the real one's bins: number k is work[2 k], work[2 k + 1] is free. */
STROP_KERNEL void strop_features_bins(float *restrict work, const strop_features_shape *s) {
    const int32_t points = s->fft / 2;
    strop_features_bin(work, points, 2.0F * (work[0] - work[1]), 0.0F, s);
    strop_features_bin(work, points / 2, 2.0F * work[points], 2.0F * work[points + 1], s);
    for (int32_t k = 1; 2 * k < points; ++k) {
        const float *const low = work + 2 * k, *const high = work + 2 * (points - k);
        const float er = low[0] + high[0], ei = low[1] - high[1];
        float re = low[1] + high[1], im = high[0] - low[0];
        strop_turn_f32(&re, &im, strop_twiddle_f32(s->cosines, k, points));
        strop_features_bin(work, k, er + re, ei + im, s);
        strop_features_bin(work, points - k, er - re, im - ei, s);
    }
}

/* Energies under the triangles, their logarithms to work[0] ... work[mels - 1].
 * Between two centres every bin belongs to both triangles, in shares that sum to 1. */
STROP_KERNEL void strop_features_mel(float *restrict work, const strop_features_shape *s) {
    float falling = 0.0F;
    int32_t bin = s->first;
    for (int32_t m = 0; m <= s->mels; ++m) {
        float whole = 0.0F, rising = 0.0F;
        for (int32_t left = s->bins[m]; left > 0; --left) {
            whole += work[2 * bin];
            rising += work[2 * bin] * s->slopes[bin - s->first];
            ++bin;
        }
        if (m > 0) {
            work[2 * m - 1] = falling + (whole - rising);
        }
        falling = rising;
    }
    for (int32_t m = 0; m < s->mels; ++m) {
        work[m] = strop_log_f32(strop_max_f32(work[2 * m + 1] + s->offset, s->floor));
    }
}

/* DCT-II of work[0] ... work[mels - 1] to what lies behind: cosines are even or odd about the middle. */
STROP_KERNEL void strop_features_dct(float *restrict work, const strop_features_shape *s) {
    const int32_t half = (s->mels + 1) / 2;
    for (int32_t m = 0; m < s->mels / 2; ++m) {
        const float left = work[m], right = work[s->mels - 1 - m];
        work[m] = left + right;
        work[s->mels - 1 - m] = left - right;
    }
    for (int32_t k = 0; k < s->coefficients; ++k) {
        float sum = 0.0F;
        for (int32_t m = 0; m < ((k & 1) != 0 ? s->mels / 2 : half); ++m) {
            sum += s->dct[k * half + m] * work[(k & 1) != 0 ? s->mels - 1 - m : m];
        }
        work[s->mels + k] = sum;
    }
}

/* Features of the window in the ring; returns where in work its coefficients are. oldest: place of the first sample in the ring. */
STROP_KERNEL const float *strop_features_frame(
    const int16_t *restrict ring, int32_t oldest, float *restrict work, const strop_features_shape *s) {
    strop_features_load(ring, oldest, work, s);
    strop_fft_f32(work, s->cosines, s->fft / 2);
    strop_features_bins(work, s);
    strop_features_mel(work, s);
    if (s->dct == NULL) {
        return work;
    }
    strop_features_dct(work, s);
    return work + s->mels;
}

/* What a stream keeps beside its samples and frames. at: the next sample's place in the ring; due: samples until the next frame;
 * slot: the next frame's place in the ring of frames; missing: frames until that is full. */
typedef struct {
    int32_t at, due, slot, missing;
} strop_features_stream;

/* Takes as many of count samples as fit before the next frame or the ring's end. Returns how many. */
STROP_KERNEL int32_t strop_features_take(
    strop_features_stream *restrict stream, int16_t *restrict ring, const int16_t *restrict pcm, int32_t count, int32_t history) {
    const int32_t taken = strop_min(strop_min(stream->due, history - stream->at), count);
    memcpy(ring + stream->at, pcm, (size_t)taken * sizeof *ring);
    stream->due -= taken;
    stream->at = stream->at + taken == history ? 0 : stream->at + taken;
    return taken;
}

/* Counts a frame that was written to its slot. frames: of the ring. */
STROP_KERNEL void strop_features_advance(strop_features_stream *restrict stream, int32_t hop, int32_t frames) {
    stream->due = hop;
    stream->slot = stream->slot + 1 == frames ? 0 : stream->slot + 1;
    stream->missing -= stream->missing > 0 ? 1 : 0;
}

#endif
