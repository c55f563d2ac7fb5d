/* The watchdog of RP2040, in microseconds of its tick, which the crystal gives. It counts down by two a tick (erratum RP2040-E1), so that
 * it waits for 8.388 s at most. It restarts all but the oscillators, and the boot ROM starts the flash anew. Source: RP2040 Datasheet
 * (watchdog 4.7.6, power-on state machine 2.13.5, errata in appendix B). */
#include "device.h"
#include "registers.h"

enum { CONTROL = 0x0, LOAD = 0x4, SCRATCH_4 = 0x1c, TICK = 0x2c, ENABLE = 1 << 30, PAUSED_BY_DEBUGGERS = 7 << 24, TICK_ENABLE = 1 << 9 };
enum { WDSEL = 0x40010008, ALL_BUT_OSCILLATORS = 0x1fffc };

void strop_watchdog_start(void)
{
    strop_change(STROP_WATCHDOG_BASE + CONTROL, ENABLE, 0);
    strop_write(WDSEL, ALL_BUT_OSCILLATORS);
    strop_write(STROP_WATCHDOG_BASE + TICK, TICK_ENABLE | STROP_WATCHDOG_CLOCK_HZ / 1000000u);
    strop_write(STROP_WATCHDOG_BASE + SCRATCH_4, 0); /* no entry point for the boot ROM */
    strop_watchdog_feed();
    strop_write(STROP_WATCHDOG_BASE + CONTROL, ENABLE | PAUSED_BY_DEBUGGERS);
}

void strop_watchdog_feed(void)
{
    strop_write(STROP_WATCHDOG_BASE + LOAD, STROP_WATCHDOG_MS * 2000u);
}
