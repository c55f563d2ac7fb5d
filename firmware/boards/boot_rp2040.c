/* The RP2040's second stage, 252 bytes and their check, which the image's builder writes: the boot ROM copies it to SRAM and calls it. It
 * makes the flash readable by fast reads with four data lines (6Bh) and starts the image behind it. One function, since it runs where it
 * was not linked to. Sources: RP2040 Datasheet 2.8.1, 2.8.1.3.1 and 4.10.13 (SSI), Winbond W25Q16JV data sheet 8.1 and 8.2. */
#include "registers.h"

enum { SSI = 0x18000000, CTRLR0 = SSI, CTRLR1 = SSI + 0x4, SSIENR = SSI + 0x8, BAUDR = SSI + 0x14, SR = SSI + 0x28 };
enum { DR0 = SSI + 0x60, RX_SAMPLE_DLY = SSI + 0xf0, SPI_CTRLR0 = SSI + 0xf4, VTOR = 0xe000ed08, IMAGE = 0x10000100 };
enum { IDLE = 4, BUSY = 1, BYTES = 7 << 16, WORDS = 31 << 16, QUAD = 2 << 21, READ_ONLY = 3 << 8 };
enum { READ_STATUS_1 = 0x05, WRITE_ENABLE = 0x06, WRITE_STATUS_2 = 0x31, READ_STATUS_2 = 0x35, FAST_READ_QUAD = 0x6b };
enum { QUAD_ENABLED = 2, EIGHT_DUMMIES = 8 << 11, COMMAND_8_BITS = 2 << 8, ADDRESS_24_BITS = 6 << 2 };

/* A command and one byte with it; the answer to the byte. */
static inline __attribute__((always_inline)) uint32_t exchange(uint32_t command, uint32_t byte)
{
    strop_write(DR0, command);
    strop_write(DR0, byte);
    strop_await(SR, IDLE | BUSY, IDLE);
    (void)*strop_word(DR0);
    return *strop_word(DR0);
}

__attribute__((section(".boot"), used, noreturn)) void strop_boot(void)
{
    strop_write(SSIENR, 0);
    strop_write(BAUDR, 4); /* of the system clock: 31 MHz */
    strop_write(RX_SAMPLE_DLY, 1);
    strop_write(CTRLR0, BYTES);
    strop_write(SSIENR, 1);
    if (!(exchange(READ_STATUS_2, 0) & QUAD_ENABLED)) {
        strop_write(DR0, WRITE_ENABLE);
        strop_await(SR, IDLE | BUSY, IDLE);
        (void)*strop_word(DR0);
        (void)exchange(WRITE_STATUS_2, QUAD_ENABLED);
        while (exchange(READ_STATUS_1, 0) & 1) {
        }
    }
    strop_write(SSIENR, 0);
    strop_write(CTRLR0, QUAD | WORDS | READ_ONLY);
    strop_write(CTRLR1, 0);
    strop_write(SPI_CTRLR0, (uint32_t)FAST_READ_QUAD << 24 | EIGHT_DUMMIES | COMMAND_8_BITS | ADDRESS_24_BITS);
    strop_write(SSIENR, 1);
    strop_write(VTOR, IMAGE);
    __asm__ volatile("ldr r0, [%0]\n\t"
                     "ldr r1, [%0, #4]\n\t"
                     "msr msp, r0\n\t"
                     "bx r1" ::"l"(IMAGE)
                     : "r0", "r1");
    __builtin_unreachable();
}
