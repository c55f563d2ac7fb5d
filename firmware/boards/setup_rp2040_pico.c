/* Raspberry Pi Pico: 125 MHz from the 12 MHz crystal through the system PLL, UART0 at GP0 and GP1. Source: RP2040 Datasheet (RESETS
 * 2.14.3, CLOCKS 2.15.7, XOSC 2.16.7, PLL 2.18.4, GPIO 2.19.6, WATCHDOG 4.7.6), Pico Datasheet. */
#include "device.h"
#include "registers.h"

enum { RESETS_RESET = 0x4000c000, RESETS_DONE = 0x4000c008 };                                      /* 2.14.3 */
enum { CLK_REF_CTRL = 0x40008030, CLK_REF_SELECTED = 0x40008038, CLK_SYS_CTRL = 0x4000803c };       /* 2.15.7 */
enum { CLK_SYS_SELECTED = 0x40008044, CLK_PERI_CTRL = 0x40008048 };                                /* 2.15.7 */
enum { XOSC_CTRL = 0x40024000, XOSC_STATUS = 0x40024004, XOSC_STARTUP = 0x4002400c };              /* 2.16.7 */
enum { PLL_CS = 0x40028000, PLL_PWR = 0x40028004, PLL_FBDIV = 0x40028008, PLL_PRIM = 0x4002800c };  /* 2.18.4 */
enum { GPIO0_CTRL = 0x40014004, GPIO1_CTRL = 0x4001400c };                                         /* 2.19.6.1 */
enum { IO_BANK0 = 1 << 5, PADS_BANK0 = 1 << 8, PLL_SYS = 1 << 12, UART0 = 1 << 22 };               /* 2.14.3 */

static void release(uint32_t blocks)
{
    strop_change(RESETS_RESET, blocks, 0);
    strop_await(RESETS_DONE, blocks, blocks);
}

static void clock_start(void)
{
    /* After a restart the PLL may be what runs: the ring oscillator takes over first. */
    strop_change(CLK_SYS_CTRL, 1, 0);
    strop_await(CLK_SYS_SELECTED, 1, 1);
    strop_write(XOSC_STARTUP, 47); /* 1 ms in 256 cycles each */
    strop_write(XOSC_CTRL, 0xfabaa0);
    strop_await(XOSC_STATUS, 0x80000000u, 0x80000000u);
    strop_change(CLK_REF_CTRL, 3, 2);
    strop_await(CLK_REF_SELECTED, 4, 4);
    /* 12 * 125 / 6 / 2. */
    strop_set(RESETS_RESET, PLL_SYS);
    release(PLL_SYS);
    strop_write(PLL_CS, 1);
    strop_write(PLL_FBDIV, 125);
    strop_change(PLL_PWR, 0x21, 0); /* VCO and all of it on */
    strop_await(PLL_CS, 0x80000000u, 0x80000000u);
    strop_write(PLL_PRIM, 6u << 16 | 2u << 12);
    strop_change(PLL_PWR, 8, 0); /* post dividers on */
    strop_change(CLK_SYS_CTRL, 0xe0, 0);
    strop_change(CLK_SYS_CTRL, 1, 1);
    strop_await(CLK_SYS_SELECTED, 2, 2);
    strop_write(CLK_PERI_CTRL, 1u << 11); /* from the system clock */
}

void strop_board_start(void)
{
    clock_start();
    release(IO_BANK0 | PADS_BANK0 | UART0);
    strop_write(GPIO0_CTRL, 2);
    strop_write(GPIO1_CTRL, 2);
}
