/* The watchdog of nRF52, clocked by the 32.768 kHz clock, which it starts. Source: nRF52840 Product Specification 1.7, 6.36.4. */
#include "device.h"
#include "registers.h"

enum { START = 0x0, RELOAD = 0x504, RELOAD_REQUESTS = 0x508, CONFIG = 0x50c, FEED = 0x600, PAUSED_BY_DEBUGGER_ONLY = 1 };
enum { FEED_VALUE = 0x6e524635 };

void strop_watchdog_start(void)
{
    strop_write(STROP_WATCHDOG_BASE + CONFIG, PAUSED_BY_DEBUGGER_ONLY);
    strop_write(STROP_WATCHDOG_BASE + RELOAD, (uint32_t)((uint64_t)STROP_WATCHDOG_MS * STROP_WATCHDOG_CLOCK_HZ / 1000u) - 1u);
    strop_write(STROP_WATCHDOG_BASE + RELOAD_REQUESTS, 1);
    strop_write(STROP_WATCHDOG_BASE + START, 1);
}

void strop_watchdog_feed(void)
{
    strop_write(STROP_WATCHDOG_BASE + FEED, FEED_VALUE);
}
