/* Loops of elementwise operations over operands that broadcast. The lowering merges dimensions that run together,
 * so equal shapes become one dimension; unused outer dimensions have size 1. */
#ifndef STROP_BROADCAST_H
#define STROP_BROADCAST_H

#include "common.h"

#define STROP_LOOPS 6

/* size: iterations per dimension, outermost first. a, b: elements that each operand advances per iteration. */
typedef struct {
    int32_t size[STROP_LOOPS], a[STROP_LOOPS], b[STROP_LOOPS];
} strop_broadcast;

/* Where the operands of one innermost row start. */
typedef struct {
    int32_t a, b;
} strop_offsets;

/* Rows, the product of all sizes but the innermost. */
STROP_KERNEL int32_t strop_broadcast_rows(const strop_broadcast *loops) {
    int32_t rows = 1;
    for (int32_t d = 0; d < STROP_LOOPS - 1; ++d) {
        rows *= loops->size[d];
    }
    return rows;
}

STROP_KERNEL strop_offsets strop_broadcast_row(const strop_broadcast *loops, int32_t row) {
    strop_offsets at = {0, 0};
    for (int32_t d = STROP_LOOPS - 2; d >= 0; --d) {
        if (loops->size[d] > 1) {
            const int32_t index = row % loops->size[d];
            row /= loops->size[d];
            at.a += index * loops->a[d];
            at.b += index * loops->b[d];
        }
    }
    return at;
}

#endif
