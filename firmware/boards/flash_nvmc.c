/* Flash of nRF52: pages of 4 KiB, words of 4 bytes, which may be written twice and are written once. Source: nRF52840 Product
 * Specification, NVMC. */
#include "boot.h"

#define REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(STROP_UPDATE_CONTROLLER + (offset)))

enum { READY = 0x400, CONFIGURE = 0x504, ERASE_PAGE = 0x508, READ_ONLY = 0, WRITE = 1, ERASE = 2 };

static void allow(uint32_t what)
{
    REGISTER(CONFIGURE) = what;
    while (REGISTER(READY) == 0) {
    }
}

int strop_flash_erase(uint32_t page)
{
    allow(ERASE);
    REGISTER(ERASE_PAGE) = page;
    while (REGISTER(READY) == 0) {
    }
    allow(READ_ONLY);
    return 0;
}

int strop_flash_program(uint32_t address, const uint8_t *unit)
{
    const uint32_t word = (uint32_t)unit[0] | (uint32_t)unit[1] << 8 | (uint32_t)unit[2] << 16 | (uint32_t)unit[3] << 24;
    allow(WRITE);
    *(volatile uint32_t *)(uintptr_t)address = word;
    while (REGISTER(READY) == 0) {
    }
    allow(READ_ONLY);
    return 0;
}
