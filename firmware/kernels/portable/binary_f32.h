/* Elementwise arithmetic and comparisons of two float32 tensors with broadcasting.
 * Cost: about 8 instructions per element with an FPU for add, sub, mul; pow and remainders take about 150. */
#ifndef STROP_BINARY_F32_H
#define STROP_BINARY_F32_H

#include "activation_f32.h"
#include "broadcast.h"
#include "pow_f32.h"

typedef struct {
    strop_broadcast loops;
    strop_activation_f32 activation;
} strop_binary_f32_shape;

/* The kernel strop_<name>_pair_f32: out[i] = value, an expression of x and y; the activation is that of the shape. */
#define STROP_BINARY_F32(name, type, value)                                                                            \
    STROP_KERNEL void strop_##name##_pair_f32(const float *a, const float *b, type *out,                               \
                                              const strop_binary_f32_shape *s) {                                       \
        const int32_t rows = strop_broadcast_rows(&s->loops);                                                          \
        const int32_t inner = STROP_LOOPS - 1;                                                                         \
        for (int32_t row = 0; row < rows; ++row) {                                                                     \
            const strop_offsets at = strop_broadcast_row(&s->loops, row);                                              \
            for (int32_t i = 0; i < s->loops.size[inner]; ++i) {                                                       \
                const float x = a[at.a + i * s->loops.a[inner]], y = b[at.b + i * s->loops.b[inner]];                  \
                *out++ = value;                                                                                        \
            }                                                                                                          \
        }                                                                                                              \
    }

STROP_BINARY_F32(add, float, strop_activate_f32(x + y, &s->activation))
STROP_BINARY_F32(sub, float, strop_activate_f32(x - y, &s->activation))
STROP_BINARY_F32(mul, float, strop_activate_f32(x * y, &s->activation))
STROP_BINARY_F32(div, float, strop_activate_f32(x / y, &s->activation))
STROP_BINARY_F32(squared_difference, float, (x - y) * (x - y))
STROP_BINARY_F32(minimum, float, strop_min_f32(x, y))
STROP_BINARY_F32(maximum, float, strop_max_f32(x, y))
STROP_BINARY_F32(pow, float, strop_pow_f32(x, y))
STROP_BINARY_F32(mod, float, strop_fmod_f32(x, y))
STROP_BINARY_F32(floor_mod, float, strop_floor_mod_f32(x, y))
STROP_BINARY_F32(floor_div, float, strop_floor_div_f32(x, y))
STROP_BINARY_F32(prelu, float, x >= 0.0F ? x : x * y)
STROP_BINARY_F32(equal, uint8_t, x == y)
STROP_BINARY_F32(not_equal, uint8_t, x != y)
STROP_BINARY_F32(less, uint8_t, x < y)
STROP_BINARY_F32(less_equal, uint8_t, x <= y)
STROP_BINARY_F32(greater, uint8_t, x > y)
STROP_BINARY_F32(greater_equal, uint8_t, x >= y)

#endif
