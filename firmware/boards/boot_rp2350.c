/* The image definition that the RP2350's boot ROM looks for in the first 4 KiB: an executable for Arm, secure, whose vector table lies at
 * its start. One block, which links to itself. Source: RP2350 Datasheet, 5.9.1, 5.9.3.1 and 5.9.5. */
#include <stdint.h>

enum { IMAGE_TYPE = 0x42, ITEM_WORDS = 1 << 8, LAST_ITEM = 0xff };
enum { EXECUTABLE_ARM_SECURE_RP2350 = 0x1021 };

__attribute__((section(".boot"), used)) const uint32_t strop_boot[5] = {
    0xffffded3, IMAGE_TYPE | ITEM_WORDS | (uint32_t)EXECUTABLE_ARM_SECURE_RP2350 << 16, LAST_ITEM | ITEM_WORDS, 0, 0xab123579};
