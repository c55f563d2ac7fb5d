/* SHA-512 of bytes that come in parts. */
#ifndef STROP_SHA512_H
#define STROP_SHA512_H

#include <stdint.h>

struct strop_sha512 {
    uint64_t state[8];
    uint32_t bytes; /* so far: fewer than 2^29 */
    uint8_t block[128];
};
void strop_sha512_start(struct strop_sha512 *hash);
void strop_sha512_add(struct strop_sha512 *hash, const uint8_t *from, uint32_t bytes);
void strop_sha512_end(struct strop_sha512 *hash, uint8_t digest[64]);

#endif
