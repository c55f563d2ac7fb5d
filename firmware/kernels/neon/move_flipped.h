/* Moves bytes as they are: products of signed bytes need no offset. */
#ifndef STROP_MOVE_FLIPPED_H
#define STROP_MOVE_FLIPPED_H

#include "common.h"

#define STROP_FLIP false

STROP_KERNEL void strop_move_bytes(int8_t *to, const int8_t *from, int32_t bytes, bool flip) {
    (void)flip;
    memcpy(to, from, (size_t)bytes);
}

#endif
