/* The independent watchdog of STM32, clocked by the 32 kHz oscillator, which it starts. Its prescaler is 256, so that it can wait for 32 s.
 * Sources: ST RM0432, 38.4; RM0385, 27.4; RM0455, 49.4; RM0456, 63.7. */
#include "device.h"
#include "registers.h"

enum { KEY = 0x0, PRESCALER = 0x4, RELOAD = 0x8, STATUS = 0xc, FEED = 0xaaaa, UNLOCK = 0x5555, START = 0xcccc, BY_256 = 6 };

void strop_watchdog_start(void)
{
    strop_write(STROP_WATCHDOG_BASE + KEY, START);
    strop_write(STROP_WATCHDOG_BASE + KEY, UNLOCK);
    strop_write(STROP_WATCHDOG_BASE + PRESCALER, BY_256);
    strop_write(STROP_WATCHDOG_BASE + RELOAD, (uint32_t)((uint64_t)STROP_WATCHDOG_MS * STROP_WATCHDOG_CLOCK_HZ / 256000u));
    strop_await(STROP_WATCHDOG_BASE + STATUS, 3, 0);
    strop_watchdog_feed();
}

void strop_watchdog_feed(void)
{
    strop_write(STROP_WATCHDOG_BASE + KEY, FEED);
}
