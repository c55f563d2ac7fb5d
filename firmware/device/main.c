/* A board's firmware: initializes the models, then answers whatever comes over the serial port. */
#include "device.h"

enum { PAINT = 0x5ac35ac3, FRAME_START = 2, COMMAND_END = '%' };

uint8_t strop_buffer[STROP_FRAME_BYTES];
uint32_t strop_init_status;

/* Paint the guards around the arena, or look for a changed byte: its offset from the arena's start, 0 where there is none. */
static __attribute__((noinline)) int32_t guards(int paint)
{
    for (uint8_t *at = strop_guard_low; at != strop_guard_end; ++at) {
        if (at == strop_arena) {
            at = strop_guard_high;
        }
        const uint8_t wanted = (uint8_t)((uintptr_t)at * 37u + 0x5bu);
        if (paint) {
            *at = wanted;
        } else if (*at != wanted) {
            return (int32_t)(at - strop_arena);
        }
    }
    return 0;
}

int32_t strop_broken_guard(void)
{
    return guards(0);
}

uint32_t strop_stack_used(void)
{
    const uint32_t *word = strop_stack_low;
    while (word != strop_stack_high && *word == PAINT) {
        ++word;
    }
    return (uint32_t)((const uint8_t *)strop_stack_high - (const uint8_t *)word);
}

void strop_timed_call(struct strop_timed *record, int (*function)(void *), void *argument)
{
    strop_feed();
    strop_clock_read(&record->before, 0);
    record->status = (uint32_t)strop_call(function, argument, strop_stack_high);
    strop_clock_read(&record->after, 1);
    strop_feed();
}

/* Must be called more often than the ticks wrap. */
uint32_t strop_microseconds(void)
{
    static uint32_t seen, rest, total;
    const uint32_t rate = strop_identity.clock_hz / 1000000u, now = strop_ticks();
    const uint32_t passed = now - seen + rest;
    seen = now;
    total += passed / rate;
    rest = passed % rate;
    return total;
}

#ifdef STROP_SEVERAL
uint32_t strop_turn;

void strop_use(uint32_t number)
{
    if (number != strop_turn) {
        strop_turn = number;
        strop_init_status = (uint32_t)strop_call(strop_models[number].program->init, strop_arena, strop_stack_high);
    }
}
#endif

void strop_report_fault(const struct strop_fault *fault)
{
    strop_fault_text(fault);
    strop_restart();
}

void strop_main(void)
{
    strop_board_start();
    strop_serial_start();
    strop_clock_start();
    if (STROP_TIMING_PIN) {
        strop_pin_start();
    }
    if (STROP_WATCHDOG_STARTS) {
        strop_watchdog_start();
    }
    for (uint32_t *word = strop_stack_low; word != strop_stack_high; ++word) {
        *word = PAINT;
    }
    (void)guards(1);
    strop_init_status = (uint32_t)strop_call(strop_models[0].program->init, strop_arena, strop_stack_high);
#ifdef STROP_UPDATE_BASE
    strop_update_start();
#endif
    strop_banner();
    uint32_t count = 0;
    int in_frame = 0, began = 0;
    for (;;) {
        strop_feed();
        const int byte = strop_serial_get();
        if (byte < 0) {
            (void)strop_microseconds(); /* so that no wrap of the clock is missed */
            continue;
        }
        if (byte == 0) {
            if (in_frame && count <= sizeof strop_buffer) {
                strop_frame(strop_buffer, count);
            }
            began = 1;
            in_frame = 0;
            count = 0;
            continue;
        }
        if (began) {
            began = 0;
            in_frame = byte == FRAME_START;
            if (in_frame) {
                continue;
            }
        }
        if (!in_frame && byte == COMMAND_END) {
            strop_text(strop_buffer, count);
            count = 0;
            continue;
        }
        /* What does not fit is counted, so that it is refused as a whole. */
        if (count < sizeof strop_buffer) {
            strop_buffer[count] = (uint8_t)byte;
        }
        count += count <= sizeof strop_buffer;
    }
}
