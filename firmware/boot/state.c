/* The state of an update: records of 64 bytes on two pages, appended and never changed. Body 32 bytes, then a seal: one unit that is
 * programmed after the body was read back. Which record counts is the newest sealed one, then the newest whole one.
 *
 * Power may go while a unit is programmed or a page erased; then bits may read one way now and another way later. Hence:
 * - a body is trusted once its seal was begun, which was after the body was whole;
 * - the first record after a start goes to the page that does not hold the one that counts, erased anew, as a unit that reads blank
 *   may be half programmed;
 * - whoever acts on a record writes one first, so that a seal that reads differently at the next start changes nothing. */
#include "boot.h"

enum { RECORD_BYTES = 64, BODY_BYTES = 32, RECORDS = STROP_UPDATE_PAGE_BYTES / RECORD_BYTES, MAGIC = 0x31537453 };
_Static_assert(sizeof(struct strop_state) == BODY_BYTES, "a record's body");
_Static_assert(sizeof(struct strop_header) == STROP_HEADER_BYTES, "a header");
_Static_assert(BODY_BYTES % STROP_UPDATE_UNIT_BYTES == 0, "whole units");

static uint32_t page_that_counts, highest, next_place = RECORDS;

static uint32_t page_address(uint32_t page)
{
    return STROP_UPDATE_BASE + page * STROP_UPDATE_PAGE_BYTES;
}

static void copy(uint8_t *to, uint32_t from, uint32_t bytes)
{
    const volatile uint8_t *const source = (const volatile uint8_t *)(uintptr_t)from;
    for (uint32_t i = 0; i < bytes; ++i) {
        to[i] = source[i];
    }
}

static int sealed(uint32_t record)
{
    uint8_t seal[STROP_UPDATE_UNIT_BYTES], all = 0xff;
    copy(seal, record + BODY_BYTES, sizeof seal);
    for (uint32_t i = 0; i < sizeof seal; ++i) {
        all &= seal[i];
    }
    return all != 0xff;
}

static uint32_t body_check(const struct strop_state *state)
{
    return strop_check(0, (const uint8_t *)state, BODY_BYTES - 4);
}

int strop_state_read(struct strop_state *state)
{
    int best = 0;
    *state = (struct strop_state){.magic = MAGIC, .trial = STROP_NO_SLOT};
    page_that_counts = 1;
    highest = 0;
    next_place = RECORDS;
    for (uint32_t number = 0; number < 2 * RECORDS; ++number) {
        const uint32_t page = number / RECORDS, record = page_address(page) + number % RECORDS * RECORD_BYTES;
        struct strop_state found;
        copy((uint8_t *)&found, record, BODY_BYTES);
        if (found.magic != MAGIC || found.check != body_check(&found) || found.stable >= STROP_SLOTS) {
            continue;
        }
        const int rank = sealed(record) ? 2 : 1;
        if (rank > best || (rank == best && found.sequence > state->sequence)) {
            best = rank;
            *state = found;
            page_that_counts = page;
        }
        if (found.sequence > highest) {
            highest = found.sequence;
        }
    }
    return best;
}

static int program(uint32_t to, const uint8_t *from, uint32_t bytes)
{
    uint8_t back[STROP_UPDATE_UNIT_BYTES];
    for (uint32_t at = 0; at < bytes; at += STROP_UPDATE_UNIT_BYTES) {
        if (strop_flash_program(to + at, from + at) != 0) {
            return 0;
        }
        copy(back, to + at, sizeof back);
        for (uint32_t i = 0; i < sizeof back; ++i) {
            if (back[i] != from[at + i]) {
                return 0;
            }
        }
    }
    return 1;
}

int strop_state_write(struct strop_state *state)
{
    static const uint8_t seal[STROP_UPDATE_UNIT_BYTES];
    if (next_place == RECORDS) {
        if (strop_flash_erase(page_address(1 - page_that_counts)) != 0) {
            return 0;
        }
        page_that_counts = 1 - page_that_counts;
        next_place = 0;
    }
    const uint32_t record = page_address(page_that_counts) + next_place * RECORD_BYTES;
    ++next_place;
    state->sequence = ++highest;
    state->check = body_check(state);
    return program(record, (const uint8_t *)state, BODY_BYTES) && program(record + BODY_BYTES, seal, sizeof seal);
}

uint32_t strop_slot(uint32_t number)
{
    return STROP_UPDATE_BASE + 2 * STROP_UPDATE_PAGE_BYTES + number * STROP_UPDATE_SLOT_BYTES;
}

int strop_header_fits(const struct strop_header *header, uint32_t slot)
{
    static const char magic[8] = {'S', 't', 'r', 'o', 'p', 'I', 'm', '1'};
    uint8_t differs = 0;
    for (uint32_t i = 0; i < sizeof magic; ++i) {
        differs |= (uint8_t)(header->magic[i] ^ (uint8_t)magic[i]);
    }
    for (uint32_t i = 0; i < STROP_TARGET_BYTES; ++i) {
        differs |= (uint8_t)(header->target[i] ^ strop_board[i]);
        if (strop_board[i] == 0) {
            break;
        }
    }
    return differs == 0 && header->address == slot && header->zero == 0 && header->length > 64 &&
           header->length <= STROP_UPDATE_SLOT_BYTES - STROP_HEADER_BYTES;
}
