/* Stellaris LM3S: 50 MHz from the board's crystal by the PLL; UART0 at PA0 and PA1.
 * Source: LM3S811 data sheet (DS-LM3S811), 6.3 and RCC, table of XTAL; 8.3; 12.3. The LM3S6965 has them alike, but for bit 12. */
#include "device.h"
#include "registers.h"

enum { LOCKED = 0x40, BYPASS = 0x800, OUTPUT_OFF = 0x1000, POWER_OFF = 0x2000, USE_DIVIDER = 0x400000 };
enum { PLL_OF_200_MHZ_BY_4 = 3 << 23 };
#if STROP_CRYSTAL_HZ == 6000000
enum { CRYSTAL = 0xb << 6 };
#elif STROP_CRYSTAL_HZ == 8000000
enum { CRYSTAL = 0xe << 6 };
#else
#error "add the code of this crystal"
#endif
enum { RIS = 0x400fe050, RCC = 0x400fe060, RCGC1 = 0x400fe104, RCGC2 = 0x400fe108 }; /* 6.3, system control */
enum { GPIOA_AFSEL = 0x40004420, GPIOA_DEN = 0x4000451c };                             /* 8.3, GPIO */

void strop_board_start(void)
{
    strop_write(RCC, BYPASS | OUTPUT_OFF | POWER_OFF | CRYSTAL);
    strop_write(RCC, BYPASS | CRYSTAL | PLL_OF_200_MHZ_BY_4 | USE_DIVIDER);
    strop_await(RIS, LOCKED, LOCKED);
    strop_write(RCC, CRYSTAL | PLL_OF_200_MHZ_BY_4 | USE_DIVIDER);
    strop_write(RCGC1, 1);
    strop_write(RCGC2, 1);
    /* Three cycles until a gated port answers: this read and more. */
    (void)*strop_word(RCGC2);
    (void)*strop_word(RCGC2);
    strop_set(GPIOA_DEN, 3);
    strop_set(GPIOA_AFSEL, 3);
}
