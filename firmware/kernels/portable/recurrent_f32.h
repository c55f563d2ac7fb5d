/* LSTM, GRU and the plain recurrent layer, float32, over (batch, time, features). The last state and cell are kept in
 * their outputs while time runs. Layout: w [gates][hidden][features], r [gates][hidden][hidden] as the graph has them.
 * Scratch: lstm 4, gru 3, rnn 1 times hidden floats. Cost: about 5 instructions per MAC, 300 per gate. */
#ifndef STROP_RECURRENT_F32_H
#define STROP_RECURRENT_F32_H

#include "dot_f32.h"
#include "math_f32.h"

/* has_state, has_cell: 0 where the first ones are zeros and their pointers are not read.
 * after: reset the product, not the state. */
typedef struct {
    int32_t batch, time, features, hidden, reverse, has_state, has_cell, after;
} strop_recurrent_shape;

/* gates[j] = b[j] + w[j] x + r[j] h for `count` rows. */
STROP_KERNEL void strop_gates_f32(const float *restrict x, const float *restrict w, const float *restrict r,
                                  const float *restrict b, const float *restrict h, float *restrict gates, int32_t count,
                                  const strop_recurrent_shape *s) {
    for (int32_t j = 0; j < count; ++j) {
        const float sum = strop_dot_f32(x, w + j * s->features, s->features, b[j]);
        gates[j] = strop_dot_f32(h, r + j * s->hidden, s->hidden, sum);
    }
}

/* The first state of all samples. */
STROP_KERNEL void strop_start_state_f32(const float *restrict given, float *restrict state, int32_t has_one,
                                        const strop_recurrent_shape *s) {
    const size_t bytes = (size_t)(s->batch * s->hidden) * sizeof *state;
    if (has_one) {
        memcpy(state, given, bytes);
    } else {
        memset(state, 0, bytes);
    }
}

/* The position in time of step number `step`. */
STROP_KERNEL int32_t strop_time_at(int32_t step, const strop_recurrent_shape *s) {
    return s->reverse ? s->time - 1 - step : step;
}

STROP_KERNEL void strop_lstm_f32(const float *restrict x, const float *restrict w, const float *restrict r,
                                 const float *restrict b, const float *restrict h_0, const float *restrict c_0,
                                 float *restrict out, float *restrict h, float *restrict c, float *restrict gates,
                                 const strop_recurrent_shape *s) {
    const int32_t n = s->hidden;
    strop_start_state_f32(h_0, h, s->has_state, s);
    strop_start_state_f32(c_0, c, s->has_cell, s);
    for (int32_t sample = 0; sample < s->batch; ++sample, h += n, c += n) {
        for (int32_t step = 0; step < s->time; ++step) {
            const int32_t at = sample * s->time + strop_time_at(step, s);
            strop_gates_f32(x + at * s->features, w, r, b, h, gates, 4 * n, s);
            for (int32_t j = 0; j < n; ++j) {
                const float kept = strop_sigmoid_f32(gates[n + j]) * c[j];
                c[j] = kept + strop_sigmoid_f32(gates[j]) * strop_tanh_f32(gates[2 * n + j]);
                h[j] = strop_sigmoid_f32(gates[3 * n + j]) * strop_tanh_f32(c[j]);
                out[at * n + j] = h[j];
            }
        }
    }
}

/* The candidate of all units of one step: gates holds z and reset, and the candidate is written behind them. */
STROP_KERNEL void strop_gru_candidate_f32(const float *restrict x, const float *restrict w, const float *restrict r,
                                          const float *restrict b, const float *restrict h, float *restrict gates,
                                          const strop_recurrent_shape *s) {
    const int32_t n = s->hidden;
    float *const reset = gates + n;
    for (int32_t j = 0; j < n && !s->after; ++j) {
        reset[j] *= h[j];
    }
    for (int32_t j = 0; j < n; ++j) {
        const float *const row = r + (2 * n + j) * n;
        const float outer = strop_dot_f32(x, w + (2 * n + j) * s->features, s->features, b[2 * n + j]);
        const float inner = strop_dot_f32(s->after ? h : reset, row, n, b[5 * n + j]);
        gates[2 * n + j] = strop_tanh_f32(outer + (s->after ? reset[j] * inner : inner));
    }
}

STROP_KERNEL void strop_gru_f32(const float *restrict x, const float *restrict w, const float *restrict r,
                                const float *restrict b, const float *restrict h_0, float *restrict out,
                                float *restrict h, float *restrict gates, const strop_recurrent_shape *s) {
    const int32_t n = s->hidden;
    strop_start_state_f32(h_0, h, s->has_state, s);
    for (int32_t sample = 0; sample < s->batch; ++sample, h += n) {
        for (int32_t step = 0; step < s->time; ++step) {
            const int32_t at = sample * s->time + strop_time_at(step, s);
            strop_gates_f32(x + at * s->features, w, r, b, h, gates, 2 * n, s);
            for (int32_t j = 0; j < 2 * n; ++j) {
                gates[j] = strop_sigmoid_f32(gates[j] + b[3 * n + j]);
            }
            strop_gru_candidate_f32(x + at * s->features, w, r, b, h, gates, s);
            for (int32_t j = 0; j < n; ++j) {
                h[j] = (1.0F - gates[j]) * gates[2 * n + j] + gates[j] * h[j];
                out[at * n + j] = h[j];
            }
        }
    }
}

STROP_KERNEL void strop_rnn_f32(const float *restrict x, const float *restrict w, const float *restrict r,
                                const float *restrict b, const float *restrict h_0, float *restrict out,
                                float *restrict h, float *restrict gates, const strop_recurrent_shape *s) {
    const int32_t n = s->hidden;
    strop_start_state_f32(h_0, h, s->has_state, s);
    for (int32_t sample = 0; sample < s->batch; ++sample, h += n) {
        for (int32_t step = 0; step < s->time; ++step) {
            const int32_t at = sample * s->time + strop_time_at(step, s);
            strop_gates_f32(x + at * s->features, w, r, b, h, gates, n, s);
            for (int32_t j = 0; j < n; ++j) {
                h[j] = strop_tanh_f32(gates[j]);
                out[at * n + j] = h[j];
            }
        }
    }
}

#endif
