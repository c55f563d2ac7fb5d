/* Dot products of contiguous float32 with weights as they are stored.
 * Cost per MAC with an FPU: about 3.3 instructions in fours, 5 alone; with int8 or int4 about 6 in fours. */
#ifndef STROP_DOT_F32_H
#define STROP_DOT_F32_H

#include "stored_f32.h"

/* The weights of a layer's next channels. scales: of those, null for floats. */
typedef struct {
    const uint8_t *data;
    const float *scales;
    strop_storage storage;
} strop_weights;

/* The sums plus those of in[k] * weights[i * step + k] over n contiguous activations, i the channel. */
STROP_KERNEL strop_four strop_dot_4_f32(const float *restrict in, const float *restrict weights, int32_t n, int32_t step,
                                        strop_four sums) {
    const float *w1 = weights + step, *w2 = w1 + step, *w3 = w2 + step;
    for (int32_t k = 0; k < n; ++k) {
        const float x = *in++;
        sums.a += x * *weights++;
        sums.b += x * *w1++;
        sums.c += x * *w2++;
        sums.d += x * *w3++;
    }
    return sums;
}

/* The same with weights[4 * k + i], as they are stored. */
STROP_KERNEL strop_four strop_dot_4_stored(const float *restrict in, const uint8_t *restrict weights, strop_storage storage,
                                           int32_t n, strop_four sums) {
    for (int32_t k = 0; k < n; ++k, weights += strop_stored_bytes(storage, 4)) {
        const float x = *in++;
        const strop_four w = strop_load_4(weights, storage);
        sums.a += x * w.a;
        sums.b += x * w.b;
        sums.c += x * w.c;
        sums.d += x * w.d;
    }
    return sums;
}

/* sum + the sum of in[k] * row[first + k], as it is stored. */
STROP_KERNEL float strop_dot_stored(const float *restrict in, const uint8_t *restrict row, int32_t first,
                                    strop_storage storage, int32_t n, float sum) {
    for (int32_t k = 0; k < n; ++k) {
        sum += in[k] * strop_load_1(row, first + k, storage);
    }
    return sum;
}

/* sum + the sum of in[k] * weights[k]. */
STROP_KERNEL float strop_dot_f32(const float *restrict in, const float *restrict weights, int32_t n, float sum) {
    for (int32_t k = 0; k < n; ++k) {
        sum += in[k] * weights[k];
    }
    return sum;
}

/* The sums plus those of four channels over n activations, which meet the elements from `first` on of their rows.
 * step: elements of a row. block: elements to a scale; 0: the caller multiplies by the scales, if there are any.
 * Layout: float32 in rows; else four channels side by side, and their scales for every block. */
STROP_KERNEL strop_four strop_run_4(const float *restrict in, const strop_weights *w, int32_t first, int32_t n, int32_t step,
                                    int32_t block, strop_four sums) {
    if (w->storage == STROP_STORED_F32) {
        return strop_dot_4_f32(in, (const float *)(const void *)w->data + first, n, step, sums);
    }
    if (block == 0) {
        return strop_dot_4_stored(in, w->data + strop_stored_bytes(w->storage, 4 * first), w->storage, n, sums);
    }
    for (const int32_t end = first + n; first < end;) {
        const int32_t index = first / block;
        const int32_t count = strop_min(end, (index + 1) * block) - first;
        const strop_four zero = {0.0F, 0.0F, 0.0F, 0.0F};
        const uint8_t *const data = w->data + strop_stored_bytes(w->storage, 4 * first);
        const strop_four part = strop_dot_4_stored(in, data, w->storage, count, zero);
        const float *const scale = w->scales + 4 * index;
        sums.a += part.a * scale[0];
        sums.b += part.b * scale[1];
        sums.c += part.c * scale[2];
        sums.d += part.d * scale[3];
        in += count;
        first += count;
    }
    return sums;
}

/* The same for one channel, whose weights lie in a row. */
STROP_KERNEL float strop_run_1(const float *restrict in, const strop_weights *w, int32_t first, int32_t n, int32_t block,
                               float sum) {
    if (w->storage == STROP_STORED_F32) {
        return strop_dot_f32(in, (const float *)(const void *)w->data + first, n, sum);
    }
    if (block == 0) {
        return strop_dot_stored(in, w->data, first, w->storage, n, sum);
    }
    for (const int32_t end = first + n; first < end;) {
        const int32_t index = first / block;
        const int32_t count = strop_min(end, (index + 1) * block) - first;
        sum += strop_dot_stored(in, w->data, first, w->storage, count, 0.0F) * w->scales[index];
        in += count;
        first += count;
    }
    return sum;
}

/* The weights of the channels after the next `count`, four or one. */
STROP_KERNEL strop_weights strop_after(const strop_weights *w, int32_t count, int32_t step, int32_t block) {
    const int32_t blocks = block ? (step + block - 1) / block : 1;
    strop_weights next = *w;
    next.data += strop_stored_bytes(w->storage, count * step);
    next.scales += w->scales ? count * blocks : 0;
    return next;
}

#endif
