/* EK-RA8D1: 480 MHz from the 20 MHz crystal through PLL1, SCI9 at P209 and P208 (J-Link). Option-setting memory stays erased: watchdogs
 * off, all secure. Sources: Renesas R01UH0995 RA8D1 User's Manual: Hardware (clocks 9.2, PRCR 13.2, PFS 20.2, module stop 10.2, flash
 * waits 52.4, SRAM waits 51.2), EK-RA8D1 User's Manual. */
#include "cortex_caches.h"
#include "device.h"

enum { SYSTEM = 0x4001e000, SCKDIVCR = 0x20, SCKDIVCR2 = 0x24, SCKSCR = 0x26, PLLCCR = 0x28, PLLCR = 0x2a }; /* 9.2 */
enum { MOSCCR = 0x32, OSCSF = 0x3c, PLLCCR2 = 0x4c, SCICKDIVCR = 0x54, SCICKCR = 0x55, MOSCWTCR = 0xa2 };     /* 9.2 */
enum { PRCR = 0x3fa, MOMCR = 0xa50 };                                                        /* 13.2.1, 9.2 */
enum { FLASH = 0x4001c100, FCACHEE = 0, FCACHEIV = 4, FLWT = 0x1c };                          /* 52.4 */
enum { SRAM = 0x40002000, SRAMPRCR = 0, SRAMWTSC = 8, MSTPCRB = 0x40203004 };                 /* 51.2, 10.2.6 */
enum { PINS = 0x40400000, P208PFS = 0x8a0, P209PFS = 0x8a4, PWPRS = 0xd14 };                  /* 20.2.5, 20.2.6 */
enum { PERIPHERAL_SCI_ODD = 1 << 16 | 5 << 24 };                                              /* PMR, PSEL 00101b: 20.6 */

void strop_board_start(void)
{
    const uint32_t system = strop_block(SYSTEM), flash = strop_block(FLASH);
    strop_write_half(system + PRCR, 0xa503); /* clocks and low power modes unlocked */
    strop_write_byte(system + MOMCR, 0x16);  /* MODRV0 3: a crystal above 8, to 24 MHz; bit 4 is written as 1 */
    strop_write_byte(system + MOSCWTCR, 9);
    strop_write_byte(system + MOSCCR, 0);
    strop_await_byte(system + OSCSF, 1u << 3, 1u << 3);
    /* 20 / 2 * 96 / 2; Q a fourth, R half. */
    strop_write_half(system + PLLCCR, 95u << 8 | 1u);
    strop_write_half(system + PLLCCR2, 1u << 8 | 3u << 4 | 1u);
    strop_write_byte(system + PLLCR, 0);
    strop_await_byte(system + OSCSF, 1u << 5, 1u << 5);
    strop_write_byte(flash + FLWT, 3);
    const uint32_t sram = strop_block(SRAM);
    strop_write_half(sram + SRAMPRCR, 0xa501);
    strop_write_byte(sram + SRAMWTSC, 1);
    strop_write_half(sram + SRAMPRCR, 0xa500);
    /* Processor whole, ICLK and PCLKE half, PCLKA, PCLKD and BCLK a fourth, PCLKB, PCLKC and FCLK an eighth. */
    strop_write(system + SCKDIVCR, 0x31122332);
    strop_write_byte(system + SCKDIVCR2, 0);
    strop_write_byte(system + SCKSCR, 5);
    /* SCI: PLL1P by four, requested, set, and let go. */
    strop_write_byte(system + SCICKCR, 0x41);
    strop_await_byte(system + SCICKCR, 0x80, 0x80);
    strop_write_byte(system + SCICKDIVCR, 2);
    strop_write_byte(system + SCICKCR, 0x45);
    strop_write_byte(system + SCICKCR, 0x05);
    strop_await_byte(system + SCICKCR, 0x80, 0);
    strop_write_half(flash + FCACHEIV, 1);
    strop_write_half(flash + FCACHEE, 1);
    strop_change(MSTPCRB, 1u << 22, 0); /* SCI9 */
    strop_write_half(system + PRCR, 0xa500);
    strop_caches_on();
    const uint32_t pins = strop_block(PINS);
    strop_write_byte(pins + PWPRS, 0);
    strop_write_byte(pins + PWPRS, 0x40);
    strop_write(pins + P208PFS, PERIPHERAL_SCI_ODD);
    strop_write(pins + P209PFS, PERIPHERAL_SCI_ODD);
    strop_write_byte(pins + PWPRS, 0x80);
}
