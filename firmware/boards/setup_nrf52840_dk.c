/* nRF52840 DK: the 64 MHz come from the 32 MHz crystal, instruction cache on, UART0 at P0.06 and P0.08 (interface MCU). The regulators
 * start as they are wired. Sources: nRF52840 Product Specification 1.7 (CLOCK 5.4.3, NVMC 4.3.5, GPIO 6.9.2, UART 6.33.10), DK user guide. */
#include "device.h"
#include "registers.h"

enum { HFCLKSTART = 0x40000000, HFCLKSTARTED = 0x40000100 };                          /* 5.4.3.1, 5.4.3.9 */
enum { ICACHECNF = 0x4001e540, PSEL_TXD = 0x4000250c, PSEL_RXD = 0x40002514 };        /* 4.3.5.9, 6.33.10 */
enum { P0_OUTSET = 0x50000508, P0_PIN_CNF_6 = 0x50000718, P0_PIN_CNF_8 = 0x50000720 }; /* 6.9.2 */

void strop_board_start(void)
{
    strop_write(HFCLKSTART, 1);
    strop_await(HFCLKSTARTED, 1, 1);
    strop_write(ICACHECNF, 1);
    strop_write(P0_OUTSET, 1u << 6);
    strop_write(P0_PIN_CNF_6, 3); /* output, input buffer off */
    strop_write(P0_PIN_CNF_8, 0xc); /* input, pulled up */
    strop_write(PSEL_TXD, 6);
    strop_write(PSEL_RXD, 8);
}
