/* What the parts of a board's firmware share: serial port, models, and the two protocols on one line.
 * Frames begin with 0 and 2 and end with 0; what is not in a frame is text. */
#ifndef STROP_DEVICE_H
#define STROP_DEVICE_H

#include "harness.h"

/* What the text protocol needs of a model, and where its buffers lie. */
struct strop_model {
    const struct strop_program *program;
    const char *name;
    uint32_t arena_bytes;
    uint32_t scale; /* of the first output, in units of 2^-24 */
    int32_t zero_point;
    uint32_t element_bytes; /* of the first output: 1 int8, 2 int16, 4 float32 */
};
extern const struct strop_model strop_models[];
#ifdef STROP_SEVERAL
/* Several models share the arena: one is started anew when its turn comes. strop_turn: number of the one whose turn it is. */
extern uint32_t strop_turn;
extern const uint8_t strop_program_ids[][16];
void strop_use(uint32_t number);
#else
enum { strop_turn = 0 };
#define strop_use(number) ((void)(number))
#endif
/* Whether a first output may be float32, which takes code of its own. */
#ifndef STROP_FLOAT_RESULTS
#define STROP_FLOAT_RESULTS 1
#endif
/* What HELLO's reply begins with, as it lies on the line. */
extern const struct strop_identity {
    uint8_t protocol;
    uint8_t models;
    uint8_t payload_bytes[2];
    uint8_t build_id[16];
    uint32_t clock_hz;
} strop_identity;

/* Per board, in firmware/boards/setup_NAME.c: clocks, and the pins of the serial port. */
void strop_board_start(void);

/* Per serial port, in firmware/boards/serial_NAME.c. */
void strop_serial_start(void);
int strop_serial_get(void); /* -1 while nothing is there */
void strop_serial_put(uint8_t byte);

/* Per watchdog, in firmware/boards/watchdog_NAME.c, where one is built in: it must be fed within STROP_WATCHDOG_MS.
 * STROP_WATCHDOG_STARTS: 0 where the boot loader starts it, on trials alone; feeding one that does not run does nothing. */
#ifndef STROP_WATCHDOG_MS
#define STROP_WATCHDOG_MS 0
#endif
#ifndef STROP_WATCHDOG_STARTS
#define STROP_WATCHDOG_STARTS (STROP_WATCHDOG_MS != 0)
#endif
void strop_watchdog_start(void);
void strop_watchdog_feed(void);

/* Where a whole period begins: before a call into a model, and while nothing comes over the line. */
static inline void strop_feed(void)
{
    if (STROP_WATCHDOG_MS != 0) {
        strop_watchdog_feed();
    }
}

/* The board's timing pin, in firmware/boards/pin_NAME.c, where it is built in: it falls before the runs of `infer` and behind them. */
#ifndef STROP_TIMING_PIN
#define STROP_TIMING_PIN 0
#endif
void strop_pin_start(void);
void strop_pin_put(int high);

/* One buffer for what comes in and what goes out. */
enum { STROP_PROTOCOL = 1, STROP_PAYLOAD_BYTES = 256, STROP_HEAD_BYTES = 4, STROP_CHECK_BYTES = 4, STROP_LINE_BYTES = 80 };
enum { STROP_FRAME_BYTES = STROP_HEAD_BYTES + STROP_PAYLOAD_BYTES + STROP_CHECK_BYTES + 2 };
extern uint8_t strop_buffer[STROP_FRAME_BYTES];

/* What one run of a model came to. broken: offset of a changed guard byte. */
struct strop_timed {
    uint32_t status;
    struct strop_moment before;
    struct strop_moment after;
};
void strop_timed_call(struct strop_timed *record, int (*function)(void *), void *argument);
int32_t strop_broken_guard(void);
uint32_t strop_stack_used(void);
uint32_t strop_microseconds(void);
extern uint32_t strop_init_status;

#ifdef STROP_PROFILE
/* Between two marks: ticks, and the polls made after the moment that is measured. */
struct strop_mark_record {
    uint32_t ticks;
    uint32_t polls;
};
void strop_profile_start(void);
const struct strop_mark_record *strop_profile(uint32_t first, uint32_t *room, uint32_t *made);
#endif

#ifdef STROP_ANOMALY
/* Scale and zero point of the first input of the model that detects anomalies. */
struct strop_input_scale {
    float scale;
    int32_t zero_point;
};
extern const struct strop_input_scale strop_anomaly_scale;
int strop_is_anomaly(void);
uint8_t *strop_anomaly_input(void);
void strop_anomaly_fill(void);
uint32_t strop_anomaly_score(void);
#endif

/* Of boards that take updates, built with STROP_UPDATE_BASE: device/update.c. */
enum { STROP_UPDATE_FIRST = 0x20 };
extern const uint32_t strop_answer_known, strop_answer_check;
void strop_update_start(void);
uint8_t *strop_update_answer(uint8_t type, uint8_t *payload, uint32_t bytes, uint8_t *reason);
void strop_update_sent(void);

void strop_frame(uint8_t *frame, uint32_t bytes);
void strop_text(uint8_t *line, uint32_t bytes);
void strop_banner(void);
void strop_fault_text(const struct strop_fault *fault);

#endif
