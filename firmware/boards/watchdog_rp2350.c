/* The watchdog of RP2350, in microseconds of a tick that the crystal gives. It restarts all but the oscillators, and the boot ROM starts
 * the flash anew. Source: RP2350 Datasheet (watchdog 12.9.7, tick generators 8.5.2, power-on state machine 7.4.4). */
#include "device.h"
#include "registers.h"

enum { CONTROL = 0x0, LOAD = 0x4, SCRATCH_4 = 0x1c, ENABLE = 1 << 30, PAUSED_BY_DEBUGGERS = 7 << 24 };
enum { WDSEL = 0x40018008, ALL_BUT_OSCILLATORS = 0x1fffff3, TICK_CONTROL = 0x40108030, TICK_CYCLES = 0x40108034 };

void strop_watchdog_start(void)
{
    strop_change(STROP_WATCHDOG_BASE + CONTROL, ENABLE, 0);
    strop_write(WDSEL, ALL_BUT_OSCILLATORS);
    strop_write(TICK_CYCLES, STROP_WATCHDOG_CLOCK_HZ / 1000000u);
    strop_write(TICK_CONTROL, 1);
    strop_write(STROP_WATCHDOG_BASE + SCRATCH_4, 0); /* no entry point for the boot ROM */
    strop_watchdog_feed();
    strop_write(STROP_WATCHDOG_BASE + CONTROL, ENABLE | PAUSED_BY_DEBUGGERS);
}

void strop_watchdog_feed(void)
{
    strop_write(STROP_WATCHDOG_BASE + LOAD, STROP_WATCHDOG_MS * 1000u);
}
