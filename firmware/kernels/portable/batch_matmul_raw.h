/* Batched matrix product of float32 or plain integers (which wrap), operands read with strides: transposed or not,
 * four columns at a time. Cost: about 4.5 instructions per MAC. No scratch. */
#ifndef STROP_BATCH_MATMUL_RAW_H
#define STROP_BATCH_MATMUL_RAW_H

#include "broadcast.h"

/* loops: over the matrices of the batch. a_row, a_depth, b_depth, b_column: elements from one row, depth, column to the next. */
typedef struct {
    strop_broadcast loops;
    int32_t rows, depth, columns, a_row, a_depth, b_depth, b_column;
} strop_batch_matmul_shape;

/* The kernel strop_batch_matmul_<name>; sums are taken in the type `sum`. */
#define STROP_BATCH_MATMUL(name, type, sum)                                                                            \
    STROP_KERNEL void strop_matmul_4_##name(const type *restrict a, const type *restrict b, type *restrict out,        \
                                            const strop_batch_matmul_shape *s) {                                       \
        const int32_t step = s->b_column;                                                                              \
        sum t0 = 0, t1 = 0, t2 = 0, t3 = 0;                                                                            \
        for (int32_t k = 0; k < s->depth; ++k, a += s->a_depth, b += s->b_depth) {                                     \
            const sum x = (sum)*a;                                                                                     \
            const sum y0 = (sum)b[0], y1 = (sum)b[step], y2 = (sum)b[2 * step], y3 = (sum)b[3 * step];                 \
            t0 += x * y0;                                                                                              \
            t1 += x * y1;                                                                                              \
            t2 += x * y2;                                                                                              \
            t3 += x * y3;                                                                                              \
        }                                                                                                              \
        out[0] = (type)t0;                                                                                             \
        out[1] = (type)t1;                                                                                             \
        out[2] = (type)t2;                                                                                             \
        out[3] = (type)t3;                                                                                             \
    }                                                                                                                  \
    STROP_KERNEL type strop_matmul_1_##name(const type *restrict a, const type *restrict b,                            \
                                            const strop_batch_matmul_shape *s) {                                       \
        sum total = 0;                                                                                                 \
        for (int32_t k = 0; k < s->depth; ++k, a += s->a_depth, b += s->b_depth) {                                     \
            const sum x = (sum)*a, y = (sum)*b;                                                                        \
            total += x * y;                                                                                            \
        }                                                                                                              \
        return (type)total;                                                                                            \
    }                                                                                                                  \
    STROP_KERNEL void strop_matmul_##name(const type *restrict a, const type *restrict b, type *restrict out,          \
                                          const strop_batch_matmul_shape *s) {                                         \
        for (int32_t row = 0; row < s->rows; ++row, a += s->a_row, out += s->columns) {                                \
            int32_t column = 0;                                                                                        \
            for (; column + 4 <= s->columns; column += 4) {                                                            \
                strop_matmul_4_##name(a, b + column * s->b_column, out + column, s);                                   \
            }                                                                                                          \
            for (; column < s->columns; ++column) {                                                                    \
                out[column] = strop_matmul_1_##name(a, b + column * s->b_column, s);                                   \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    STROP_KERNEL void strop_batch_matmul_##name(const type *restrict a, const type *restrict b, type *restrict out,    \
                                                const strop_batch_matmul_shape *s) {                                   \
        const int32_t inner = STROP_LOOPS - 1;                                                                         \
        for (int32_t row = 0; row < strop_broadcast_rows(&s->loops); ++row) {                                          \
            const strop_offsets at = strop_broadcast_row(&s->loops, row);                                              \
            for (int32_t i = 0; i < s->loops.size[inner]; ++i, out += s->rows * s->columns) {                          \
                const type *const x = a + at.a + i * s->loops.a[inner];                                                \
                const type *const y = b + at.b + i * s->loops.b[inner];                                                \
                strop_matmul_##name(x, y, out, s);                                                                     \
            }                                                                                                          \
        }                                                                                                              \
    }

STROP_BATCH_MATMUL(f32, float, float)
STROP_BATCH_MATMUL(i32, int32_t, uint32_t)
STROP_BATCH_MATMUL(u32, uint32_t, uint32_t)
STROP_BATCH_MATMUL(i64, int64_t, uint64_t)
STROP_BATCH_MATMUL(u64, uint64_t, uint64_t)

#endif
