/* EK-RA8D1: 480 MHz from the 20 MHz crystal through PLL1, SCI9 at P209 and P208 (J-Link). Option-setting memory stays erased: watchdogs
 * off, all secure. Sources: Renesas R01UH0995 RA8D1 User's Manual: Hardware (clocks 9.2, PRCR 13.2, PFS 20.2, module stop 10.2, flash
 * waits 52.4, SRAM waits 51.2), EK-RA8D1 User's Manual. */
#include "cortex_caches.h"
#include "device.h"

enum { SCKDIVCR = 0x4001e020, SCKDIVCR2 = 0x4001e024, SCKSCR = 0x4001e026, PLLCCR = 0x4001e028, PLLCR = 0x4001e02a }; /* 9.2 */
enum { MOSCCR = 0x4001e032, OSCSF = 0x4001e03c, PLLCCR2 = 0x4001e04c, SCICKDIVCR = 0x4001e054, SCICKCR = 0x4001e055 }; /* 9.2 */
enum { MOSCWTCR = 0x4001e0a2, MOMCR = 0x4001ea50, PRCR = 0x4001e3fa };                        /* 9.2, 13.2.1 */
enum { FCACHEE = 0x4001c100, FCACHEIV = 0x4001c104, FLWT = 0x4001c11c };                      /* 52.4 */
enum { SRAMPRCR = 0x40002000, SRAMWTSC = 0x40002008, MSTPCRB = 0x40203004 };                  /* 51.2, 10.2.6 */
enum { PWPRS = 0x40400d14, P208PFS = 0x404008a0, P209PFS = 0x404008a4 };                      /* 20.2.6, 20.2.5 */
enum { PERIPHERAL_SCI_ODD = 1 << 16 | 5 << 24 };                                              /* PMR, PSEL 00101b: 20.6 */

static void clock_start(void)
{
    strop_write_half(PRCR, 0xa503); /* clocks and low power modes unlocked */
    strop_write_byte(MOMCR, 0x16);  /* MODRV0 3: a crystal above 8, to 24 MHz; bit 4 is written as 1 */
    strop_write_byte(MOSCWTCR, 9);
    strop_write_byte(MOSCCR, 0);
    strop_await_byte(OSCSF, 1u << 3, 1u << 3);
    /* 20 / 2 * 96 / 2; Q a fourth, R half. */
    strop_write_half(PLLCCR, 95u << 8 | 1u);
    strop_write_half(PLLCCR2, 1u << 8 | 3u << 4 | 1u);
    strop_write_byte(PLLCR, 0);
    strop_await_byte(OSCSF, 1u << 5, 1u << 5);
    strop_write_byte(FLWT, 3);
    strop_write_half(SRAMPRCR, 0xa501);
    strop_write_byte(SRAMWTSC, 1);
    strop_write_half(SRAMPRCR, 0xa500);
    /* Processor whole, ICLK and PCLKE half, PCLKA, PCLKD and BCLK a fourth, PCLKB, PCLKC and FCLK an eighth. */
    strop_write(SCKDIVCR, 0x31122332);
    strop_write_byte(SCKDIVCR2, 0);
    strop_write_byte(SCKSCR, 5);
    /* SCI: PLL1P by four, requested, set, and let go. */
    strop_write_byte(SCICKCR, 0x41);
    strop_await_byte(SCICKCR, 0x80, 0x80);
    strop_write_byte(SCICKDIVCR, 2);
    strop_write_byte(SCICKCR, 0x45);
    strop_write_byte(SCICKCR, 0x05);
    strop_await_byte(SCICKCR, 0x80, 0);
    strop_write_half(FCACHEIV, 1);
    strop_write_half(FCACHEE, 1);
}

void strop_board_start(void)
{
    clock_start();
    strop_change(MSTPCRB, 1u << 22, 0); /* SCI9 */
    strop_write_half(PRCR, 0xa500);
    strop_caches_on();
    strop_write_byte(PWPRS, 0);
    strop_write_byte(PWPRS, 0x40);
    strop_write(P208PFS, PERIPHERAL_SCI_ODD);
    strop_write(P209PFS, PERIPHERAL_SCI_ODD);
    strop_write_byte(PWPRS, 0x80);
}
