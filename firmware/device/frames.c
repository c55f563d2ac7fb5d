/* The binary protocol: requests and replies in frames of COBS with a CRC-32, which a host repeats until it is answered.
 * Decoded: version, type, sequence (2), payload, check (4), little endian. A reply has its request's sequence and its type + 0x80, or
 * ERROR and one byte of reason. All requests may be repeated; a repeated RUN is answered from memory.
 * HELLO:  -                                  protocol, models, payload (2), build id (16), clock Hz (4), poll instructions (4),
 *                                            init status (4), board's name
 * MODEL:  model                              inputs, outputs, arena (4), bytes (4) of every input and output, name
 * WRITE:  model, input, offset (4), data     -
 * RUN:    model, how, check of inputs (4)    status (4), guard (4), moments before and after (24), stack (4)
 * READ:   model, output, offset (4), n (2)   data; BAD_TURN where another model was written or run since
 * TIMER:  -                                  an empty call and a loop of SPIN_LOOPS, each as of RUN's status and moments
 * MARKS:  first (2), where built for it        marks of the last run (4), ticks and polls (4 each) of those from the first on
 * Where there are several models, MODEL's answer has the program's id (16) before the name. A model's turn begins with WRITE or RUN.
 * From STROP_UPDATE_FIRST on: device/update.c.
 * how: 0 checks the inputs; 1 does not, and times whatever they hold. */
#include "device.h"

enum { HELLO = 1, MODEL, WRITE, RUN, READ, TIMER, MARKS, REPLY = 0x80, ERROR = 0xff };
enum { BAD_TYPE = 1, BAD_LENGTH, BAD_MODEL, BAD_TENSOR, BAD_RANGE, BAD_INPUTS, BAD_TURN };
enum { SPIN_LOOPS = 400000, SEQUENCE_KNOWN = 0x10000 };

