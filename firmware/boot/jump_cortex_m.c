/* Starts the image whose vectors lie at an address. Source: Arm ARMv7-M reference manual B1.5.3 and B3.2.5. */
#include <stdint.h>

_Noreturn void strop_jump(uint32_t vectors);

__attribute__((naked)) _Noreturn void strop_jump(uint32_t vectors)
{
    __asm__ volatile(".syntax unified\n\t"
                     "ldr r1, =0xe000ed08\n\t" /* VTOR */
                     "str r0, [r1]\n\t"
                     "dsb\n\t"
                     "isb\n\t"
                     "ldr r1, [r0]\n\t"
                     "msr msp, r1\n\t"
                     "ldr r0, [r0, #4]\n\t"
                     "bx r0\n\t"
                     ".ltorg");
}
