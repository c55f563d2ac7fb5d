/* memcpy, memmove, memset, memcmp for programs without a C library. Words where both ends allow, bytes elsewhere. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *left, const void *right, size_t bytes);

typedef uint32_t __attribute__((may_alias)) word_t;

static int aligned(const void *a, const void *b)
{
    return ((((uintptr_t)a) | ((uintptr_t)b)) & 3u) == 0u;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if (aligned(out, in)) {
        for (; bytes >= 16; bytes -= 16, in += 16, out += 16) {
            const word_t *source = (const word_t *)(const void *)in;
            word_t *target = (word_t *)(void *)out;
            const uint32_t a = source[0], b = source[1], c = source[2], d = source[3];
            target[0] = a;
            target[1] = b;
            target[2] = c;
            target[3] = d;
        }
        for (; bytes >= 4; bytes -= 4, in += 4, out += 4) {
            *(word_t *)(void *)out = *(const word_t *)(const void *)in;
        }
    }
    while (bytes-- != 0) {
        *out++ = *in++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((uintptr_t)out - (uintptr_t)in >= bytes) {
        while (bytes-- != 0) {
            *out++ = *in++;
        }
    } else {
        while (bytes-- != 0) {
            out[bytes] = in[bytes];
        }
    }
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    uint8_t *out = to;
    const uint8_t byte = (uint8_t)value;
    const uint32_t word = byte * 0x01010101u;
    if (aligned(out, out)) {
        for (; bytes >= 16; bytes -= 16, out += 16) {
            word_t *target = (word_t *)(void *)out;
            target[0] = word;
            target[1] = word;
            target[2] = word;
            target[3] = word;
        }
        for (; bytes >= 4; bytes -= 4, out += 4) {
            *(word_t *)(void *)out = word;
        }
    }
    while (bytes-- != 0) {
        *out++ = byte;
    }
    return to;
}

int memcmp(const void *left, const void *right, size_t bytes)
{
    const uint8_t *a = left;
    const uint8_t *b = right;
    for (; bytes != 0; --bytes, ++a, ++b) {
        if (*a != *b) {
            return *a < *b ? -1 : 1;
        }
    }
    return 0;
}
