/* Indices from tensors of any integer type: negative ones count from the end, others outside are clamped. */
#ifndef STROP_INDICES_H
#define STROP_INDICES_H

#include "common.h"

typedef enum {
    STROP_INDEX_I8,
    STROP_INDEX_I16,
    STROP_INDEX_I32,
    STROP_INDEX_I64,
    STROP_INDEX_U8,
    STROP_INDEX_U16,
    STROP_INDEX_U32,
    STROP_INDEX_U64
} strop_index_type;

/* The stored number; the type is a constant of the call. */
STROP_KERNEL int64_t strop_index_load(const void *indices, int32_t at, strop_index_type type) {
    switch (type) {
    case STROP_INDEX_I8:
        return ((const int8_t *)indices)[at];
    case STROP_INDEX_I16:
        return ((const int16_t *)indices)[at];
    case STROP_INDEX_I32:
        return ((const int32_t *)indices)[at];
    case STROP_INDEX_I64:
        return ((const int64_t *)indices)[at];
    case STROP_INDEX_U8:
        return ((const uint8_t *)indices)[at];
    case STROP_INDEX_U16:
        return ((const uint16_t *)indices)[at];
    case STROP_INDEX_U32:
        return ((const uint32_t *)indices)[at];
    default:
        return (int64_t)((const uint64_t *)indices)[at];
    }
}

/* The index in [0, size), size > 0. */
STROP_KERNEL int32_t strop_index(const void *indices, int32_t at, strop_index_type type, int32_t size) {
    const int64_t stored = strop_index_load(indices, at, type);
    const int64_t index = stored < 0 ? stored + size : stored;
    return index < 0 ? 0 : (index < size ? (int32_t)index : size - 1);
}

/* Store an index as int32 or int64. */
STROP_KERNEL void strop_index_store(void *indices, int32_t at, strop_index_type type, int32_t index) {
    if (type == STROP_INDEX_I64) {
        ((int64_t *)indices)[at] = index;
    } else {
        ((int32_t *)indices)[at] = index;
    }
}

#endif
