/* Boards that start with their clocks and pins as the firmware wants them. */
#include "device.h"

void strop_board_start(void)
{
}
