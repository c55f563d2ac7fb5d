/* What the ESP32-C3's ROM (revision 3 on) starts without a boot loader: two magic words, then code; both views of the flash are mapped
 * whole. Source: Espressif, ESP32-C3 direct boot example, README. */
#include <stdint.h>

__attribute__((section(".boot"), used)) const uint32_t strop_boot[2] = {0xaedb041d, 0xaedb041d};
