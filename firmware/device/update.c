/* Takes an update over the serial line, and confirms its own image after a self-test.
 * STATE:   -                       own slot, stable, trial, tries, then words: floor, own version, update, next offset, address and
 *                                  bytes of the other slot, bytes of a page and of a unit
 * BEGIN:   header (256)            next offset: where an earlier, interrupted update goes on, else 0
 * BLOCK:   offset (4), data        next offset; whole units within one page. What is written already may come again.
 * FINISH:  bytes, CRC-32 (4 each)  -; the image is started on trial at the next start
 * RESTART: -                       -
 * A page counts as written when the next one is begun; the one that power went in is erased and comes again. */
#include "boot.h"
#include "device.h"

enum { STATE = STROP_UPDATE_FIRST, BEGIN, BLOCK, FINISH, RESTART };
enum { BAD_TYPE = 1, BAD_LENGTH = 2, NOT_BEGUN = 16, ON_TRIAL, OTHER_BOARD, OLD_VERSION, BAD_OFFSET, FLASH_FAILED, NOT_WHOLE };
enum { SETTLE_LOOPS = 200000 };

static struct strop_state state;
static uint32_t next_offset;
static int begun, restart_wanted;

static const struct strop_header *own_header(void)
{
    return (const struct strop_header *)(uintptr_t)strop_slot(STROP_UPDATE_SLOT);
}

static uint32_t other_slot(void)
{
    return strop_slot(1 - STROP_UPDATE_SLOT);
}

static int same(uint32_t address, const uint8_t *data, uint32_t bytes)
{
    const volatile uint8_t *const there = (const volatile uint8_t *)(uintptr_t)address;
    uint32_t differs = 0;
    for (uint32_t i = 0; i < bytes; ++i) {
        differs |= (uint32_t)(there[i] ^ data[i]);
    }
    return differs == 0;
}

/* The image is the one that was built, and the network computes what the reference did for the same generated inputs. */
static int self_test(void)
{
    const struct strop_program *const program = strop_models[0].program;
    uint32_t noise = 1, check = 0;
    if (strop_init_status != 0 || !same((uint32_t)(uintptr_t)own_header()->build_id, strop_identity.build_id, sizeof strop_identity.build_id)) {
        return 0;
    }
    for (uint32_t i = 0; i < program->inputs; ++i) {
        uint8_t *const input = program->input[i](strop_arena);
        for (uint32_t at = 0; at < program->input_bytes[i]; ++at) {
            noise = noise * 1664525u + 1013904223u;
            input[at] = strop_answer_known ? (uint8_t)(noise >> 24) : 0;
        }
    }
    strop_feed();
    if (strop_call(program->run, strop_arena, strop_stack_high) != 0 || strop_broken_guard() != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < program->outputs; ++i) {
        check = strop_check(check, program->output[i](strop_arena), program->output_bytes[i]);
    }
    return !strop_answer_known || check == strop_answer_check;
}

void strop_update_start(void)
{
    (void)strop_state_read(&state);
    if (state.trial != STROP_UPDATE_SLOT || state.stable == STROP_UPDATE_SLOT) {
        return;
    }
    strop_feed();
    const int passed = self_test();
    strop_feed();
    if (passed) {
        state.stable = STROP_UPDATE_SLOT;
        state.trial = STROP_NO_SLOT;
        state.floor = own_header()->version;
    } else {
        state.tries = 0;
    }
    if (!strop_state_write(&state) || !passed) {
        strop_restart();
    }
}

