/* Flash of STM32L4+ with two banks of 256 pages of 4 KiB; 8 bytes at once, with ECC. Source: ST RM0432, section 3, DBANK set. */
#include "boot.h"

#define REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(STROP_UPDATE_CONTROLLER + (offset)))

enum { ACCESS = 0x00, KEY = 0x08, STATUS = 0x10, CONTROL = 0x14, ECC = 0x18 };
enum { PROGRAM = 1, PAGE_ERASE = 2, PAGE_SHIFT = 3, PAGES = 512, CACHES = 3 << 9, RESET_CACHES = 3 << 11 };
enum { ERRORS = 0xc3fa, DONE = 1, PAGE_BYTES = 4096, FLASH_BASE = 0x08000000 };
static const uint32_t start = 1u << 16, busy = 1u << 16, lock = 1u << 31, two_errors = 1u << 31;

static void unlock(void)
{
    while (REGISTER(STATUS) & busy) {
    }
    if (REGISTER(CONTROL) & lock) {
        REGISTER(KEY) = 0x45670123u;
        REGISTER(KEY) = 0xcdef89abu;
    }
    REGISTER(STATUS) = ERRORS | DONE;
}

static int finished(void)
{
    while (REGISTER(STATUS) & busy) {
    }
    const int failed = (REGISTER(STATUS) & ERRORS) != 0;
    REGISTER(CONTROL) = lock;
    return failed;
}

/* What the caches hold of an erased page is wrong from then on; they are reset while they are off. */
static void drop_caches(void)
{
    const uint32_t access = REGISTER(ACCESS);
    REGISTER(ACCESS) = access & ~(uint32_t)CACHES;
    REGISTER(ACCESS) = (access & ~(uint32_t)CACHES) | RESET_CACHES;
    REGISTER(ACCESS) = access & ~(uint32_t)CACHES;
    REGISTER(ACCESS) = access;
}

int strop_flash_erase(uint32_t page)
{
    const uint32_t number = (page - (uint32_t)FLASH_BASE) / PAGE_BYTES;
    if (number >= PAGES) {
        return 1;
    }
    unlock();
    REGISTER(CONTROL) = PAGE_ERASE | number << PAGE_SHIFT; /* the bank's bit lies behind those of the page */
    REGISTER(CONTROL) = PAGE_ERASE | number << PAGE_SHIFT | start;
    const int failed = finished();
    drop_caches();
    return failed;
}

int strop_flash_program(uint32_t address, const uint8_t *unit)
{
    unlock();
    REGISTER(CONTROL) = PROGRAM;
    for (uint32_t i = 0; i < 8; i += 4) {
        const uint32_t word = (uint32_t)unit[i] | (uint32_t)unit[i + 1] << 8 | (uint32_t)unit[i + 2] << 16 | (uint32_t)unit[i + 3] << 24;
        *(volatile uint32_t *)(uintptr_t)(address + i) = word;
    }
    return finished();
}

/* What power left half programmed has more errors than ECC mends, which is an NMI when it is read: go on, checks tell what it is. */
void strop_nmi(void);
void strop_nmi(void)
{
    REGISTER(ECC) |= two_errors;
}
