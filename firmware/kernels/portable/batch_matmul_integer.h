/* Batched matrix products of two computed tensors, int8 (32-bit sums) and int16 (64-bit sums), operands transposed or not.
 * Cost: about 5 instructions per MAC in int8, 3 in int16, 35 per output. No scratch. */
#ifndef STROP_BATCH_MATMUL_INTEGER_H
#define STROP_BATCH_MATMUL_INTEGER_H

#include "broadcast.h"
#include "fixed_point.h"

/* batches: loops over matrices, in elements of each operand. a_row, a_step: elements from one row of a to the next and
 * from one product to the next; b_column, b_step the same for columns of b. */
typedef struct {
    strop_broadcast batches;
    int32_t rows, columns, depth, a_row, a_step, b_column, b_step;
    int32_t a_offset, b_offset, out_offset, act_min, act_max;
    strop_factor factor;
    strop_wide_factor wide;
} strop_matmul_shape;

/* Where both operands of matrix `index` start. */
STROP_KERNEL strop_offsets strop_matmul_batch(const strop_broadcast *loops, int32_t index) {
    const int32_t inner = STROP_LOOPS - 1;
    strop_offsets at = strop_broadcast_row(loops, index / loops->size[inner]);
    at.a += index % loops->size[inner] * loops->a[inner];
    at.b += index % loops->size[inner] * loops->b[inner];
    return at;
}

STROP_KERNEL void strop_batch_matmul_s8(const int8_t *restrict a, const int8_t *restrict b, int8_t *restrict out,
                                        const strop_matmul_shape *s) {
    const int32_t matrices = strop_broadcast_rows(&s->batches) * s->batches.size[STROP_LOOPS - 1];
    for (int32_t i = 0; i < matrices * s->rows * s->columns; ++i) {
        const strop_offsets at = strop_matmul_batch(&s->batches, i / (s->rows * s->columns));
        const int8_t *x = a + at.a + i / s->columns % s->rows * s->a_row;
        const int8_t *y = b + at.b + i % s->columns * s->b_column;
        int32_t sum = 0;
        for (int32_t k = 0; k < s->depth; ++k, x += s->a_step, y += s->b_step) {
            sum += (*x + s->a_offset) * (*y + s->b_offset);
        }
        const int32_t scaled = strop_multiply(sum, s->factor.mantissa, s->factor.shift) + s->out_offset;
        out[i] = (int8_t)strop_clamp(scaled, s->act_min, s->act_max);
    }
}

STROP_KERNEL void strop_batch_matmul_s16(const int16_t *restrict a, const int16_t *restrict b, int16_t *restrict out,
                                         const strop_matmul_shape *s) {
    const int32_t matrices = strop_broadcast_rows(&s->batches) * s->batches.size[STROP_LOOPS - 1];
    for (int32_t i = 0; i < matrices * s->rows * s->columns; ++i) {
        const strop_offsets at = strop_matmul_batch(&s->batches, i / (s->rows * s->columns));
        const int16_t *x = a + at.a + i / s->columns % s->rows * s->a_row;
        const int16_t *y = b + at.b + i % s->columns * s->b_column;
        int64_t sum = 0;
        for (int32_t k = 0; k < s->depth; ++k, x += s->a_step, y += s->b_step) {
            sum += *x * *y;
        }
        out[i] = (int16_t)strop_clamp(strop_multiply_wide(sum, s->wide), s->act_min, s->act_max);
    }
}

#endif