static uint32_t word_at(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static uint8_t *put_word(uint8_t *to, uint32_t word)
{
    for (int i = 0; i < 4; ++i, word >>= 8) {
        *to++ = (uint8_t)word;
    }
    return to;
}

static uint8_t *tell(uint8_t *to)
{
    const uint32_t words[] = {state.floor,  own_header()->version,   state.update,            next_offset,
                              other_slot(), STROP_UPDATE_SLOT_BYTES, STROP_UPDATE_PAGE_BYTES, STROP_UPDATE_UNIT_BYTES};
    *to++ = STROP_UPDATE_SLOT;
    *to++ = state.stable;
    *to++ = state.trial;
    *to++ = state.tries;
    for (uint32_t i = 0; i < sizeof words / sizeof words[0]; ++i) {
        to = put_word(to, words[i]);
    }
    return to;
}

/* The image that runs becomes the one to fall back to, the other slot is given up, and both are on record before it is touched. */
static uint8_t begin(const uint8_t *payload)
{
    struct strop_header header;
    uint8_t *const to = (uint8_t *)&header;
    for (uint32_t i = 0; i < sizeof header; ++i) {
        to[i] = payload[i];
    }
    const uint32_t update = strop_check(0, payload, sizeof header);
    if (state.trial == STROP_UPDATE_SLOT) {
        return ON_TRIAL;
    }
    if (!strop_header_fits(&header, other_slot())) {
        return OTHER_BOARD;
    }
    if (header.version < state.floor || own_header()->version < state.floor) {
        return OLD_VERSION;
    }
    if (state.update != update) {
        state.progress = 0;
    }
    state.update = update;
    state.stable = STROP_UPDATE_SLOT;
    state.trial = STROP_NO_SLOT;
    if (!strop_state_write(&state)) {
        return FLASH_FAILED;
    }
    next_offset = state.progress;
    begun = 1;
    return 0;
}

static uint8_t block(uint32_t offset, const uint8_t *data, uint32_t bytes)
{
    const uint32_t within = offset % STROP_UPDATE_PAGE_BYTES, at = other_slot() + offset;
    if (!begun) {
        return NOT_BEGUN;
    }
    if (bytes == 0 || offset % STROP_UPDATE_UNIT_BYTES != 0 || bytes % STROP_UPDATE_UNIT_BYTES != 0 || offset > next_offset ||
        bytes > STROP_UPDATE_PAGE_BYTES - within || offset >= STROP_UPDATE_SLOT_BYTES) {
        return BAD_OFFSET;
    }
    if (offset < next_offset) {
        return bytes <= next_offset - offset && same(at, data, bytes) ? 0 : BAD_OFFSET;
    }
    if (within == 0) {
        if (state.progress != offset) {
            state.progress = offset;
            if (!strop_state_write(&state)) {
                return FLASH_FAILED;
            }
        }
        if (strop_flash_erase(at) != 0) {
            return FLASH_FAILED;
        }
    }
    for (uint32_t i = 0; i < bytes; i += STROP_UPDATE_UNIT_BYTES) {
        if (strop_flash_program(at + i, data + i) != 0) {
            begun = 0; /* the page has to come again */
            return FLASH_FAILED;
        }
    }
    if (!same(at, data, bytes)) {
        begun = 0;
        return FLASH_FAILED;
    }
    next_offset = offset + bytes;
    return 0;
}

static uint8_t finish(uint32_t bytes, uint32_t check)
{
    if (state.trial == 1 - STROP_UPDATE_SLOT && state.progress == bytes) {
        return 0;
    }
    if (!begun) {
        return NOT_BEGUN;
    }
    const uint8_t *const image = (const uint8_t *)(uintptr_t)other_slot();
    if (bytes != next_offset || strop_check(0, image, bytes) != check) {
        begun = 0;
        state.update = 0;
        state.progress = 0;
        (void)strop_state_write(&state);
        return NOT_WHOLE;
    }
    state.trial = 1 - STROP_UPDATE_SLOT;
    state.tries = STROP_TRIES;
    state.progress = bytes;
    return strop_state_write(&state) ? 0 : FLASH_FAILED;
}

uint8_t *strop_update_answer(uint8_t type, uint8_t *payload, uint32_t bytes, uint8_t *reason)
{
    static const uint8_t least[] = {0, 0, 4, 8, 0};
    if (type > RESTART) {
        *reason = BAD_TYPE;
        return 0;
    }
    const uint32_t wanted = type == BEGIN ? STROP_HEADER_BYTES : least[type - STATE];
    if (bytes < wanted || (type != BLOCK && bytes != wanted)) {
        *reason = BAD_LENGTH;
        return 0;
    }
    if (type == STATE) {
        return tell(payload);
    }
    if (type == RESTART) {
        restart_wanted = 1;
        return payload;
    }
    if (type == BEGIN) {
        *reason = begin(payload);
    } else if (type == BLOCK) {
        *reason = block(word_at(payload), payload + 4, bytes - 4);
    } else {
        *reason = finish(word_at(payload), word_at(payload + 4));
    }
    return *reason ? 0 : put_word(payload, next_offset);
}

/* After an answer was sent: the port's last bytes are given the time to leave. */
void strop_update_sent(void)
{
    if (restart_wanted) {
        (void)strop_spin((void *)(uintptr_t)SETTLE_LOOPS);
        strop_restart();
    }
}
