/* Stellaris LM3S: 50 MHz from the board's crystal by the PLL; UART0 at PA0 and PA1.
 * Source: LM3S811 data sheet (DS-LM3S811), 6.3 and RCC, table of XTAL; 8.3; 12.3. The LM3S6965 has them alike, but for bit 12. */
#include "device.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

enum { LOCKED = 0x40, BYPASS = 0x800, OUTPUT_OFF = 0x1000, POWER_OFF = 0x2000, USE_DIVIDER = 0x400000 };
enum { PLL_OF_200_MHZ_BY_4 = 3 << 23 };
#if STROP_CRYSTAL_HZ == 6000000
enum { CRYSTAL = 0xb << 6 };
#elif STROP_CRYSTAL_HZ == 8000000
enum { CRYSTAL = 0xe << 6 };
#else
#error "add the code of this crystal"
#endif
static const uintptr_t raw_interrupts = 0x400fe050, clocks = 0x400fe060, uart_gates = 0x400fe104, port_gates = 0x400fe108;
static const uintptr_t alternate = 0x40004420, digital = 0x4000451c;

void strop_board_start(void)
{
    REGISTER(clocks) = BYPASS | OUTPUT_OFF | POWER_OFF | CRYSTAL;
    REGISTER(clocks) = BYPASS | CRYSTAL | PLL_OF_200_MHZ_BY_4 | USE_DIVIDER;
    while (!(REGISTER(raw_interrupts) & LOCKED)) {
    }
    REGISTER(clocks) = CRYSTAL | PLL_OF_200_MHZ_BY_4 | USE_DIVIDER;
    REGISTER(uart_gates) = 1;
    REGISTER(port_gates) = 1;
    /* Three cycles until a gated port answers: this read and more. */
    (void)REGISTER(port_gates);
    (void)REGISTER(port_gates);
    REGISTER(digital) |= 3u;
    REGISTER(alternate) |= 3u;
}