/* CRC-32 of IEEE 802.3, bit by bit: without a table, which would be more code than time is worth beside the line's. */
uint32_t strop_check(uint32_t crc, const uint8_t *from, uint32_t bytes)
{
    crc = ~crc;
    for (uint32_t i = 0; i < bytes; ++i) {
        crc ^= from[i];
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

static uint32_t word_at(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static __attribute__((noinline)) uint8_t *put_bytes(uint8_t *to, const void *from, uint32_t bytes)
{
    const uint8_t *source = from;
    for (uint32_t i = 0; i < bytes; ++i) {
        *to++ = source[i];
    }
    return to;
}

/* Processors are little endian, as frames are. */
static __attribute__((noinline)) uint8_t *put_word(uint8_t *to, uint32_t word)
{
    return put_bytes(to, &word, sizeof word);
}

static __attribute__((noinline)) uint8_t *put_name(uint8_t *to, const char *name)
{
    while (*name && to != strop_buffer + STROP_HEAD_BYTES + STROP_PAYLOAD_BYTES) {
        *to++ = (uint8_t)*name++;
    }
    return to;
}

/* COBS in place: the number of bytes, 0 where it is none. */
static uint32_t unstuff(uint8_t *data, uint32_t bytes)
{
    uint32_t from = 0, to = 0;
    while (from < bytes) {
        const uint32_t run = data[from++];
        if (run == 0 || from + run - 1 > bytes) {
            return 0;
        }
        for (uint32_t i = 1; i < run; ++i) {
            data[to++] = data[from++];
        }
        if (run != 255 && from != bytes) {
            data[to++] = 0;
        }
    }
    return to;
}

static void send(uint8_t *frame, uint32_t bytes)
{
    uint8_t *const end = put_word(frame + bytes, strop_check(0, frame, bytes));
    *end = 0;
    strop_serial_put(0);
    strop_serial_put(2);
    /* Runs without a zero, each behind its length and one; a zero follows, but where a run is the longest. */
    for (const uint8_t *at = frame; at <= end;) {
        uint8_t run = 1;
        while (run != 255 && at[run - 1] != 0) {
            ++run;
        }
        strop_serial_put(run);
        for (uint8_t left = run; --left != 0;) {
            strop_serial_put(*at++);
        }
        at += run != 255 || at == end;
    }
    strop_serial_put(0);
}

static uint8_t *hello(uint8_t *to)
{
    to = put_bytes(to, &strop_identity, sizeof strop_identity);
    to = put_word(to, strop_spin_instructions);
    to = put_word(to, strop_init_status);
    return put_name(to, strop_board);
}

static uint8_t *describe(uint8_t *to, const struct strop_model *model)
{
    const struct strop_program *const program = model->program;
    *to++ = (uint8_t)program->inputs;
    *to++ = (uint8_t)program->outputs;
    to = put_word(to, model->arena_bytes);
    to = put_bytes(to, program->input_bytes, 4 * program->inputs);
    to = put_bytes(to, program->output_bytes, 4 * program->outputs);
#ifdef STROP_SEVERAL
    to = put_bytes(to, strop_program_ids[model - strop_models], 16);
#endif
    return put_name(to, model->name);
}

static uint8_t *put_timed(uint8_t *to, const struct strop_timed *record)
{
    return put_bytes(to, record, sizeof *record);
}

#ifdef STROP_PROFILE
static uint8_t *put_marks(uint8_t *to, uint32_t first)
{
    uint32_t made, room = (STROP_PAYLOAD_BYTES - 4) / sizeof(struct strop_mark_record);
    const struct strop_mark_record *const from = strop_profile(first, &room, &made);
    return put_bytes(put_word(to, made), from, room * (uint32_t)sizeof *from);
}
#endif

static uint32_t inputs_check(const struct strop_program *program)
{
    uint32_t crc = 0;
    for (uint32_t i = 0; i < program->inputs; ++i) {
        crc = strop_check(crc, program->input[i](strop_arena), program->input_bytes[i]);
    }
    return crc;
}

/* The reply to the request in frame: its payload's end, or null with a reason. */
static uint8_t *answer(uint8_t *frame, uint32_t bytes, uint8_t *reason)
{
    static struct {
        struct strop_timed timed;
        int32_t guard;
        uint32_t stack_bytes;
        uint32_t sequence; /* not sent: with SEQUENCE_KNOWN; 0 where the last run was left */
    } last;
    const uint8_t type = frame[1];
    uint8_t *const payload = frame + STROP_HEAD_BYTES;
    struct strop_timed record;
    if (type == HELLO) {
        return hello(payload);
    }
    if (type == TIMER) {
        strop_timed_call(&record, strop_nothing, 0);
        uint8_t *const to = put_timed(payload, &record);
        strop_timed_call(&record, strop_spin, (void *)(uintptr_t)SPIN_LOOPS);
        return put_timed(to, &record);
    }
#ifdef STROP_PROFILE
    if (type == MARKS) {
        return put_marks(payload, (uint32_t)payload[0] | (uint32_t)payload[1] << 8);
    }
#endif
#ifdef STROP_UPDATE_BASE
    if (type >= STROP_UPDATE_FIRST) {
        return strop_update_answer(type, payload, bytes, reason);
    }
#endif
    if (type < MODEL || type > READ) {
        *reason = BAD_TYPE;
        return 0;
    }
    static const uint8_t needed[] = {1, 6, 6, 8};
    if (bytes < needed[type - MODEL] || (type != WRITE && bytes != needed[type - MODEL])) {
        *reason = BAD_LENGTH;
        return 0;
    }
    if (payload[0] >= strop_identity.models) {
        *reason = BAD_MODEL;
        return 0;
    }
    const struct strop_model *const model = &strop_models[payload[0]];
    const struct strop_program *const program = model->program;
    if (type == MODEL) {
        return describe(payload, model);
    }
    if (type == RUN) {
        const uint32_t sequence = frame[2] | (uint32_t)frame[3] << 8 | SEQUENCE_KNOWN;
        if (last.sequence != sequence) {
            strop_use(payload[0]);
            if (payload[1] == 0 && inputs_check(program) != word_at(payload + 2)) {
                *reason = BAD_INPUTS;
                return 0;
            }
            last.sequence = 0;
#ifdef STROP_PROFILE
            strop_profile_start();
#endif
            strop_timed_call(&last.timed, program->run, strop_arena);
            last.guard = strop_broken_guard();
            last.stack_bytes = strop_stack_used();
            last.sequence = sequence;
        }
        return put_bytes(payload, &last, sizeof last - sizeof last.sequence);
    }
    const uint32_t index = payload[1], offset = word_at(payload + 2);
    const uint32_t *const sizes = type == WRITE ? program->input_bytes : program->output_bytes;
    if (index >= (type == WRITE ? program->inputs : program->outputs)) {
        *reason = BAD_TENSOR;
        return 0;
    }
    const uint32_t count = type == WRITE ? bytes - 6 : (uint32_t)payload[6] | (uint32_t)payload[7] << 8;
    if (offset > sizes[index] || count > sizes[index] - offset || count > STROP_PAYLOAD_BYTES) {
        *reason = BAD_RANGE;
        return 0;
    }
    if (type == WRITE) {
        strop_use(payload[0]);
        (void)put_bytes((uint8_t *)program->input[index](strop_arena) + offset, payload + 6, count);
        return payload;
    }
#ifdef STROP_SEVERAL
    if (payload[0] != strop_turn) {
        *reason = BAD_TURN;
        return 0;
    }
#endif
    return put_bytes(payload, (const uint8_t *)program->output[index](strop_arena) + offset, count);
}

/* Answers a frame of so many stuffed bytes in the buffer, which is given so that it is addressed once; what is damaged is left without an answer. */
void strop_frame(uint8_t *frame, uint32_t bytes)
{
    bytes = unstuff(frame, bytes);
    if (bytes < STROP_HEAD_BYTES + STROP_CHECK_BYTES || bytes > STROP_HEAD_BYTES + STROP_PAYLOAD_BYTES + STROP_CHECK_BYTES) {
        return;
    }
    bytes -= STROP_CHECK_BYTES;
    if (strop_check(0, frame, bytes) != word_at(frame + bytes) || frame[0] != STROP_PROTOCOL) {
        return;
    }
    uint8_t reason = 0;
    uint8_t *end = answer(frame, bytes - STROP_HEAD_BYTES, &reason);
    frame[1] |= REPLY;
    if (!end) {
        frame[1] = ERROR;
        end = frame + STROP_HEAD_BYTES;
        *end++ = reason;
    }
    send(frame, (uint32_t)(end - frame));
#ifdef STROP_UPDATE_BASE
    strop_update_sent();
#endif
}
