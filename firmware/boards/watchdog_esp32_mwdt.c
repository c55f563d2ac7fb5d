/* The main watchdog of timer group 0 of the ESP32-C3, clocked by the APB's 80 MHz in steps of half a millisecond; its first stage resets the
 * system. Source: Espressif ESP32-C3 Technical Reference Manual 1.1 (registers 11.5, watchdog timers 12.2). */
#include "device.h"
#include "registers.h"

enum { CONFIG = 0x48, PRESCALE = 0x4c, STAGE_0 = 0x50, FEED = 0x60, PROTECT = 0x64, UNLOCK = 0x50d83aa1, STEP_CLOCKS = 40000 };
enum { RESET_SYSTEM = 3 << 29, TAKEN_OVER = 1 << 22, LONG_RESETS = 7 << 18 | 7 << 15 };
static const uint32_t enable = 1u << 31;

void strop_watchdog_start(void)
{
    strop_write(STROP_WATCHDOG_BASE + PROTECT, UNLOCK);
    strop_write(STROP_WATCHDOG_BASE + PRESCALE, (uint32_t)STEP_CLOCKS << 16);
    strop_write(STROP_WATCHDOG_BASE + STAGE_0, STROP_WATCHDOG_MS * (STROP_WATCHDOG_CLOCK_HZ / STEP_CLOCKS / 1000u));
    strop_write(STROP_WATCHDOG_BASE + CONFIG, enable | RESET_SYSTEM | TAKEN_OVER | LONG_RESETS);
    strop_watchdog_feed();
}

void strop_watchdog_feed(void)
{
    strop_write(STROP_WATCHDOG_BASE + PROTECT, UNLOCK);
    strop_write(STROP_WATCHDOG_BASE + FEED, 1);
    strop_write(STROP_WATCHDOG_BASE + PROTECT, 0);
}
