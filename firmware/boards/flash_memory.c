/* Plain memory that stands in for flash on emulated boards, with flash's rules: a unit is programmed once after its page's erasure. */
#include "boot.h"

int strop_flash_erase(uint32_t page)
{
    volatile uint8_t *const at = (volatile uint8_t *)(uintptr_t)page;
    for (uint32_t i = 0; i < STROP_UPDATE_PAGE_BYTES; ++i) {
        at[i] = 0xff;
    }
    return 0;
}

int strop_flash_program(uint32_t address, const uint8_t *unit)
{
    volatile uint8_t *const at = (volatile uint8_t *)(uintptr_t)address;
    for (uint32_t i = 0; i < STROP_UPDATE_UNIT_BYTES; ++i) {
        if (at[i] != 0xff) {
            return 1;
        }
    }
    for (uint32_t i = 0; i < STROP_UPDATE_UNIT_BYTES; ++i) {
        at[i] = unit[i];
    }
    return 0;
}
