/* Elements of any integer type up to 32 bits. The type is a constant of the call, so that the choice costs nothing. */
#ifndef STROP_ELEMENT_H
#define STROP_ELEMENT_H

#include "common.h"

typedef enum { STROP_S8, STROP_U8, STROP_S16, STROP_S32 } strop_type;

STROP_KERNEL int32_t strop_load(const void *from, int32_t index, strop_type type) {
    switch (type) {
    case STROP_S8:
        return ((const int8_t *)from)[index];
    case STROP_U8:
        return ((const uint8_t *)from)[index];
    case STROP_S16:
        return ((const int16_t *)from)[index];
    default:
        return ((const int32_t *)from)[index];
    }
}

/* x lies in the type's range. */
STROP_KERNEL void strop_store(void *to, int32_t index, strop_type type, int32_t x) {
    switch (type) {
    case STROP_S8:
        ((int8_t *)to)[index] = (int8_t)x;
        break;
    case STROP_U8:
        ((uint8_t *)to)[index] = (uint8_t)x;
        break;
    case STROP_S16:
        ((int16_t *)to)[index] = (int16_t)x;
        break;
    default:
        ((int32_t *)to)[index] = x;
        break;
    }
}

#endif
