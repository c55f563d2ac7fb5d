/* The boot loader: starts the newest image that is signed for this board and this slot, and gives up one that never confirmed itself.
 * A trial costs one of its tries, written before it starts, and is watched where the board has a watchdog: one that hangs costs no
 * more than that. Nothing else is written, and no image is copied. */
#include "boot.h"
#include "device.h"
#include "monocypher.h"
#include "sha512.h"

extern const uint8_t strop_public_key[32];
_Noreturn void strop_jump(uint32_t vectors);

/* The CRC-32 of IEEE 802.3. */
uint32_t strop_check(uint32_t crc, const uint8_t *from, uint32_t bytes)
{
    crc = ~crc;
    for (uint32_t i = 0; i < bytes; ++i) {
        crc ^= from[i];
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

/* Ed25519 of RFC 8032, of bytes that lie behind their signature. */
__attribute__((noinline)) int strop_signed(const uint8_t *signature, const uint8_t *from, uint32_t bytes)
{
    struct strop_sha512 hash;
    uint8_t digest[64], scalar[32];
    strop_sha512_start(&hash);
    strop_sha512_add(&hash, signature, 32);
    strop_sha512_add(&hash, strop_public_key, 32);
    strop_sha512_add(&hash, from, bytes);
    strop_sha512_end(&hash, digest);
    crypto_eddsa_reduce(scalar, digest);
    return crypto_eddsa_check_equation(signature, strop_public_key, scalar) == 0;
}

static int startable(uint32_t slot, uint32_t lowest_version)
{
    const struct strop_header *const header = (const struct strop_header *)(uintptr_t)slot;
    const uint32_t bytes = STROP_HEADER_BYTES - STROP_SIGNATURE_BYTES + header->length;
    return strop_header_fits(header, slot) && header->version >= lowest_version &&
           strop_signed(header->signature, header->magic, bytes);
}

void strop_main(void)
{
    struct strop_state state;
    strop_feed(); /* what runs since the last start outlives resets by software on some chips */
    (void)strop_state_read(&state);
    const uint32_t trial = strop_slot(1u - state.stable), stable = strop_slot(state.stable);
    if (state.trial == 1 - state.stable && state.tries != 0 && startable(trial, state.floor)) {
        --state.tries;
        if (strop_state_write(&state)) {
            if (STROP_WATCHDOG_STARTS) {
                strop_watchdog_start();
            }
            strop_jump(trial + STROP_HEADER_BYTES);
        }
    }
    if (startable(stable, state.floor)) {
        strop_jump(stable + STROP_HEADER_BYTES);
    }
    /* The confirmed image is damaged, or this is a new board with an image in the other slot alone. */
    if (startable(trial, state.floor)) {
        strop_jump(trial + STROP_HEADER_BYTES);
    }
}

void strop_report_fault(const struct strop_fault *fault)
{
    (void)fault;
    strop_restart();
}
